/* buf: growth, the cap, detaching. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/error.h"
#include <string.h>

static void grows_and_terminates(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (int i = 0; i < 1000; i++)
        cai_buf_printf(&b, "%d,", i);
    assert_int_equal(cai_buf_status(&b), 0);
    assert_int_equal(strlen(b.data), b.len);
    assert_memory_equal(b.data, "0,1,2,3,", 8);
}

static void long_printf_is_whole(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {0};
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    cai_buf_printf(&b, "<%s>", text);
    assert_int_equal(b.len, sizeof text + 1);
    assert_int_equal(b.data[b.len - 1], '>');
}

static void cap_is_sticky(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {.max = 10};
    cai_buf_puts(&b, "0123456789");
    assert_int_equal(cai_buf_status(&b), 0);
    cai_buf_putc(&b, 'x');
    assert_int_equal(cai_buf_status(&b), CAI_ELIMIT);
    assert_int_equal(b.len, 10);
}

static void detach_gives_a_string(void **state) {
    (void)state;
    struct cai_buf b = {0};
    char *empty = cai_buf_detach(&b);
    assert_string_equal(empty, "");
    free(empty);
    cai_buf_puts(&b, "abc");
    char *s = cai_buf_detach(&b);
    assert_string_equal(s, "abc");
    assert_null(b.data);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_terminates), cmocka_unit_test(long_printf_is_whole),
        cmocka_unit_test(cap_is_sticky), cmocka_unit_test(detach_gives_a_string)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
