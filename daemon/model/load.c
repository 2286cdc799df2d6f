/* load.c: models out of folders. Not for: models out of nothing (new.c), what a folder's
 * files must look like (hf). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
    uint32_t bits;
    float f;
    if (exponent == 0) { /* zero or subnormal: fraction × 2⁻²⁴, exact in fp32 */
        f = ldexpf((float)fraction, -24);
        return sign ? -f : f;
    }
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    else
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* n elements from element `at` of the tensor on; the mapping may be unaligned, hence memcpy. */
static void convert(const struct hf_tensor *t, int64_t at, float *out, int64_t n)
{
    const unsigned char *in = (const unsigned char *)t->data + (size_t)at * hf_dtype_size(t->dtype);
    if (t->dtype == HF_F32) {
        memcpy(out, in, (size_t)n * sizeof(float));
    } else if (t->dtype == HF_BF16) {
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, in + 2 * i, 2);
            uint32_t bits = (uint32_t)h << 16;
            memcpy(&out[i], &bits, sizeof(bits));
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, in + 2 * i, 2);
            out[i] = half_to_float(h);
        }
    }
}

static int check_finite(const char *name, const float *x, int64_t n)
{
    uint32_t worst = 0;
    for (int64_t i = 0; i < n; i++) { /* without a branch, at the speed of memory */
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof(bits));
        bits &= 0x7fffffffu;
        worst = bits > worst ? bits : worst;
    }
    if (worst < 0x7f800000u)
        return 0;
    int64_t i = 0;
    while (isfinite(x[i]))
        i++;
    return cai_fail(CAI_ENUMERIC, "tensor %s: element %lld is not a finite number", name,
                    (long long)i);
}

/* The parameter's rows, from where the file has them. */
int model_read_param(const struct hf_tensor *t, const struct hf_param *p, float *out)
{
    int64_t rows = p->shape[0], cols = p->ndim == 2 ? p->shape[1] : 1;
    if (p->transposed) {
        CAI_AUTO(mem) float *line = cai_realloc(NULL, (size_t)p->file_rows, sizeof(*line));
        for (int64_t c = 0; c < cols; c++) {
            convert(t, c * p->file_rows, line, p->file_rows);
            for (int64_t r = 0; r < rows; r++)
                out[r * cols + c] = line[hf_param_file_row(p, r)];
        }
    } else {
        for (int64_t r = 0; r < rows; r += p->block)
            convert(t, hf_param_file_row(p, r) * cols, out + r * cols, p->block * cols);
    }
    return check_finite(t->name, out, rows * cols);
}

/* Shapes are compared with the file before memory for them is taken, so that a wrong
 * config.json cannot ask for more than the file holds. */
static int check_weights(const struct hf_weights *w, const struct hf_config *c,
                         enum model_head head, bool fresh_head)
{
    CAI_AUTO(mem) struct hf_param *params = NULL;
    int n;
    CAI_TRY(hf_params(c, head == MODEL_HEAD_SCALAR, &params, &n));
    CAI_TRY(hf_params_check_unused(w, c, params, n));
    for (int i = 0; i < n; i++) {
        const struct hf_tensor *t;
        if (!fresh_head || params[i].slot != HF_SCORE)
            CAI_TRY(hf_param_find(w, c, &params[i], &t));
    }
    return 0;
}

static int fill_host(struct model *m, const struct hf_weights *w, bool fresh_head, float *flat)
{
    for (int i = 0; i < m->n_params; i++) {
        const struct model_param *p = &m->params[i];
        const struct hf_tensor *t;
        if (fresh_head && p->file.slot == HF_SCORE)
            continue;
        CAI_TRY(hf_param_find(w, &m->config, &p->file, &t));
        CAI_TRY(model_read_param(t, &p->file, flat + p->offset));
        if (p->file.slot == HF_SCORE)
            CAI_TRY(model_check_score(flat + p->offset, p->numel));
    }
    return 0;
}

static int fill(struct model *m, const struct hf_weights *w, bool fresh_head)
{
    float *flat;
    int rc = model_host_open(m, &flat);
    if (rc == 0)
        rc = fill_host(m, w, fresh_head, flat);
    int closed = model_host_close(m, flat, rc == 0);
    return rc < 0 ? rc : closed;
}

int model_check_score(const float *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (w[i] != 0)
            return 0;
    return cai_fail(CAI_EINPUT, "score.weight is all zero: this head was never set; train it, or "
                    "start from the language model");
}

static int load(const char *dir, const struct hf_config *c, bool fresh_head, struct model **ret)
{
    enum model_head head =
        c->sequence_classification || fresh_head ? MODEL_HEAD_SCALAR : MODEL_HEAD_LM;
    struct hf_weights *w = NULL;
    struct model *m = NULL;
    int rc = hf_weights_open(dir, &w);
    if (rc < 0)
        return rc;
    rc = check_weights(w, c, head, fresh_head);
    if (rc == 0)
        rc = model_alloc(c, head, dir, &m);
    if (rc == 0)
        rc = fill(m, w, fresh_head);
    hf_weights_close(w);
    if (rc < 0) {
        model_free(m);
        return cai_fail_in("%s", dir);
    }
    *ret = m;
    return 0;
}

int model_load(const char *dir, struct model **ret)
{
    struct hf_config c;
    if (hf_adapter_is(dir))
        return model_load_adapted(dir, ret);
    CAI_TRY(hf_config_load(dir, &c));
    return load(dir, &c, false, ret);
}

int model_draw_score(struct model *m, struct cai_key key)
{
    const struct model_param *score = model_find(m, HF_SCORE); /* [1, D] */
    CAI_AUTO(mem) float *w = cai_realloc(NULL, (size_t)score->numel, sizeof(*w));
    double deviation = 1.0 / sqrt((double)(m->config.hidden_size + 1));
    for (int64_t i = 0; i < score->numel; i++)
        w[i] = (float)(deviation * cai_rng_normal(key, (uint64_t)i));
    return ct_write_host_(score->view, CT_F32, w);
}

int model_load_scalar(const char *dir, struct cai_key key, struct model **ret)
{
    struct hf_config c;
    if (hf_adapter_is(dir)) {
        CAI_TRY(model_load_adapted(dir, ret));
        if ((*ret)->head == MODEL_HEAD_SCALAR)
            return 0;
        model_free(*ret);
        *ret = NULL;
        return cai_fail(CAI_EINPUT, "%s: an adapter of a language model has no score head; merge it "
                        "into its base, or start the preference model from the base", dir);
    }
    CAI_TRY(hf_config_load(dir, &c));
    bool fresh = !c.sequence_classification;
    CAI_TRY(load(dir, &c, fresh, ret));
    int rc = fresh ? model_draw_score(*ret, key) : 0;
    if (rc < 0) {
        model_free(*ret);
        *ret = NULL;
    }
    return rc;
}
