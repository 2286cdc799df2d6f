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

/* The mapping may be unaligned, hence memcpy per element. */
static int convert(const struct hf_tensor *t, float *out, int64_t n)
{
    const unsigned char *in = t->data;
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
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return cai_fail(CAI_ENUMERIC, "tensor %s: element %lld is not a finite number",
                            t->name, (long long)i);
    return 0;
}

static void shape_text(int ndim, const int64_t *shape, char *out, size_t size)
{
    size_t len = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < ndim && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, i ? ", %lld" : "%lld", (long long)shape[i]);
    if (len < size)
        snprintf(out + len, size - len, "]");
}

/* The tensor for a parameter, with shape and type as the configuration says. */
static int find_checked(const struct hf_weights *w, const struct model_param *p,
                        const struct hf_tensor **ret)
{
    const struct hf_tensor *t = hf_weights_find(w, p->name);
    if (!t)
        return cai_fail(CAI_EINPUT, "tensor %s is missing", p->name);
    if (t->dtype != HF_F32 && t->dtype != HF_BF16 && t->dtype != HF_F16)
        return cai_fail(CAI_EINPUT, "tensor %s: only F32, BF16 and F16 weights are read", p->name);
    bool same = t->ndim == p->ndim;
    for (int i = 0; same && i < p->ndim; i++)
        same = t->shape[i] == p->shape[i];
    if (!same) {
        char want[96], have[96];
        shape_text(p->ndim, p->shape, want, sizeof(want));
        shape_text(t->ndim, t->shape, have, sizeof(have));
        return cai_fail(CAI_EINPUT, "tensor %s has shape %s, but config.json asks for %s", p->name,
                        have, want);
    }
    *ret = t;
    return 0;
}

/* Tensors that older writers add and that carry nothing, or that another head owns. */
static bool ignorable(const char *name)
{
    size_t len = strlen(name), tail = strlen(".rotary_emb.inv_freq");
    return (len > tail && !strcmp(name + len - tail, ".rotary_emb.inv_freq")) ||
           !strcmp(name, "lm_head.weight");
}

/* A tensor we do not use means arithmetic we do not do. */
static int check_unused(const struct hf_weights *w, const struct model_param *params, int n)
{
    for (size_t i = 0; i < hf_weights_count(w); i++) {
        const char *name = hf_weights_at(w, i)->name;
        bool used = ignorable(name);
        for (int j = 0; !used && j < n; j++)
            used = !strcmp(params[j].name, name);
        if (!used)
            return cai_fail(CAI_EINPUT,
                            "tensor %s is not part of the Llama family this version computes",
                            name);
    }
    return 0;
}

/* Shapes are compared with the file before memory for them is taken, so that a wrong
 * config.json cannot ask for more than the file holds. */
static int check_weights(const struct hf_weights *w, const struct hf_config *c,
                         enum model_head head, bool fresh_head)
{
    struct model_param *params;
    int n, rc;
    int64_t numel;
    CAI_TRY(model_layout(c, head, &params, &n, &numel));
    rc = check_unused(w, params, n);
    for (int i = 0; rc == 0 && i < n; i++) {
        const struct hf_tensor *t;
        if (!fresh_head || strcmp(params[i].name, "score.weight"))
            rc = find_checked(w, &params[i], &t);
    }
    free(params);
    return rc;
}

static int fill(struct model *m, const struct hf_weights *w, bool fresh_head)
{
    float *flat = model_host(m);
    if (!flat)
        return CAI_ESTATE;
    for (int i = 0; i < m->n_params; i++) {
        const struct model_param *p = &m->params[i];
        const struct hf_tensor *t;
        if (fresh_head && !strcmp(p->name, "score.weight"))
            continue;
        CAI_TRY(find_checked(w, p, &t));
        CAI_TRY(convert(t, flat + p->offset, p->numel));
    }
    return 0;
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
    CAI_TRY(hf_config_load(dir, &c));
    return load(dir, &c, false, ret);
}

int model_load_scalar(const char *dir, struct cai_key key, struct model **ret)
{
    struct hf_config c;
    CAI_TRY(hf_config_load(dir, &c));
    bool fresh = !c.sequence_classification;
    CAI_TRY(load(dir, &c, fresh, ret));
    if (!fresh)
        return 0;
    const struct model_param *score = model_find(*ret, "score.weight");
    float *w = model_host(*ret) + score->offset; /* [1, D]; load() has been through here */
    double deviation = 1.0 / sqrt((double)(c.hidden_size + 1));
    for (int64_t i = 0; i < score->numel; i++)
        w[i] = (float)(deviation * cai_rng_normal(key, (uint64_t)i));
    return 0;
}
