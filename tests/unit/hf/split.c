/* split: every hand-written matcher gives Oniguruma's matches of its own pattern: on random
 * texts of every class of character, around each code point, and on long runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "hf/charclass.h"
#include "hf/regex.h"
#include "hf/split.h"
#include "hf/unicode.h"
#include <string.h>

struct both {
    const struct hf_splitter *hand;
    struct hf_regex *regex;
    struct hf_matcher *matcher;
};

static bool same_matches(const struct both *p, const char *text, size_t len) {
    struct hf_split hand = hf_split_begin(p->hand, text, len);
    struct hf_find find = hf_find_begin(p->regex, p->matcher, text, len);
    for (;;) {
        size_t b[2] = {0}, e[2] = {0};
        bool found = hf_split_next(&hand, &b[0], &e[0]);
        int rc = hf_find_next(&find, &b[1], &e[1]);
        if (rc < 0 || found != (rc == 1) || b[0] != b[1] || e[0] != e[1])
            return false;
        if (!found)
            return true;
    }
}

static void check(const struct both *p, const char *pattern, const struct cai_buf *b) {
    if (!same_matches(p, b->data ? b->data : "", b->len))
        fail_msg("%s differs from Oniguruma on \"%s\"", pattern, b->data);
}

/* Code points of every class, and those that some pattern names. */
static const uint32_t alphabet[] = {
    'a',    's',     't',     'l',     'e',      'r',    'v',    'm',    'd',    'S',    'L',
    'Z',    '\'',    '\'',    ' ',     ' ',      '\n',   '\r',   '\t',   '/',    '-',    '.',
    '(',    '$',     '+',     '^',     '_',      '|',    '0',    '7',    0x17F,  0xE9,   0xC9,
    0x1C5,  0x2B0,   0x5D0,   0x4E00,  0x9FA5,   0x9FA6, 0x3040, 0x30FF, 0x3100, 0x301,  0x903,
    0x20DD, 0x661,   0x2167,  0xB2,    0x3000,   0xA0,   0x85,   0x2028, 0x200B, 0x200D, 0x3001,
    0x20AC, 0x1F600, 0x1F1E6, 0x1D400, 0x10FFFF, 0xE000, 0,      0x7F,   0x212A, 0xDF,   0xFB06,
    0x149,  0x2018,  0x201F,  0xFF01,  0xFF1A,   0x800,  0xAC00};

static void random_texts(const struct both *p, const char *pattern) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (uint32_t k = 0; k < 20000; k++) {
        struct cai_key key = cai_key_make(1, k, "split", 0, 0);
        cai_buf_clear(&b);
        for (uint64_t i = 0, n = 1 + cai_rng_below(key, 0, 14); i < n; i++) {
            /* Small alphabets meet the rare branches. */
            uint64_t of = k % 3 ? CAI_COUNT(alphabet) : 4 + k % 29;
            uint64_t at = (k % 3 ? 0 : k / 7) + cai_rng_below(key, 1 + i, of);
            hf_utf8_put(&b, alphabet[at % CAI_COUNT(alphabet)]);
        }
        check(p, pattern, &b);
    }
}

/* Each code point after an apostrophe, before and after a letter, a digit and a space. */
static void every_code_point(const struct both *p, const char *pattern) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (uint32_t c = 1; c < 0x110000; c++) {
        if ((c >= 0xD800 && c < 0xE000) || hf_classes()[c] & HF_NEWER)
            continue;
        if (c > 0x3000 && c % 61 && !(hf_classes()[c] & ~(HF_OTHER_LETTER | HF_WORD)))
            continue; /* of ideographs and unassigned ones a few will do */
        cai_buf_clear(&b);
        cai_buf_puts(&b, "'");
        hf_utf8_put(&b, c);
        cai_buf_puts(&b, "x1");
        hf_utf8_put(&b, c);
        cai_buf_puts(&b, " ");
        hf_utf8_put(&b, c);
        hf_utf8_put(&b, c);
        check(p, pattern, &b);
    }
}

static void long_runs(const struct both *p, const char *pattern) {
    static const char *const runs[] = {
        " ", "\n", "a", "A", "1", ".", " \n", "'s", "\xCC\x81", "\xE4\xB8\x80\x41", "a\xCC\x81"};
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (size_t i = 0; i < CAI_COUNT(runs); i++)
        for (size_t n = 1; n < 3000; n = n * 3 + 1) {
            cai_buf_clear(&b);
            for (size_t k = 0; k < n; k++)
                cai_buf_puts(&b, runs[i]);
            check(p, pattern, &b);
            cai_buf_puts(&b, "x");
            check(p, pattern, &b);
        }
}

static void matches(void **state) {
    (void)state;
    size_t n = 0;
    for (const char *pattern; (pattern = hf_splitter_pattern(n)); n++) {
        struct both p = {.hand = hf_splitter_find(pattern, strlen(pattern)),
                         .matcher = hf_matcher_new()};
        assert_non_null(p.hand);
        assert_int_equal(hf_regex_new("split", pattern, strlen(pattern), &p.regex), 0);
        random_texts(&p, pattern);
        every_code_point(&p, pattern);
        long_runs(&p, pattern);
        hf_regex_free(p.regex);
        hf_matcher_free(p.matcher);
    }
    assert_true(n >= 8);
    assert_null(hf_splitter_find("\\p{L}", 5)); /* others are Oniguruma's */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(matches)};
    return cmocka_run_group_tests_name("hf/split", tests, NULL, NULL);
}
