/* answer: what a worked solution comes to, by the phrase and by a pattern, in its normal form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "stage/answer.h"
#include <string.h>

static void check(const char *pattern, const char *text, const char *want) {
    struct answer_rule *r;
    CAI_AUTO(buf) struct cai_buf out = {0};
    assert_int_equal(answer_rule_new(pattern, &r), 0);
    answer_read(r, text, &out);
    if (strcmp(out.len ? out.data : "", want) != 0)
        fail_msg("\"%s\": \"%s\" instead of \"%s\"", text, out.len ? out.data : "", want);
    answer_rule_free(r);
}

static void after_the_phrase(void **state) {
    (void)state;
    check(NULL, "3+4=7. The answer is 7.", "7");
    check(NULL, "The answer is 8. No: the answer is 9.", "9"); /* the last */
    check(NULL, "The Answer Is: **$1,250.00**\nI hope that helps.", "1250");
    check(NULL, "so the answer is (B). That is why.", "b");
    check(NULL, "the answer is 3.5. Done", "3.5");
    check(NULL, "the answer is -0.50", "-0.5");
    check(NULL, "the answer is 007.", "7");
    check(NULL, "the answer is 12,34", "12,34"); /* no number */
    check(NULL, "the answer is 1.2.3", "1.2.3");
    check(NULL, "the answer is 0.", "0");
    check(NULL, "the answer is New  York.", "new  york");
    check(NULL, "I do not know", "");
    check(NULL, "the answer is", "");
    check(NULL, "the answer is .", "");
}

static void by_a_pattern(void **state) {
    (void)state;
    check("#### \\K.*", "work\n#### 1,024", "1024");
    check("(?<=\\()[A-E](?=\\))", "(A) or (C)? (C)", "c");
    check("[0-9]+", "3 and 4 make 7", "7");
    check("[0-9]+", "none", "");
    check("x*", "abc", "");                    /* empty matches are no answer */
    check("(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", ""); /* it gives up */
}

static void a_wrong_pattern_is_named(void **state) {
    (void)state;
    struct answer_rule *r;
    assert_int_equal(answer_rule_new("(", &r), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "stages.consist.answer"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_the_phrase),
        cmocka_unit_test(by_a_pattern),
        cmocka_unit_test(a_wrong_pattern_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
