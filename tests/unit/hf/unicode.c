/* unicode: the byte alphabet is a bijection; lossy decoding follows the standard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hf/unicode.h"
#include <string.h>

static void alphabet(void **state) {
    (void)state;
    bool seen[0x144] = {false};
    for (unsigned b = 0; b < 256; b++) {
        uint32_t c = hf_alphabet((unsigned char)b);
        assert_true(c < 0x144 && !seen[c]);
        seen[c] = true;
        assert_int_equal(hf_alphabet_byte(c), b);
    }
    assert_int_equal(hf_alphabet(' '), 0x120); /* the well-known Ġ */
    assert_int_equal(hf_alphabet('\n'), 0x10A);
    assert_int_equal(hf_alphabet(0xAD), 0x143);
    assert_int_equal(hf_alphabet_byte(0x144), -1);
    assert_int_equal(hf_alphabet_byte(' '), -1);
}

static void lossy(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        /* Unicode 15, section 3.9, table 3-8, and cut-off sequences */
        {"abc", "abc"},
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x91\x92\x93", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41",
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\x41"},
        {"\xE4\xBD\xA0\xE4\xBD", "\xE4\xBD\xA0\xEF\xBF\xBD"},
        {"\xF0\x9F\x98", "\xEF\xBF\xBD"},
        {"\xFF\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        CAI_AUTO(buf) struct cai_buf b = {0};
        hf_utf8_lossy(cases[i].in, strlen(cases[i].in), &b);
        assert_string_equal(b.data, cases[i].out);
    }
}

static void code_points(void **state) {
    (void)state;
    static const uint32_t cs[] = {'a', 0xE9, 0x4F60, 0x1F600, 0x10FFFF};
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (size_t i = 0; i < CAI_COUNT(cs); i++) {
        size_t n, m, before = b.len;
        hf_utf8_put(&b, cs[i]);
        assert_int_equal(hf_utf8_next(b.data + before, b.len - before, &n), cs[i]);
        assert_int_equal(hf_utf8_last(b.data, b.len, &m), cs[i]);
        assert_int_equal(n, b.len - before);
        assert_int_equal(m, n);
    }
    assert_true(hf_is_space(0x3000) && hf_is_space(0x85) && !hf_is_space(0x200B));
    assert_true(hf_is_word('_') && hf_is_word(0x4F60) && !hf_is_word('-'));
    assert_true(hf_is_numeric(0xB2) && hf_is_numeric(0x2167) && !hf_is_numeric('x'));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(alphabet), cmocka_unit_test(lossy),
                                       cmocka_unit_test(code_points)};
    return cmocka_run_group_tests_name("hf/unicode", tests, NULL, NULL);
}
