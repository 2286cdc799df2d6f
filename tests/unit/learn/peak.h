/* peak.h: by how much a process's memory rose at most. Linux lets a process set its peak of
 * resident memory back. */
#ifndef CAI_TEST_LEARN_PEAK_H
#define CAI_TEST_LEARN_PEAK_H

#include "common.h"

#include <malloc.h>
#include <stdio.h>

static inline double peak_megabytes(const char *field) {
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

/* What is resident now; the peak is counted from here. */
static inline double peak_begin(void) {
    malloc_trim(0);
    FILE *f = fopen("/proc/self/clear_refs", "w");
    assert_non_null(f);
    assert_true(fputs("5", f) >= 0);
    assert_int_equal(fclose(f), 0);
    return peak_megabytes("VmRSS:");
}

static inline double peak_since(double before) {
    return peak_megabytes("VmHWM:") - before;
}

/* Sequences of `len` ids each, laid end to end, every id but the first predicted; of a scalar
 * head the last is read. */
static inline struct micro *peak_micro(const struct model *m, int64_t tokens, int64_t len) {
    int64_t n = tokens / len;
    CAI_AUTO(mem) int32_t *ids = cai_alloc((size_t)(n * len) * sizeof *ids);
    CAI_AUTO(mem) struct span *s = cai_alloc((size_t)n * sizeof *s);
    struct micro *b;
    for (int64_t i = 0; i < n * len; i++)
        ids[i] = (int32_t)(i * 7919 % m->config.vocab_size);
    for (int64_t i = 0; i < n; i++)
        s[i] = (struct span){ids + i * len, len, m->head == MODEL_HEAD_SCALAR ? len - 1 : 1, len};
    must(micro_new(m, s, (size_t)n, &b));
    return b;
}

static inline int peak_loss(void *context, const double *out, double *grad, int64_t n) {
    (void)context;
    (void)out;
    for (int64_t i = 0; i < n; i++)
        grad[i] = -1 / (double)n;
    return 0;
}

#endif
