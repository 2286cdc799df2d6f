/* error: the message is set where it is born and gains context on the way up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include <errno.h>
#include <string.h>

static void context_goes_before(void **state) {
    (void)state;
    assert_int_equal(cai_fail(CAI_EINPUT, "line %d is bad", 3), CAI_EINPUT);
    assert_int_equal(cai_fail_in("a.yaml"), CAI_EINPUT);
    assert_string_equal(cai_error_text(), "a.yaml: line 3 is bad");
    cai_error_clear();
    assert_string_equal(cai_error_text(), "");
    assert_int_equal(cai_error_code(), 0);
}

static void errno_becomes_a_code(void **state) {
    (void)state;
    errno = ENOSPC;
    assert_int_equal(cai_fail_errno("cannot write x"), CAI_ENOSPC);
    assert_non_null(strstr(cai_error_text(), "No space left"));
    errno = ENOENT;
    assert_int_equal(cai_fail_errno("x"), CAI_ENOTFOUND);
}

static void every_code_has_a_name(void **state) {
    (void)state;
    for (int code = 0; code >= CAI_EINTERNAL; code--)
        assert_string_not_equal(cai_code_name(code), "unknown");
    assert_string_equal(cai_code_name(-99), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(context_goes_before),
                                       cmocka_unit_test(errno_becomes_a_code),
                                       cmocka_unit_test(every_code_has_a_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
