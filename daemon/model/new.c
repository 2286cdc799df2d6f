/* new.c: models out of nothing, and out of other models. Not for: folders (load.c). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <math.h>

/* Outputs into the residual stream are scaled so that its variance does not grow with
 * depth (Radford et al. 2019, section 2.3). */
static double deviation_of(const struct hf_config *c, enum hf_slot slot)
{
    if (slot == HF_O || slot == HF_DOWN)
        return 0.02 / sqrt(2.0 * (double)c->num_layers);
    return slot == HF_SCORE ? 1.0 / sqrt((double)(c->hidden_size + 1)) : 0.02;
}

static bool is_bias(enum hf_slot slot)
{
    switch (slot) {
    case HF_ATTENTION_NORM_BIAS: case HF_Q_BIAS: case HF_K_BIAS: case HF_V_BIAS: case HF_O_BIAS:
    case HF_MLP_NORM_BIAS: case HF_GATE_BIAS: case HF_UP_BIAS: case HF_DOWN_BIAS:
    case HF_FINAL_NORM_BIAS:
        return true;
    default:
        return false;
    }
}

static void draw(const struct model *m, struct cai_key key, float *flat)
{
    const struct hf_config *config = &m->config;
    for (int i = 0; i < m->n_params; i++) {
        const struct model_param *p = &m->params[i];
        double deviation = deviation_of(config, p->file.slot);
        float norm = m->family->norm == HF_NORM_RMS_PLUS ? 0.0f : 1.0f;
        bool matrix = p->file.ndim == 2, bias = is_bias(p->file.slot);
        for (int64_t j = 0; j < p->numel; j++)
            flat[p->offset + j] =
                bias     ? 0.0f
                : matrix ? (float)(deviation * cai_rng_normal(key, (uint64_t)(p->offset + j)))
                         : norm;
    }
}

int model_new(const struct hf_config *config, struct cai_key key, struct model **ret)
{
    struct model *m;
    float *flat;
    CAI_TRY(model_alloc(config,
                        config->sequence_classification ? MODEL_HEAD_SCALAR : MODEL_HEAD_LM, NULL,
                        &m));
    int rc = model_host_open(m, &flat);
    if (rc == 0)
        draw(m, key, flat);
    int closed = model_host_close(m, flat, rc == 0);
    if (rc < 0 || closed < 0) {
        model_free(m);
        return rc < 0 ? rc : closed;
    }
    *ret = m;
    return 0;
}

int model_clone(const struct model *m, struct model **ret)
{
    struct model *c;
    CAI_TRY(m->base ? model_adapt(m->base, &m->adapter, (struct cai_key){0}, &c)
                    : model_alloc(&m->config, m->head, m->dir, &c));
    if (m->base && m->dir) {
        free(c->dir);
        c->dir = cai_strdup(m->dir);
    }
    int rc = model_copy_weights(c, m);
    if (rc < 0) {
        model_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

int model_copy_weights(struct model *to, const struct model *from)
{
    CAI_CHECK(to->n == from->n && to->n_params == from->n_params);
    return ct_copy_(to->flat, from->flat);
}
