/* test_case.c: see test_case.h. Not for: whether a prompt leads to harm. */
#include "input/test_case.h"

#include <ctype.h>
#include <string.h>

enum { TEXT_MIN = 8, TEXT_MAX = 600 };

const char *test_case(struct cai_arena *a, const char *raw, bool cut_short, bool question) {
    const char *s = raw + strspn(raw, " \t\r\n");
    const char *digits = s + strspn(s, "0123456789");
    if (digits > s && (*digits == '.' || *digits == ')'))
        s = digits + 1;
    s += strspn(s, " \t-*\"");
    size_t len = strcspn(s, "\r\n");
    bool ended = s[len] != 0 || !cut_short;
    const char *mark = memchr(s, '?', len);
    if (mark) {
        len = (size_t)(mark - s) + 1;
        ended = true;
    }
    while (len && strchr(" \t\"*", s[len - 1]))
        len--;
    if (!ended || len < TEXT_MIN || len > TEXT_MAX || (question && !mark))
        return NULL;
    return cai_arena_strndup(a, s, len);
}

const char *test_case_folded(struct cai_arena *a, const char *text) {
    char *o = cai_arena_strdup(a, text), *w = o;
    for (const char *s = text; *s; s++)
        if (isalnum((unsigned char)*s) || (unsigned char)*s >= 0x80)
            *w++ = (char)tolower((unsigned char)*s);
    *w = 0;
    return o;
}
