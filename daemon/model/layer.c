/* layer.c: one layer of the transformer, for every family (Vaswani et al. 2017; Touvron et
 * al. 2023, "LLaMA"; Gemma Team 2024, "Gemma 2"; Black et al. 2022, "GPT-NeoX-20B"). What
 * differs is read from the family's row and the configuration. T rows, D hidden, F inner,
 * Hq query and Hkv key heads of width Dh. Not for: what is attended to (forward.c,
 * cache.c), heads. */
#include "model/internal.h"

#include <math.h>

ct_tensor *layer_embed(ct_scope *s, const struct model *m, ct_tensor *ids, ct_tensor *positions)
{
    ct_tensor *x = ct_embedding(s, m->embedding, ids); /* [T, D] */
    if (m->family->scaled_embedding)
        x = ct_scale(s, x, (double)(float)sqrt((double)m->config.hidden_size));
    if (m->positions)
        x = ct_add(s, x, ct_embedding(s, m->positions, positions));
    return x;
}

ct_tensor *layer_norm(ct_scope *s, const struct model *m, ct_tensor *x, ct_tensor *w, ct_tensor *b)
{
    double eps = m->config.rms_norm_eps;
    switch (m->family->norm) {
    case HF_NORM_LAYER:
        return ct_layer_norm(s, x, w, b, eps);
    case HF_NORM_RMS_PLUS:
        return ct_rms_norm(s, x, ct_shift(s, w, 1), eps);
    case HF_NORM_RMS:
        break;
    }
    return ct_rms_norm(s, x, w, eps);
}

/* x [T, in] · (w + scale · b a)ᵀ + bias → [T, out] */
static ct_tensor *linear(ct_scope *s, const struct model *m, const struct model_layer *l,
                         enum model_projection which, ct_tensor *x, ct_tensor *w, ct_tensor *bias)
{
    const struct model_lora *lora = &l->lora[which];
    ct_tensor *y = ct_linear(s, x, w, bias);
    if (!lora->a)
        return y;
    ct_tensor *low = ct_linear(s, x, lora->a, NULL); /* [T, r] */
    return ct_add(s, y, ct_scale(s, ct_linear(s, low, lora->b, NULL), m->lora_scale));
}

bool layer_adapted(const struct model_layer *l, enum model_projection from,
                   enum model_projection to)
{
    for (int i = (int)from; i <= (int)to; i++)
        if (l->lora[i].a)
            return true;
    return false;
}

/* Projections first … first + n - 1 of one x; together where none has an adapter. */
static void linears(ct_scope *s, const struct model *m, const struct model_layer *l,
                    enum model_projection first, ct_tensor *x, ct_tensor *const *w,
                    ct_tensor *const *b, int n, ct_tensor **ret)
{
    if (!layer_adapted(l, first, (enum model_projection)((int)first + n - 1))) {
        ct_linears(s, x, w, b, n, ret);
        return;
    }
    for (int i = 0; i < n; i++)
        ret[i] = linear(s, m, l, (enum model_projection)((int)first + i), x, w[i], b[i]);
}

bool layer_heads_fuse(const struct model_layer *l)
{
    return l->qkv && !l->q_bias == !l->qkv_bias && !l->q_norm && !layer_adapted(l, MODEL_Q, MODEL_V);
}

bool layer_gate_fuses(const struct model_layer *l)
{
    return l->gate_up && !l->gate_bias == !l->gate_up_bias && !layer_adapted(l, MODEL_GATE, MODEL_UP);
}

/* Queries, keys and values, ready to meet: [T, Hq, Dh] [T, Hkv, Dh] [T, Hkv, Dh]. */
struct heads {
    ct_tensor *q, *k, *v;
};

/* NULL where the layer's heads do not turn. */
static const struct rope_rows *rope_of(const struct model *m, int layer, const struct pass *p)
{
    uint8_t flags = m->config.layers[layer];
    if (!m->rope || flags & HF_LAYER_NO_ROPE)
        return NULL;
    return m->rope_local && flags & HF_LAYER_SLIDES ? &p->rope_local : &p->rope;
}

/* y [T, n·Dh] → [T, n, Dh]; norm, if any, over each head or over all. */
static ct_tensor *into_heads(ct_scope *s, const struct model *m, const struct model_layer *l,
                             enum model_projection which, ct_tensor *y)
{
    ct_tensor *const norms[3] = {l->q_norm, l->k_norm, NULL}, *norm = norms[which];
    int64_t n = which == MODEL_Q ? m->config.num_heads : m->config.num_kv_heads;
    int64_t shape[3] = {-1, n, m->config.head_dim};
    if (norm && m->family->qk_norm == HF_QK_FULL)
        y = layer_norm(s, m, y, norm, NULL);
    y = ct_view(s, y, shape, 3);
    if (norm && m->family->qk_norm == HF_QK_HEAD)
        y = layer_norm(s, m, y, norm, NULL);
    return y;
}

/* One product for all three, and one turn for queries and keys. */
static struct heads fused_heads(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                                const struct pass *p)
{
    const struct model_layer *l = &m->layers[layer];
    const struct rope_rows *r = rope_of(m, layer, p);
    int64_t hq = m->config.num_heads, hkv = m->config.num_kv_heads;
    int64_t split[3] = {p->t, hq + 2 * hkv, m->config.head_dim};
    ct_tensor *qkv = ct_view(s, ct_linear(s, x, l->qkv, l->qkv_bias), split, 3);
    ct_tensor *qk = ct_narrow(s, qkv, 1, 0, hq + hkv); /* [T, Hq+Hkv, Dh] */
    if (r)
        qk = ct_rotary(s, qk, r->cos, r->sin);
    return (struct heads){ct_narrow(s, qk, 1, 0, hq), ct_narrow(s, qk, 1, hq, hkv),
                          ct_narrow(s, qkv, 1, hq + hkv, hkv)};
}

static struct heads make_heads(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                               const struct pass *p)
{
    const struct model_layer *l = &m->layers[layer];
    const struct rope_rows *r = rope_of(m, layer, p);
    if (p->fused && layer_heads_fuse(l))
        return fused_heads(s, m, layer, x, p);
    ct_tensor *const w[3] = {l->q, l->k, l->v}, *const b[3] = {l->q_bias, l->k_bias, l->v_bias};
    ct_tensor *y[3] = {NULL}; /* [T, n·Dh] */
    linears(s, m, l, MODEL_Q, x, w, b, 3, y);
    struct heads h = {into_heads(s, m, l, MODEL_Q, y[0]), into_heads(s, m, l, MODEL_K, y[1]),
                      into_heads(s, m, l, MODEL_V, y[2])};
    if (r) {
        h.q = ct_rotary(s, h.q, r->cos, r->sin);
        h.k = ct_rotary(s, h.k, r->cos, r->sin);
    }
    return h;
}

static struct ct_attend how_of(const struct model *m, int layer)
{
    const struct hf_config *c = &m->config;
    double width = c->query_scalar != 0 ? c->query_scalar : (double)c->head_dim;
    struct ct_attend how = {c->unscaled_attention ? 1 : 1 / sqrt(width), c->attention_softcap, 0};
    if (c->layer_scaled_attention)
        how.scale /= layer + 1;
    if (c->layers[layer] & HF_LAYER_SLIDES)
        how.window = c->sliding_window;
    return how;
}

/* [T, D] → [T, D] */
static ct_tensor *attention(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                            const struct pass *p)
{
    const struct model_layer *l = &m->layers[layer];
    int64_t flat[2] = {p->t, m->config.num_heads * m->config.head_dim};
    if (l->attention_norm)
        x = layer_norm(s, m, x, l->attention_norm, l->attention_norm_bias);
    struct heads h = make_heads(s, m, layer, x, p);
    ct_tensor *a = p->attend(s, p, layer, h.q, h.k, h.v, how_of(m, layer)); /* [T, Hq, Dh] */
    a = linear(s, m, l, MODEL_O, ct_view(s, a, flat, 2), l->o, l->o_bias);  /* [T, D] */
    return l->post_attention_norm ? layer_norm(s, m, a, l->post_attention_norm, NULL) : a;
}

static ct_tensor *activate(ct_scope *s, const struct model *m, ct_tensor *x)
{
    if (m->config.activation == HF_SILU)
        return ct_silu(s, x);
    return ct_gelu(s, x, m->config.activation == HF_GELU_TANH);
}

/* act(gate) × up: [T, F] */
static ct_tensor *gated(ct_scope *s, const struct model *m, const struct model_layer *l,
                        ct_tensor *x, bool fused)
{
    int64_t f = m->config.intermediate_size;
    ct_tensor *gate, *up;
    if (fused && layer_gate_fuses(l)) {
        ct_tensor *both = ct_linear(s, x, l->gate_up, l->gate_up_bias); /* [T, 2F] */
        gate = ct_narrow(s, both, 1, 0, f);
        up = ct_narrow(s, both, 1, f, f);
    } else {
        ct_tensor *const w[2] = {l->gate, l->up}, *const b[2] = {l->gate_bias, l->up_bias};
        ct_tensor *y[2] = {NULL}; /* [T, F] */
        linears(s, m, l, MODEL_GATE, x, w, b, 2, y);
        gate = y[0];
        up = y[1];
    }
    if (m->config.activation == HF_SILU)
        return ct_swiglu(s, gate, up);
    return ct_mul(s, activate(s, m, gate), up);
}

/* [T, D] → [T, D] */
static ct_tensor *feed(ct_scope *s, const struct model *m, int layer, ct_tensor *x, bool fused)
{
    const struct model_layer *l = &m->layers[layer];
    if (l->mlp_norm)
        x = layer_norm(s, m, x, l->mlp_norm, l->mlp_norm_bias);
    ct_tensor *y = l->gate ? gated(s, m, l, x, fused)
                           : activate(s, m, linear(s, m, l, MODEL_UP, x, l->up, l->up_bias));
    y = linear(s, m, l, MODEL_DOWN, y, l->down, l->down_bias); /* [T, F] → [T, D] */
    return l->post_mlp_norm ? layer_norm(s, m, y, l->post_mlp_norm, NULL) : y;
}

ct_tensor *layer_run(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                     const struct pass *p)
{
    const struct rope_rows *rope = rope_of(m, layer, p);
    if (rope && ct_half_fuses(s, x) && layer_is_plain(m, layer))
        return layer_run_half(s, m, layer, x, rope, p, how_of(m, layer));
    ct_tensor *a = attention(s, m, layer, x, p);
    if (m->family->parallel && !m->config.sequential_residual)
        return ct_add(s, ct_add(s, feed(s, m, layer, x, p->fused), a), x);
    x = ct_add(s, x, a);
    return ct_add(s, x, feed(s, m, layer, x, p->fused));
}
