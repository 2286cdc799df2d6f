/* unicode.c: code points in UTF-8 and the byte alphabet. Not for classes of characters
 * (charclass.c) nor normal forms (normal_form.c). */
#include "hf/unicode.h"
#include "hf/charclass.h"
#include "base/text.h"
#include <string.h>
#include <utf8proc.h>

uint32_t hf_utf8_next(const char *s, size_t len, size_t *ret) {
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    CAI_CHECK(n <= len);
    *ret = n;
    switch (n) {
    case 1:
        return p[0];
    case 2:
        return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    case 3:
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    default:
        return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
               (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    }
}

uint32_t hf_utf8_last(const char *s, size_t len, size_t *ret) {
    size_t i = len - 1;
    while (i > 0 && ((unsigned char)s[i] & 0xC0) == 0x80)
        i--;
    return hf_utf8_next(s + i, len - i, ret);
}

void hf_utf8_put(struct cai_buf *out, uint32_t c) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, bytes);
    CAI_CHECK(n > 0);
    cai_buf_append(out, bytes, (size_t)n);
}

bool hf_is_space(uint32_t c) {
    return (hf_classes()[c] & HF_SPACE) != 0;
}

bool hf_is_numeric(uint32_t c) {
    return (hf_classes()[c] & HF_DIGIT) != 0;
}

bool hf_is_word(uint32_t c) {
    return (hf_classes()[c] & HF_WORD) != 0;
}

static bool is_printable_byte(unsigned b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

/* The 68 other bytes, in order, are U+0100 … U+0143. */
uint32_t hf_alphabet(unsigned char byte) {
    unsigned b = byte;
    if (is_printable_byte(b))
        return b;
    if (b <= 0x20)
        return 0x100 + b;
    return b <= 0xA0 ? 0x121 + (b - 0x7F) : 0x143;
}

int hf_alphabet_byte(uint32_t c) {
    if (c <= 0xFF)
        return is_printable_byte(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)(c - 0x100);
    return c <= 0x142 ? (int)(c - 0x121 + 0x7F) : c == 0x143 ? 0xAD : -1;
}

bool hf_alphabet_decode(const char *s, size_t len, struct cai_buf *out) {
    size_t start = out->len, n;
    for (size_t i = 0; i < len; i += n) {
        int b = hf_alphabet_byte(hf_utf8_next(s + i, len - i, &n));
        if (b < 0) {
            out->len = start;
            if (out->data)
                out->data[start] = '\0';
            return false;
        }
        cai_buf_putc(out, (char)b);
    }
    return true;
}

/* Length of the maximal part of an ill-formed sequence at s: the longest prefix of a
 * well-formed one (Unicode 15, table 3-7), at least 1. */
static size_t ill_formed_part(const unsigned char *s, size_t len) {
    static const struct {
        unsigned char lead_min, lead_max, second_min, second_max;
        int n;
    } forms[] = {{0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
                 {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3},
                 {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
                 {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
    for (size_t i = 0; i < CAI_COUNT(forms); i++) {
        if (s[0] < forms[i].lead_min || s[0] > forms[i].lead_max)
            continue;
        if (len < 2 || s[1] < forms[i].second_min || s[1] > forms[i].second_max)
            return 1;
        return forms[i].n == 4 && len > 2 && (s[2] & 0xC0) == 0x80 ? 3 : 2;
    }
    return 1;
}

/* Whether s, which is ill-formed for want of more bytes, may yet become well-formed. */
static bool is_open(const unsigned char *s, size_t len) {
    return s[0] >= 0xC2 && s[0] <= 0xF4 && len < 4 && ill_formed_part(s, len) == len &&
           len < (s[0] < 0xE0   ? 2u
                  : s[0] < 0xF0 ? 3u
                                : 4u);
}

size_t hf_utf8_lossy_open(const char *s, size_t len, struct cai_buf *out) {
    size_t at = 0;
    while (at < len) {
        size_t good = cai_utf8_valid(s + at, len - at);
        cai_buf_append(out, s + at, good);
        at += good;
        if (at == len || is_open((const unsigned char *)s + at, len - at))
            return at;
        cai_buf_puts(out, "\xEF\xBF\xBD");
        at += ill_formed_part((const unsigned char *)s + at, len - at);
    }
    return at;
}

void hf_utf8_lossy(const char *s, size_t len, struct cai_buf *out) {
    if (hf_utf8_lossy_open(s, len, out) < len)
        cai_buf_puts(out, "\xEF\xBF\xBD"); /* an open end is one ill-formed part */
}
