/* rope.c: rotary position tables (Su et al. 2021, "RoFormer"), halves as Hugging Face's
 * Llama lays them. Not for: applying them (ct_rotary). */
#include "model/internal.h"

#include "base/check.h"
#include <math.h>

static int keep_table(const float *data, int64_t rows, int64_t cols, ct_tensor **ret)
{
    int64_t shape[2] = {rows, cols};
    ct_scope *s = ct_scope_open();
    ct_tensor *t = ct_from_host(s, CT_F32, shape, 2, data); /* [rows, cols] */
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(t, ret);
    ct_scope_close(s);
    return rc;
}

int rope_tables(const struct hf_config *config, ct_tensor **ret_cos, ct_tensor **ret_sin)
{
    int64_t n = config->max_positions, d = config->head_dim, half = d / 2;
    float *cosine = cai_realloc(NULL, (size_t)(n * d), sizeof(float));
    float *sine = cai_realloc(NULL, (size_t)(n * d), sizeof(float));
    for (int64_t i = 0; i < half; i++) {
        /* Frequency and angle are rounded to fp32, as the reference does: at position
         * 10,000 the rounding of the frequency moves the angle by 6e-4. */
        float frequency = (float)(1.0 / (double)(float)pow(config->rope_theta,
                                                            (double)(2 * i) / (double)d));
        for (int64_t p = 0; p < n; p++) {
            float angle = (float)p * frequency;
            cosine[p * d + i] = cosine[p * d + half + i] = (float)cos((double)angle);
            sine[p * d + i] = sine[p * d + half + i] = (float)sin((double)angle);
        }
    }
    int rc = keep_table(cosine, n, d, ret_cos);
    if (rc == 0)
        rc = keep_table(sine, n, d, ret_sin);
    free(cosine);
    free(sine);
    return rc;
}
