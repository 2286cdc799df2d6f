/* new.c: models out of nothing, and out of other models. Not for: folders (load.c). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

/* Outputs into the residual stream are scaled so that its variance does not grow with
 * depth (Radford et al. 2019, section 2.3). */
static bool is_residual_output(const char *name)
{
    return strstr(name, ".o_proj.weight") || strstr(name, ".down_proj.weight");
}

int model_new(const struct hf_config *config, struct cai_key key, struct model **ret)
{
    struct model *m;
    CAI_TRY(model_alloc(config,
                        config->sequence_classification ? MODEL_HEAD_SCALAR : MODEL_HEAD_LM, NULL,
                        &m));
    float *flat = model_host(m);
    if (!flat) {
        model_free(m);
        return CAI_ESTATE;
    }
    for (int i = 0; i < m->n_params; i++) {
        const struct model_param *p = &m->params[i];
        size_t len = strlen(p->name);
        bool bias = len > 5 && !strcmp(p->name + len - 5, ".bias");
        double deviation = 0.02;
        if (is_residual_output(p->name))
            deviation /= sqrt(2.0 * (double)config->num_layers);
        if (!strcmp(p->name, "score.weight"))
            deviation = 1.0 / sqrt((double)(config->hidden_size + 1));
        for (int64_t j = 0; j < p->numel; j++)
            flat[p->offset + j] =
                bias           ? 0.0f
                : p->ndim == 1 ? 1.0f
                               : (float)(deviation *
                                         cai_rng_normal(key, (uint64_t)(p->offset + j)));
    }
    *ret = m;
    return 0;
}

int model_clone(const struct model *m, struct model **ret)
{
    struct model *c;
    CAI_TRY(model_alloc(&m->config, m->head, m->dir, &c));
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
