/* forward.c: the packed forward pass and the heads (Touvron et al. 2023, "LLaMA"; grouped
 * queries: Ainslie et al. 2023). T tokens of a pack, D hidden, F inner, Hq query and Hkv
 * key heads of width Dh. Not for: the cached pass (cache.c), losses (learn). */
#include "model/internal.h"

#include "base/error.h"
#include <math.h>

ct_tensor *transformer_embed(ct_scope *s, const struct model *m, const struct pack *p)
{
    return ct_embedding(s, m->embedding, p->ids); /* [T, D] */
}

static ct_tensor *heads(ct_scope *s, ct_tensor *x, ct_tensor *w, ct_tensor *bias, int64_t t,
                        int64_t n, int64_t width)
{
    int64_t shape[3] = {t, n, width};
    return ct_view(s, ct_linear(s, x, w, bias), shape, 3); /* [T, H, Dh] */
}

ct_tensor *transformer_layer(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                             const struct pack *p)
{
    const struct hf_config *c = &m->config;
    const struct model_layer *l = &m->layers[layer];
    double eps = c->rms_norm_eps, scale = 1.0 / sqrt((double)c->head_dim);
    int64_t flat[2] = {p->t, c->num_heads * c->head_dim};

    ct_tensor *h = ct_rms_norm(s, x, l->attention_norm, eps); /* [T, D] */
    ct_tensor *q = heads(s, h, l->q, l->q_bias, p->t, c->num_heads, c->head_dim);
    ct_tensor *k = heads(s, h, l->k, l->k_bias, p->t, c->num_kv_heads, c->head_dim);
    ct_tensor *v = heads(s, h, l->v, l->v_bias, p->t, c->num_kv_heads, c->head_dim);
    q = ct_rotary(s, q, p->cos, p->sin); /* [T, Hq, Dh] */
    k = ct_rotary(s, k, p->cos, p->sin); /* [T, Hkv, Dh] */
    ct_tensor *a = ct_attention_packed(s, q, k, v, p->starts, p->n, (struct ct_attend){scale, 0, 0}); /* [T, Hq, Dh] */
    x = ct_add(s, x, ct_linear(s, ct_view(s, a, flat, 2), l->o, l->o_bias)); /* [T, D] */

    h = ct_rms_norm(s, x, l->mlp_norm, eps);                     /* [T, D] */
    ct_tensor *gate = ct_linear(s, h, l->gate, l->gate_bias);    /* [T, F] */
    ct_tensor *up = ct_linear(s, h, l->up, l->up_bias);          /* [T, F] */
    return ct_add(s, x, ct_linear(s, ct_swiglu(s, gate, up), l->down, l->down_bias));
}

ct_tensor *transformer_norm(ct_scope *s, const struct model *m, ct_tensor *x)
{
    return ct_rms_norm(s, x, m->final_norm, m->config.rms_norm_eps); /* [T, D] */
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

ct_tensor *head_logits(ct_scope *s, const struct model *m, ct_tensor *hidden)
{
    if (!m->lm_head) {
        ct_scope_fail(s, CAI_ESTATE, "a scalar-head model has no token logits");
        return NULL;
    }
    return ct_linear(s, hidden, m->lm_head, NULL); /* [R, D] → [R, V] */
}

ct_tensor *head_logprob(ct_scope *s, const struct model *m, ct_tensor *hidden, ct_tensor *target,
                        double temperature, ct_tensor **ret_entropy)
{
    return ct_linear_logprob(s, hidden, m->lm_head, target, temperature, 0, ret_entropy, NULL);
}

ct_tensor *head_scalar(ct_scope *s, const struct model *m, ct_tensor *hidden)
{
    if (!m->score) {
        ct_scope_fail(s, CAI_ESTATE, "a language model has no scalar head");
        return NULL;
    }
    int64_t flat = -1;
    return ct_view(s, ct_linear(s, hidden, m->score, NULL), &flat, 1); /* [R, D] → [R] */
}
