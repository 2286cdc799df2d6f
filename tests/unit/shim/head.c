/* head: with a vocabulary of 152,000 the head's memory, forward and backward, stays below a
 * twentieth of what its whole logits would take. Measured as the process's peak of resident
 * memory, which Linux lets a process set back. */
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

enum { ROWS = 2048, WIDTH = 8, VOCABULARY = 152000 };

static double megabytes(const char *field) {
    char line[256];
    double kilobytes = -1;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            kilobytes = strtod(line + strlen(field), NULL);
    fclose(f);
    assert_true(kilobytes > 0);
    return kilobytes / 1024;
}

static void forget_peak(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    assert_non_null(f);
    assert_true(fputs("5", f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static ct_tensor *numbers(ct_scope *s, int64_t rows, int64_t width) {
    float *x = malloc((size_t)(rows * width) * sizeof *x);
    for (int64_t i = 0; i < rows * width; i++)
        x[i] = (float)((i * 7919) % 1009) / 1009 - 0.5f;
    ct_tensor *t = ct_from_f32(s, x, rows * width);
    free(x);
    return ct_view(s, t, (int64_t[]){rows, width}, 2);
}

struct head {
    ct_scope *s;
    ct_tensor *h, *w, *ids, *seed; /* [T, D], [V, D], [T], [T] */
};

static struct head head_open(int64_t rows, int64_t vocabulary) {
    struct head o = {.s = ct_scope_open_grad()};
    int64_t *target = malloc((size_t)rows * sizeof *target);
    float *seed = malloc((size_t)rows * sizeof *seed);
    for (int64_t i = 0; i < rows; i++) {
        target[i] = (i * 104729) % vocabulary;
        seed[i] = 1;
    }
    o.h = ct_leaf(o.s, numbers(o.s, rows, WIDTH));
    o.w = ct_leaf(o.s, numbers(o.s, vocabulary, WIDTH));
    o.ids = ct_from_i64(o.s, target, rows);
    o.seed = ct_from_f32(o.s, seed, rows);
    assert_int_equal(ct_scope_status(o.s), 0);
    free(target);
    free(seed);
    return o;
}

static void forward_and_backward(const struct head *o) {
    ct_tensor *entropy;
    ct_tensor *logprob = ct_linear_logprob(o->s, o->h, o->w, o->ids, 1, 0, &entropy, NULL);
    if (ct_backward(o->s, &logprob, (ct_tensor *const *)&o->seed, 1) < 0)
        fail_msg("%s", cai_error_text());
}

static void a_twentieth_of_the_logits(void **state) {
    (void)state;
    struct head small = head_open(96, 500); /* code is read in, buffers of libraries are made */
    forward_and_backward(&small);
    ct_scope_close(small.s);
    struct head o = head_open(ROWS, VOCABULARY);
    forget_peak();
    double before = megabytes("VmRSS:"), whole = (double)ROWS * VOCABULARY * 4 / (1 << 20);
    forward_and_backward(&o);
    double head = megabytes("VmHWM:") - before;
    print_message("the head took %.1f MB of %.0f MB: %.1f %%\n", head, whole, 100 * head / whole);
    assert_true(head > 1); /* a measurement that sees nothing proves nothing */
    assert_true(head < 0.05 * whole);
    ct_scope_close(o.s);
}

/* The entropy of four equals: two bits. */
static void four_equals_have_two_bits(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    ct_tensor *h = ct_zeros(s, CT_F32, (int64_t[]){1, WIDTH}, 2), *entropy;
    int64_t target = 2;
    double nats, logprob;
    ct_tensor *w = numbers(s, 4, WIDTH);
    ct_tensor *lp = ct_linear_logprob(s, h, w, ct_from_i64(s, &target, 1), 1, 0, &entropy, NULL);
    assert_int_equal(ct_item(lp, &logprob), 0);
    assert_int_equal(ct_item(entropy, &nats), 0);
    assert_true(fabs(nats / log(2) - 2) < 1e-6 && fabs(logprob / log(2) + 2) < 1e-6);
    ct_scope_close(s);
}

int main(void) {
    if (ct_init(1) < 0)
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_twentieth_of_the_logits),
                                       cmocka_unit_test(four_equals_have_two_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
