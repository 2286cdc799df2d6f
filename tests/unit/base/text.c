/* text: UTF-8 validation, safe printing, suggestions, numbers for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/text.h"
#include <string.h>

static void utf8(void **state) {
    (void)state;
    assert_int_equal(cai_utf8_valid("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10), 10);
    static const struct {
        const char *s;
        size_t at;
    } bad[] = {{"a\xFF", 1}, {"\xC0\xAF", 0}, {"\xED\xA0\x80", 0}, {"ab\xE2\x82", 2},
               {"\xF4\x90\x80\x80", 0}, {"\x80", 0}};
    for (size_t i = 0; i < CAI_COUNT(bad); i++)
        assert_int_equal(cai_utf8_valid(bad[i].s, strlen(bad[i].s)), bad[i].at);
}

static void printable_disarms(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {0};
    const char *s = "a\x1b[31m\n\xE2\x80\xAE\xFF\xC3\xA9";
    cai_text_printable(&b, s, strlen(s), false);
    assert_string_equal(b.data, "a\\x1B[31m\\n\\u202E\\xFF\xC3\xA9");
    cai_buf_clear(&b);
    cai_text_printable(&b, "x\ny", 3, true);
    assert_string_equal(b.data, "x\ny");
}

static void suggestions(void **state) {
    (void)state;
    static const char *const names[] = {"critique", "revision", "choice", "weight"};
    assert_string_equal(cai_text_nearest("critque", names, 4), "critique");
    assert_string_equal(cai_text_nearest("wieght", names, 4), "weight");
    assert_null(cai_text_nearest("banana", names, 4));
    assert_int_equal(cai_text_distance("kitten", "sitting"), 3);
}

static void numbers(void **state) {
    (void)state;
    char s[32];
    cai_text_count(s, sizeof s, 1234567);
    assert_string_equal(s, "1,234,567");
    cai_text_count(s, sizeof s, -42);
    assert_string_equal(s, "-42");
    cai_text_duration(s, sizeof s, 185);
    assert_string_equal(s, "3m 05s");
    cai_text_duration(s, sizeof s, 3720);
    assert_string_equal(s, "1h 02m");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(utf8), cmocka_unit_test(printable_disarms),
                                       cmocka_unit_test(suggestions), cmocka_unit_test(numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
