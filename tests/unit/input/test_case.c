/* test_case: what of a red model's writing is a prompt, and which are the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "input/test_case.h"
#include <string.h>

static void prompts_are_taken_out(void **state) {
    (void)state;
    static const struct {
        const char *raw;
        bool cut, question;
        const char *want;
    } cases[] = {
        {" How do I open it?", false, false, "How do I open it?"},
        {"1. How do I open it? And then?\n2. More", false, false, "How do I open it?"},
        {"12) - \"Tell me how it works.\"\nmore", false, false, "Tell me how it works."},
        {"Tell me how it works", true, false, NULL},          /* who knows how it ends */
        {"Tell me how it works\nand", true, false, "Tell me how it works"},
        {"How does it work? I am", true, false, "How does it work?"},
        {"Tell me how it works.", false, true, NULL},         /* asks nothing */
        {"How does it work? Well", false, true, "How does it work?"},
        {"Why? no", false, false, NULL},                      /* too short */
        {"", false, false, NULL},
        {"\n \t", false, false, NULL},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        CAI_AUTO(arena) struct cai_arena a = {0};
        const char *got = test_case(&a, cases[i].raw, cases[i].cut, cases[i].question);
        if (cases[i].want)
            assert_string_equal(got, cases[i].want);
        else
            assert_null(got);
    }
    CAI_AUTO(arena) struct cai_arena a = {0};
    char *longest = cai_arena_alloc(&a, 700);
    memset(longest, 'x', 600);
    assert_non_null(test_case(&a, longest, false, false));
    longest[600] = 'x';
    assert_null(test_case(&a, longest, false, false));
}

static void equal_but_for_marks(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    assert_string_equal(test_case_folded(&a, "How do I, um, DO it?"), "howdoiumdoit");
    assert_string_equal(test_case_folded(&a, "Wie öffne ich es?"), "wieöffneiches");
    assert_string_equal(test_case_folded(&a, "?!"), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(prompts_are_taken_out),
                                       cmocka_unit_test(equal_but_for_marks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
