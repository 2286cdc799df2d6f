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

static void a_twentieth_of_the_logits(void **state) {
    (void)state;
    int64_t target[ROWS];
    float *seed = malloc(ROWS * sizeof *seed);
    for (int64_t i = 0; i < ROWS; i++) {
        target[i] = (i * 104729) % VOCABULARY;
        seed[i] = 1;
    }
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *h = ct_leaf(s, numbers(s, ROWS, WIDTH));       /* [T, D] */
    ct_tensor *w = ct_leaf(s, numbers(s, VOCABULARY, WIDTH)); /* [V, D] */
    ct_tensor *ids = ct_from_i64(s, target, ROWS), *g = ct_from_f32(s, seed, ROWS);
    assert_int_equal(ct_scope_status(s), 0);
    forget_peak();
    double before = megabytes("VmRSS:"), whole = (double)ROWS * VOCABULARY * 4 / (1 << 20);
    ct_tensor *entropy, *logprob = ct_linear_logprob(s, h, w, ids, 1, 0, &entropy, NULL);
    if (ct_backward(s, &logprob, &g, 1) < 0)
        fail_msg("%s", cai_error_text());
    double head = megabytes("VmHWM:") - before;
    print_message("the head took %.1f MB of %.0f MB: %.1f %%\n", head, whole, 100 * head / whole);
    assert_true(head > 1); /* a measurement that sees nothing proves nothing */
    assert_true(head < 0.05 * whole);
    ct_scope_close(s);
    free(seed);
}

int main(void) {
    if (ct_init(1) < 0)
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_twentieth_of_the_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
