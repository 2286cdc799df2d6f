/* text.c: UTF-8 checks, safe printing, suggestions, numbers for people. */
#include "base/text.h"
#include <stdio.h>
#include <string.h>

/* Length of the valid UTF-8 sequence at s, 0 if there is none; sets its code point. */
static size_t utf8_step(const unsigned char *s, size_t len, uint32_t *ret_cp) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0x80) {
        *ret_cp = s[0];
        return 1;
    }
    size_t n = s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
               : s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t cp = s[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3F);
    }
    if (cp < least[n] || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return 0;
    *ret_cp = cp;
    return n;
}

size_t cai_utf8_valid(const char *s, size_t len) {
    uint32_t cp;
    for (size_t at = 0; at < len;) {
        size_t n = utf8_step((const unsigned char *)s + at, len - at, &cp);
        if (n == 0)
            return at;
        at += n;
    }
    return len;
}

static bool unsafe(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0x200E || cp == 0x200F ||
           (cp >= 0x2028 && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xFEFF;
}

void cai_text_printable(struct cai_buf *out, const char *s, size_t len, bool lines) {
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_step((const unsigned char *)s + at, len - at, &cp);
        if (n == 0) {
            cai_buf_printf(out, "\\x%02X", (unsigned char)s[at]);
            at++;
            continue;
        }
        if (lines && (cp == '\n' || cp == '\t'))
            cai_buf_putc(out, (char)cp);
        else if (cp == '\n')
            cai_buf_puts(out, "\\n");
        else if (cp == '\t')
            cai_buf_puts(out, "\\t");
        else if (unsafe(cp))
            cai_buf_printf(out, cp < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)cp);
        else
            cai_buf_append(out, s + at, n);
        at += n;
    }
}

size_t cai_text_distance_within(const char *a, const char *b, size_t max) {
    size_t la = strnlen(a, max), lb = strnlen(b, max);
    CAI_AUTO(mem) size_t *row = cai_realloc(NULL, lb + 1, sizeof *row);
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

size_t cai_text_distance(const char *a, const char *b) {
    return cai_text_distance_within(a, b, 64);
}

const char *cai_text_nearest(const char *word, const char *const *names, size_t n) {
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = cai_text_distance(word, names[i]);
        if (d < least || (d == least && !best)) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

bool cai_text_equal_n(const char *a, size_t alen, const char *b) {
    return strlen(b) == alen && memcmp(a, b, alen) == 0;
}

void cai_text_count(char *out, size_t size, int64_t n) {
    char digits[32];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)(n < 0 ? -n : n));
    size_t at = 0;
    if (n < 0 && at + 1 < size)
        out[at++] = '-';
    for (int i = 0; i < len && at + 1 < size; i++) {
        if (i && (len - i) % 3 == 0)
            out[at++] = ',';
        if (at + 1 < size)
            out[at++] = digits[i];
    }
    if (size)
        out[at < size ? at : size - 1] = '\0';
}

void cai_text_duration(char *out, size_t size, double seconds) {
    long s = seconds < 0 ? 0 : (long)(seconds + 0.5);
    if (s < 60)
        snprintf(out, size, "%lds", s);
    else if (s < 3600)
        snprintf(out, size, "%ldm %02lds", s / 60, s % 60);
    else
        snprintf(out, size, "%ldh %02ldm", s / 3600, s / 60 % 60);
}
