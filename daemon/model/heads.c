/* heads.c: several scalar heads over one trunk, to be trained as one, and each head with the
 * trunk as a model of its own again. Not for: folders, which hold one head each (save.c). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"

/* The same parameters, all zero, with a score matrix of n rows. */
static int make(const struct model *m, int64_t n, struct model **ret)
{
    CAI_AUTO(mem) struct hf_param *file = cai_alloc((size_t)m->n_params * sizeof(*file) + 1);
    struct model_param *params;
    int64_t numel;
    for (int i = 0; i < m->n_params; i++) {
        file[i] = m->params[i].file;
        if (file[i].slot == HF_SCORE)
            file[i].shape[0] = n;
    }
    model_place(file, m->n_params, &params, &numel);
    return model_make(&m->config, MODEL_HEAD_SCALAR, params, m->n_params, numel, NULL, ret);
}

/* Every parameter but the score, whose places differ with the number of heads. */
static int copy_trunk(struct model *to, const struct model *from)
{
    CAI_CHECK(to->n_params == from->n_params);
    for (int i = 0; i < to->n_params; i++)
        if (to->params[i].file.slot != HF_SCORE)
            CAI_TRY(ct_copy_(to->params[i].view, from->params[i].view));
    return 0;
}

static int fill_heads(struct model *to, const struct model *from, const struct cai_key *keys)
{
    int64_t d = from->config.hidden_size, n = ct_numel(to->score) / d;
    CAI_AUTO(mem) float *w = cai_realloc(NULL, (size_t)(n * d), sizeof(*w)); /* [n, D] */
    CAI_TRY(ct_read_f32(from->score, w, d));
    for (int64_t k = 1; k < n; k++)
        model_score_weights(&from->config, keys[k], w + k * d);
    return ct_write_host_(to->score, CT_F32, w);
}

int model_heads(const struct model *m, const struct cai_key *keys, int64_t n, struct model **ret)
{
    struct model *h;
    CAI_CHECK(m->head == MODEL_HEAD_SCALAR && n > 0);
    if (m->base)
        return cai_fail(CAI_EINPUT, "%s: an adapter has no trunk of its own for several heads",
                        m->dir ? m->dir : "the model");
    CAI_TRY(make(m, n, &h));
    int rc = copy_trunk(h, m);
    if (rc == 0)
        rc = fill_heads(h, m, keys);
    if (rc < 0) {
        model_free(h);
        return rc;
    }
    *ret = h;
    return 0;
}

int model_take_head(struct model *to, const struct model *heads, int64_t k)
{
    CAI_TRY(copy_trunk(to, heads));
    to->stamp[0] = to->hash[0] = '\0'; /* its weights are no longer those of a folder */
    ct_scope *s = ct_scope_open();
    ct_tensor *row = ct_narrow(s, heads->score, 0, k, 1); /* [n, D] → [1, D] */
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_copy_(to->score, row);
    ct_scope_close(s);
    return rc;
}
