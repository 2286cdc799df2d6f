/* layer_half.c: one layer of the plain kind (Touvron et al. 2023, "LLaMA": RMSNorm, turned heads
 * without biases, SwiGLU, two residuals) while its matrix products are in bfloat16: the same
 * arithmetic as layer.c, bit for bit, in operations that write every matrix once and rounded.
 * T rows, D hidden, F inner, Dh a head's width. Not for: any other kind, a GPU. */
#include "model/internal.h"

bool layer_is_plain(const struct model *m, int layer)
{
    const struct model_layer *l = &m->layers[layer];
    bool biased = l->q_bias || l->k_bias || l->v_bias || l->o_bias || l->gate_bias || l->up_bias ||
                  l->down_bias;
    bool normed = l->q_norm || l->k_norm || l->post_attention_norm || l->post_mlp_norm;
    return m->family->norm == HF_NORM_RMS && l->attention_norm && l->mlp_norm && l->gate &&
           m->config.activation == HF_SILU && !m->family->parallel && !biased && !normed &&
           !layer_adapted(l, 0, MODEL_PROJECTIONS - 1);
}

ct_tensor *layer_run_half(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                          const struct rope_rows *rope, const struct pass *p,
                          struct ct_attend how)
{
    const struct model_layer *l = &m->layers[layer];
    double eps = m->config.rms_norm_eps;
    ct_tensor *const w[3] = {l->q, l->k, l->v};
    ct_tensor *h[3] = {NULL}; /* [T, Hq, Dh] [T, Hkv, Dh] [T, Hkv, Dh] */
    int64_t flat[2] = {p->t, m->config.num_heads * m->config.head_dim};
    ct_tensor *y = ct_half_norm(s, x, l->attention_norm, eps); /* [T, D], bfloat16 */
    ct_half_heads(s, y, w, rope->cos, rope->sin, m->config.head_dim, h);
    ct_tensor *a = ct_view(s, p->attend(s, p, layer, h[0], h[1], h[2], how), flat, 2);
    x = ct_half_residual(s, x, a, l->o); /* [T, D] */
    y = ct_half_norm(s, x, l->mlp_norm, eps);
    y = ct_half_gate(s, y, l->gate, l->up); /* [T, F], bfloat16 */
    return ct_half_residual(s, x, y, l->down);
}
