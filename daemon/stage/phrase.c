/* phrase.c: phrases and views. */
#include "stage/phrase.h"

#include <ctype.h>
#include <string.h>

static bool space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool word(char c) { return isalnum((unsigned char)c) || (unsigned char)c >= 0x80; }

size_t phrase_at(struct view v, const char *phrase) {
    size_t i = 0;
    const char *p = phrase;
    while (*p) {
        if (*p == ' ') {
            size_t from = i;
            while (i < v.n && space(v.s[i]))
                i++;
            if (i == from)
                return 0;
            p++;
        } else if (*p == '\'' && v.n - i >= 3 && memcmp(v.s + i, "\xe2\x80\x99", 3) == 0) {
            i += 3;
            p++;
        } else if (i < v.n && tolower((unsigned char)v.s[i]) == tolower((unsigned char)*p)) {
            i++;
            p++;
        } else {
            return 0;
        }
    }
    bool inside = i < v.n && i > 0 && word(v.s[i - 1]) && word(v.s[i]) &&
                  (unsigned char)v.s[i] < 0x80;
    return inside ? 0 : i;
}

size_t phrase_any(struct view v, const char *const *list) {
    size_t best = 0;
    for (; *list; list++) {
        size_t n = phrase_at(v, *list);
        best = n > best ? n : best;
    }
    return best;
}

bool phrase_in(struct view v, const char *const *list) {
    for (size_t i = 0; i < v.n; i++)
        if ((i == 0 || !word(v.s[i - 1])) && phrase_any(view_skip(v, i), list))
            return true;
    return false;
}

size_t phrase_marks(struct view v) {
    size_t i = 0;
    while (i < v.n && strchr("*#_> \t", v.s[i]))
        i++;
    return i;
}

struct view view_skip(struct view v, size_t n) {
    return n ? (struct view){v.s + n, v.n - n} : v; /* an empty view may have no place */
}

struct view view_trim(struct view v) {
    while (v.n && space(v.s[0]))
        v = view_skip(v, 1);
    while (v.n && space(v.s[v.n - 1]))
        v.n--;
    return v;
}

bool view_equal(struct view a, struct view b) {
    a = view_trim(a);
    b = view_trim(b);
    size_t i = 0, j = 0;
    while (i < a.n && j < b.n) {
        if (space(a.s[i]) && space(b.s[j])) {
            while (space(a.s[i]))
                i++;
            while (space(b.s[j]))
                j++;
        } else if (a.s[i++] != b.s[j++]) {
            return false;
        }
    }
    return i == a.n && j == b.n;
}

struct view view_line(struct view v) {
    const char *end = v.n ? memchr(v.s, '\n', v.n) : NULL;
    return end ? (struct view){v.s, (size_t)(end - v.s)} : v;
}

struct view view_paragraph(struct view v, struct view *ret_rest) {
    for (size_t i = 0; i + 1 < v.n; i++) {
        if (v.s[i] != '\n')
            continue;
        size_t j = i + 1;
        while (j < v.n && (v.s[j] == ' ' || v.s[j] == '\t' || v.s[j] == '\r'))
            j++;
        if (j < v.n && v.s[j] == '\n') {
            *ret_rest = view_trim(view_skip(v, j));
            return view_trim((struct view){v.s, i});
        }
    }
    *ret_rest = (struct view){v.s + v.n, 0};
    return v;
}
