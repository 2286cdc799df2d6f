/* answer.c: see answer.h. */
#include "stage/answer.h"

#include "base/check.h"
#include "base/error.h"
#include "hf/regex.h"
#include <ctype.h>
#include <string.h>

struct answer_rule {
    struct hf_regex *regex; /* NULL: the phrase */
    struct hf_matcher *matcher;
};
#define PHRASE "answer is"

int answer_rule_new(const char *pattern, struct answer_rule **ret) {
    struct answer_rule *r = cai_alloc(sizeof *r);
    int rc = pattern ? hf_regex_new("stages.consist.answer", pattern, strlen(pattern), &r->regex)
                     : 0;
    if (rc < 0) {
        free(r);
        return rc;
    }
    r->matcher = pattern ? hf_matcher_new() : NULL;
    *ret = r;
    return 0;
}

void answer_rule_free(struct answer_rule *r) {
    if (!r)
        return;
    hf_regex_free(r->regex);
    hf_matcher_free(r->matcher);
    free(r);
}

/* ---- the normal form --------------------------------------------------------------------- */
static bool is_mark(char c) { return c && strchr(" \t\r\n*_`\"'$()[]{}:=", c); }

/* Digits with separators of thousands and a decimal part; a sign before them. */
static bool is_number(const char *s, size_t n) {
    size_t i = n && (s[0] == '-' || s[0] == '+'), digits = 0, points = 0;
    for (; i < n; i++) {
        bool comma = s[i] == ',' && digits && i + 3 < n && isdigit((unsigned char)s[i + 1]) &&
                     isdigit((unsigned char)s[i + 2]) && isdigit((unsigned char)s[i + 3]);
        digits += isdigit((unsigned char)s[i]) != 0;
        points += s[i] == '.';
        if (!isdigit((unsigned char)s[i]) && s[i] != '.' && !comma)
            return false;
    }
    return digits && points <= 1;
}

static void put_number(const char *s, size_t n, struct cai_buf *out) {
    bool negative = *s == '-', fraction = memchr(s, '.', n) != NULL;
    if (*s == '-' || *s == '+') {
        s++;
        n--;
    }
    while (fraction && n && s[n - 1] == '0')
        n--;
    if (fraction && n && s[n - 1] == '.')
        n--;
    while (n > 1 && s[0] == '0' && isdigit((unsigned char)s[1])) {
        s++;
        n--;
    }
    bool zero = n == 0 || (n == 1 && s[0] == '0');
    if (negative && !zero)
        cai_buf_putc(out, '-');
    if (n == 0 || s[0] == '.')
        cai_buf_putc(out, '0');
    for (size_t i = 0; i < n; i++)
        if (s[i] != ',')
            cai_buf_putc(out, s[i]);
}

void answer_normal(const char *text, size_t len, struct cai_buf *out) {
    while (len && is_mark(*text)) {
        text++;
        len--;
    }
    while (len && (is_mark(text[len - 1]) || strchr(".!,;", text[len - 1])))
        len--;
    if (is_number(text, len)) {
        put_number(text, len, out);
        return;
    }
    for (size_t i = 0; i < len; i++)
        cai_buf_putc(out, (char)tolower((unsigned char)text[i]));
}

/* ---- finding it -------------------------------------------------------------------------- */
/* To the end of the line, or of the sentence: a stop before a blank. */
static size_t sentence(const char *s) {
    size_t n = 0;
    while (s[n] && s[n] != '\n' && !(s[n] == '.' && (s[n + 1] == ' ' || s[n + 1] == '\n')))
        n++;
    return n;
}

static void after_phrase(const char *text, struct cai_buf *out) {
    const char *last = NULL;
    for (const char *s = text; (s = strcasestr(s, PHRASE)); s++)
        last = s + strlen(PHRASE);
    if (last)
        answer_normal(last, sentence(last), out);
}

void answer_read(const struct answer_rule *r, const char *text, struct cai_buf *out) {
    size_t begin = 0, end = 0, len = strlen(text);
    bool found = false;
    if (!r->regex) {
        after_phrase(text, out);
        return;
    }
    struct hf_find f = hf_find_begin(r->regex, r->matcher, text, len);
    for (size_t b, e; hf_find_next(&f, &b, &e) > 0; found = true) {
        begin = b;
        end = e;
    }
    cai_error_clear();
    if (found)
        answer_normal(text + begin, end - begin, out);
}
