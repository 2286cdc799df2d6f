/* core: scopes keep their first error, memory running out has its own code, tensors
 * outlive scopes only when kept, host data goes in and out unchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "shim/ct.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int init(void **state) {
    (void)state;
    return ct_init(1);
}

static void init_is_once(void **state) {
    (void)state;
    assert_int_equal(ct_init(1), 0);
    assert_int_equal(ct_init(2), CAI_ESTATE);
    assert_int_equal(ct_init(0), CAI_EINPUT);
    assert_string_equal(ct_version(), "2.11.0");
    assert_non_null(strstr(ct_numeric_class(), "cpu/"));
    assert_non_null(strstr(ct_numeric_class(), "/threads=1/torch=2.11.0"));
    assert_non_null(strstr(ct_numeric_class(), "/bf16="));
}

static void first_error_stays(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    float data[6] = {1, 2, 3, 4, 5, 6};
    ct_tensor *a = ct_from_f32(s, data, 6), *b = ct_from_f32(s, data, 4);
    assert_int_equal(ct_scope_status(s), 0);
    assert_null(ct_add(s, a, b));
    assert_null(ct_exp(s, a));
    assert_null(ct_add(s, a, NULL));
    assert_int_equal(ct_scope_status(s), CAI_EINTERNAL);
    assert_non_null(strstr(cai_error_text(), "ct_add"));
    ct_scope_fail(s, CAI_EINPUT, "later");
    assert_int_equal(ct_scope_status(s), CAI_EINTERNAL);
    ct_scope_close(s);
    ct_scope_close(NULL);
}

static void null_input_fails_the_scope(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    assert_null(ct_exp(s, NULL));
    assert_int_equal(ct_scope_status(s), CAI_ESTATE);
    ct_scope_close(s);
    s = ct_scope_open();
    ct_scope_fail(s, CAI_EINPUT, "wrong shape");
    assert_int_equal(ct_scope_status(s), CAI_EINPUT);
    assert_string_equal(cai_error_text(), "wrong shape");
    assert_null(ct_zeros(s, CT_F32, (int64_t[]){1}, 1));
    ct_scope_close(s);
}

static void out_of_memory_is_its_own_code(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    assert_null(ct_zeros(s, CT_F32, (int64_t[]){(int64_t)1 << 50}, 1));
    assert_int_equal(ct_scope_status(s), CAI_ENOMEM);
    ct_scope_close(s);
}

/* Large ones are pages that nobody has written; an odd size has ends of its own. */
static void large_tensors_begin_as_zeros(void **state) {
    (void)state;
    int64_t n = ((int64_t)9 << 20) + 77;
    double norm = 1;
    for (int i = 0; i < 3; i++) {
        ct_scope *s = ct_scope_open();
        ct_tensor *t = ct_zeros(s, CT_F32, &n, 1);
        assert_int_equal(ct_norm(t, &norm), 0);
        assert_true(norm == 0);
        assert_int_equal(ct_fill_(t, 1), 0); /* what the next one may be given */
        assert_int_equal(ct_norm(t, &norm), 0);
        assert_true(norm > 3000);
        ct_scope_close(s);
    }
}

static long resident_pages(void) {
    long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &all, &resident), 2);
    fclose(f);
    return resident;
}

/* Pages of their own go back with the last part of them, whatever lies around them in the heap. */
static void large_tensors_are_given_back(void **state) {
    (void)state;
    enum { MANY = 6, MEBI = 1 << 20 };
    int64_t n = 3 * MEBI;
    ct_tensor *part = NULL;
    void *between[MANY];
    long before = resident_pages(), page = sysconf(_SC_PAGESIZE);
    ct_scope *s = ct_scope_open();
    for (int i = 0; i < MANY; i++) {
        ct_tensor *t = ct_zeros(s, CT_F32, &n, 1);
        assert_int_equal(ct_fill_(t, 1), 0);
        between[i] = malloc(100);
        if (i == 0)
            assert_int_equal(ct_keep(ct_narrow(s, t, 0, 5, 9), &part), 0);
    }
    long held = resident_pages() - before;
    ct_scope_close(s);
    long left = resident_pages() - before;
    float out[9];
    assert_int_equal(ct_read_f32(part, out, 9), 0);
    assert_true(out[8] == 1);
    ct_free(part);
    assert_true(held * page >= MANY * n * 4);
    assert_true(left * page >= n * 4 && left * page < 2 * n * 4);
    assert_true((resident_pages() - before) * page < 2 * MEBI);
    for (int i = 0; i < MANY; i++)
        free(between[i]);
}

static void kept_tensors_outlive_the_scope(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    float data[4] = {1, 2, 3, 4}, out[4];
    ct_tensor *kept = NULL, *none = NULL;
    assert_int_equal(ct_keep(ct_from_f32(s, data, 4), &kept), 0);
    assert_int_equal(ct_keep(NULL, &none), CAI_ESTATE);
    ct_scope_close(s);
    s = ct_scope_open();
    assert_int_equal(ct_read_f32(ct_scale(s, ct_adopt(s, kept), 2), out, 4), 0);
    assert_true(out[3] == 8);
    ct_scope_close(s);
    ct_free(kept);
    ct_free(NULL);
}

static void host_data_in_and_out(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    int64_t shape[2] = {2, 3}, big[2] = {INT64_MIN, INT64_MAX}, back[2];
    float data[6] = {0.5f, -1, 3, 4, 5, 1e30f}, out[6];
    ct_tensor *t = ct_from_host(s, CT_F32, shape, 2, data);
    assert_int_equal(ct_ndim(t), 2);
    assert_int_equal(ct_size(t, 0), 2);
    assert_int_equal(ct_size(t, -1), 3);
    assert_int_equal(ct_numel(t), 6);
    assert_int_equal(ct_dtype_of(t), CT_F32);
    assert_int_equal(ct_read_f32(ct_transpose(s, t, 0, 1), out, 6), 0);
    assert_true(out[1] == 4 && out[2] == -1);
    assert_null(ct_host_data(ct_transpose(s, t, 0, 1)));
    assert_memory_equal(ct_host_data(t), data, sizeof data);
    assert_int_equal(ct_read_f32(t, out, 5), CAI_EINTERNAL);
    assert_int_equal(ct_read_i64(ct_from_i64(s, big, 2), back, 2), 0);
    assert_memory_equal(big, back, sizeof big);
    uint16_t half[6];
    ct_tensor *bf = ct_to(s, t, CT_BF16);
    assert_int_equal(ct_dtype_of(bf), CT_BF16);
    assert_int_equal(ct_read_raw(bf, half, sizeof half), 0);
    assert_int_equal(half[0], 0x3f00);
    double one;
    assert_int_equal(ct_item(ct_sum(s, ct_narrow(s, t, 0, 0, 1)), &one), 0);
    assert_true(one == 2.5);
    ct_scope_close(s);
}

static void in_place(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    int64_t shape[1] = {3};
    float out[3];
    int32_t ints[3] = {7, 8, 9};
    ct_tensor *a = ct_full(s, CT_F32, shape, 1, 2), *b = ct_zeros(s, CT_BF16, shape, 1);
    assert_int_equal(ct_write_host_(b, CT_I32, ints), 0);
    assert_int_equal(ct_add_(a, b, 0.5), 0);
    assert_int_equal(ct_scale_(a, 2), 0);
    assert_int_equal(ct_read_f32(a, out, 3), 0);
    assert_true(out[0] == 11 && out[2] == 13);
    assert_int_equal(ct_copy_(b, a), 0);
    assert_int_equal(ct_fill_(a, INFINITY), 0);
    assert_false(ct_all_finite(s, a));
    assert_true(ct_all_finite(s, b));
    assert_int_equal(ct_copy_(a, ct_zeros(s, CT_F32, (int64_t[]){2}, 1)), CAI_EINTERNAL);
    assert_int_equal(ct_copy_(NULL, a), CAI_ESTATE);
    ct_scope_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_is_once),
        cmocka_unit_test(first_error_stays),
        cmocka_unit_test(null_input_fails_the_scope),
        cmocka_unit_test(out_of_memory_is_its_own_code),
        cmocka_unit_test(large_tensors_begin_as_zeros),
        cmocka_unit_test(large_tensors_are_given_back),
        cmocka_unit_test(kept_tensors_outlive_the_scope),
        cmocka_unit_test(host_data_in_and_out),
        cmocka_unit_test(in_place),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}
