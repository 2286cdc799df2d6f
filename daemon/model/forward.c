/* forward.c: the packed forward pass, whose layers can record gradients, and the heads. T
 * tokens of a pack, D hidden. Not for: a layer's arithmetic (layer.c), the cached pass
 * (cache.c), losses (learn). */
#include "model/internal.h"

#include "base/error.h"

ct_tensor *transformer_embed(ct_scope *s, const struct model *m, const struct pack *p)
{
    return layer_embed(s, m, p->ids, p->positions); /* [T, D] */
}

static ct_tensor *attend_packed(ct_scope *s, const struct pass *pass, int layer, ct_tensor *q,
                                ct_tensor *k, ct_tensor *v, struct ct_attend how)
{
    const struct pack *p = pass->context;
    (void)layer;
    if (!pass->half)
        return ct_attention_packed(s, q, k, v, p->starts, p->n, how);
    ct_tensor *out = ct_attention_packed(s, ct_to(s, q, CT_BF16), ct_to(s, k, CT_BF16),
                                         ct_to(s, v, CT_BF16), p->starts, p->n, how);
    return ct_to(s, out, CT_F32);
}

ct_tensor *transformer_layer(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                             const struct pack *p)
{
    ct_scope_products(s, m->half_products ? CT_BF16 : CT_F32);
    struct pass pass = {.t = p->t, .fused = m->half, .rope = p->rope, .rope_local = p->rope_local,
                        .attend = attend_packed, .context = p};
    /* A GPU's kernels for it know bfloat16 alone; the CPU's know fp32 alone. */
    pass.half = ct_device_of(x).cuda && ct_dtype_of(m->layers[layer].o) == CT_BF16;
    return layer_run(s, m, layer, x, &pass);
}

ct_tensor *transformer_norm(ct_scope *s, const struct model *m, ct_tensor *x)
{
    return layer_norm(s, m, x, m->final_norm, m->final_norm_bias); /* [T, D] */
}

int layer_close(ct_scope *s, ct_scope *layer, ct_tensor *y, ct_tensor **x)
{
    ct_tensor *kept = NULL;
    int rc = ct_scope_status(layer);
    if (rc == 0)
        rc = ct_keep(y, &kept);
    ct_scope_close(layer);
    if (rc < 0) {
        ct_scope_fail(s, rc, cai_error_text());
        return rc;
    }
    ct_free(*x);
    *x = kept;
    return 0;
}

ct_tensor *transformer_hidden(ct_scope *s, const struct model *m, const struct pack *p)
{
    ct_tensor *x = NULL; /* kept between layers: [T, D] */
    ct_scope *first = ct_scope_open();
    int rc = layer_close(s, first, transformer_embed(first, m, p), &x);
    for (int i = 0; rc == 0 && i < m->config.num_layers; i++) {
        ct_scope *layer = ct_scope_open();
        rc = layer_close(s, layer, transformer_layer(layer, m, i, x, p), &x);
    }
    ct_tensor *out = rc == 0 ? transformer_norm(s, m, x) : NULL; /* [T, D] */
    ct_free(x);
    return out;
}

static bool has_tokens(ct_scope *s, const struct model *m)
{
    if (!m->lm_head)
        ct_scope_fail(s, CAI_ESTATE, "a scalar-head model has no token logits");
    return m->lm_head != NULL;
}

ct_tensor *head_logits(ct_scope *s, const struct model *m, ct_tensor *hidden)
{
    if (!has_tokens(s, m))
        return NULL;
    ct_tensor *logits = ct_linear(s, hidden, m->lm_head, NULL); /* [R, D] → [R, V] */
    return m->config.logit_softcap == 0 ? logits : ct_softcap(s, logits, m->config.logit_softcap);
}

ct_tensor *head_logprob(ct_scope *s, const struct model *m, ct_tensor *hidden, ct_tensor *target,
                        double temperature, ct_tensor **ret_entropy)
{
    if (!has_tokens(s, m))
        return NULL;
    ct_scope_products(s, m->half_products ? CT_BF16 : CT_F32);
    return ct_linear_logprob(s, hidden, m->lm_head, target, temperature, m->config.logit_softcap,
                             ret_entropy, NULL);
}

ct_tensor *head_scalar(ct_scope *s, const struct model *m, ct_tensor *hidden)
{
    if (!m->score) {
        ct_scope_fail(s, CAI_ESTATE, "a language model has no scalar head");
        return NULL;
    }
    int64_t flat = -1;
    return ct_view(s, ct_linear(s, hidden, m->score, NULL), &flat, 1); /* [R, D] → [R · n] */
}
