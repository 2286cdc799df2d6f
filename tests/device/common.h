/* common.h: for tests that need a GPU: they say why they are skipped where there is none, and
 * change between the processor and the GPU to compare the two. */
#ifndef CAI_TEST_DEVICE_COMMON_H
#define CAI_TEST_DEVICE_COMMON_H

#include "../unit/learn/common.h"

static const struct ct_device the_gpu = {true, 0}, the_processor = {false, 0};

static inline void use(struct ct_device d) {
    must(ct_device_use(d));
}

/* The code to end with where there is no GPU; 0: go on. */
static inline int without_gpu(void) {
    char why[256];
    if (ct_init(1) < 0)
        return 1;
    if (ct_device_count(why, sizeof why) > 0)
        return 0;
    printf("SKIP: %s\n", why);
    return SKIPPED;
}

/* The same weights on both: they are drawn by counted randomness. */
struct twins {
    struct model *cpu, *gpu;
};

static inline struct twins twins_new(bool scalar, uint64_t seed) {
    struct twins t;
    use(the_processor);
    t.cpu = tiny_model(scalar, seed);
    use(the_gpu);
    t.gpu = tiny_model(scalar, seed);
    return t;
}

static inline void twins_free(struct twins *t) {
    model_free(t->cpu);
    model_free(t->gpu);
}

static inline float *read_all(const ct_tensor *t) {
    int64_t n = ct_numel(t);
    float *out = cai_alloc((size_t)n * sizeof *out + 1);
    must(ct_read_f32(t, out, n));
    return out;
}

static inline void assert_near(const float *a, const float *b, int64_t n, double tolerance,
                               const char *what) {
    double worst = worst_difference(a, b, n);
    print_message("%s: worst difference %.3g\n", what, worst);
    if (!(worst <= tolerance))
        fail_msg("%s differ by %g, allowed are %g", what, worst, tolerance);
}

#endif
