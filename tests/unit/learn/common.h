/* common.h: tiny random models and rows for the tests of learn. */
#ifndef CAI_TEST_LEARN_COMMON_H
#define CAI_TEST_LEARN_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "model/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A call that must succeed; its message is shown when it does not. */
#define must(expr)                                                                                 \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, cai_error_text());                                           \
    } while (0)

enum { SKIPPED = 77 }; /* meson's code for a test that could not run */

/* The device that $CAI_TEST_DEVICE names, else the processor; false with the reason said when
 * there is no such one. */
static inline bool on_test_device(void) {
    const char *name = getenv("CAI_TEST_DEVICE");
    struct ct_device device;
    if (ct_init(1) == 0 && ct_device_find(name ? name : "cpu", &device, NULL, 0) == 0 &&
        ct_device_use(device) == 0)
        return true;
    printf("SKIP: %s\n", cai_error_text());
    return false;
}

static inline struct hf_config tiny_config(bool scalar) {
    return (struct hf_config){
        .model_type = "llama", .vocab_size = 64, .hidden_size = 32, .intermediate_size = 48,
        .num_layers = 2, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .max_positions = 96,
        .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = -1, .eos_token_id = -1,
        .pad_token_id = -1, .sequence_classification = scalar, .tie_word_embeddings = !scalar};
}

static inline struct model *tiny_model(bool scalar, uint64_t seed) {
    struct hf_config c = tiny_config(scalar);
    struct model *m;
    must(model_new(&c, cai_key_make(seed, 0, "test", 0, 0), &m));
    CAI_AUTO(mem) float *flat = cai_alloc((size_t)m->n * sizeof *flat);
    must(ct_read_f32(m->flat, flat, m->n));
    struct cai_key key = cai_key_make(seed, 0, "test/sharper", 0, 0);
    for (int i = 0; i < m->n_params; i++) /* weights large enough that nothing is near zero */
        for (int64_t j = 0; j < m->params[i].numel; j++) {
            int64_t at = m->params[i].offset + j;
            flat[at] += 0.1f * (float)cai_rng_normal(key, (uint64_t)at);
        }
    must(ct_write_host_(m->flat, CT_F32, flat));
    return m;
}

/* Row i: ids drawn by (seed, i), 5 … 24 of them. */
enum { ROWS_MAX = 64, ROW_MAX = 24 };
struct rows {
    int32_t ids[ROWS_MAX][ROW_MAX];
    int64_t n[ROWS_MAX];
};

static inline void make_rows(struct rows *r, uint64_t seed) {
    for (uint32_t i = 0; i < ROWS_MAX; i++) {
        struct cai_key key = cai_key_make(seed, 0, "test/rows", i, 0);
        r->n[i] = 5 + (int64_t)cai_rng_below(key, 1000, ROW_MAX - 4);
        for (int64_t j = 0; j < r->n[i]; j++)
            r->ids[i][j] = (int32_t)cai_rng_below(key, (uint64_t)j, 64);
    }
}

static inline double worst_difference(const float *a, const float *b, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

#endif
