/* cache.c: keys and values of what was read, and the forward pass that uses them. No
 * gradients. A sequence's numbers depend on its own slot alone, so whatever another slot
 * holds changes no bit; the number of rows in a call may, since matrix kernels choose
 * their blocking by it. Not for: which sequences run together (learn's engine). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <math.h>

static int keep_slab(const int64_t *shape, ct_tensor **ret)
{
    ct_scope *s = ct_scope_open();
    ct_tensor *t = ct_zeros(s, CT_F32, shape, 4);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(t, ret);
    ct_scope_close(s);
    return rc;
}

int kv_cache_new(const struct model *m, int64_t slots, int64_t capacity, struct kv_cache **ret)
{
    CAI_CHECK(slots > 0 && capacity > 0);
    struct kv_cache *c = cai_alloc(sizeof(*c));
    int64_t shape[4] = {slots, m->config.num_kv_heads, capacity, m->config.head_dim};
    c->slots = slots;
    c->capacity = capacity;
    c->layers = (int)m->config.num_layers;
    c->k = cai_alloc((size_t)c->layers * sizeof(*c->k));
    c->v = cai_alloc((size_t)c->layers * sizeof(*c->v));
    int rc = 0;
    for (int i = 0; rc == 0 && i < c->layers; i++) {
        rc = keep_slab(shape, &c->k[i]); /* [slots, Hkv, capacity, Dh] */
        if (rc == 0)
            rc = keep_slab(shape, &c->v[i]);
    }
    if (rc < 0) {
        kv_cache_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void kv_cache_free(struct kv_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->layers; i++) {
        ct_free(c->k[i]);
        ct_free(c->v[i]);
    }
    free(c->k);
    free(c->v);
    free(c);
}

int kv_cache_copy(struct kv_cache *c, int64_t from, int64_t to, int64_t length)
{
    CAI_CHECK(from >= 0 && from < c->slots && to >= 0 && to < c->slots && length <= c->capacity);
    if (from == to || length == 0)
        return 0;
    for (int i = 0; i < c->layers; i++) {
        CAI_TRY(ct_cache_copy(c->k[i], from, to, length));
        CAI_TRY(ct_cache_copy(c->v[i], from, to, length));
    }
    return 0;
}

/* New rows of one cached call: T rows of n sequences. */
struct step {
    int64_t t, n;
    const int64_t *slots, *past; /* per sequence; past = lengths before the rows */
    const int64_t *starts;       /* [n + 1]; NULL when every sequence has one row */
    int64_t *row_slots, *row_positions, *row_ids, *ends; /* [T]; ends = positions + 1 */
    ct_tensor *cos, *sin;        /* [T, Dh] */
};

static ct_tensor *fused_or_cat(ct_scope *s, ct_tensor *fused, ct_tensor *const *parts, int n)
{
    return fused ? fused : ct_cat(s, parts, n, 0);
}

static ct_tensor *attend(ct_scope *s, const struct model *m, struct kv_cache *c, int layer,
                         ct_tensor *h, const struct step *st)
{
    const struct hf_config *f = &m->config;
    const struct model_layer *l = &m->layers[layer];
    int64_t hq = f->num_heads, hkv = f->num_kv_heads;
    int64_t split[3] = {st->t, hq + 2 * hkv, f->head_dim}, flat[2] = {st->t, hq * f->head_dim};
    struct ct_attend how = {1.0 / sqrt((double)f->head_dim), 0, 0};
    ct_tensor *const weights[3] = {l->q, l->k, l->v};
    ct_tensor *const biases[3] = {l->q_bias, l->k_bias, l->v_bias};
    ct_tensor *w = fused_or_cat(s, l->qkv, weights, 3);
    ct_tensor *b = l->q_bias ? fused_or_cat(s, l->qkv_bias, biases, 3) : NULL;

    ct_tensor *qkv = ct_view(s, ct_linear(s, h, w, b), split, 3);   /* [T, Hq+2·Hkv, Dh] */
    ct_tensor *qk = ct_rotary(s, ct_narrow(s, qkv, 1, 0, hq + hkv), st->cos, st->sin);
    ct_tensor *q = ct_narrow(s, qk, 1, 0, hq);                      /* [T, Hq, Dh] */
    ct_tensor *k = ct_narrow(s, qk, 1, hq, hkv);                    /* [T, Hkv, Dh] */
    ct_tensor *v = ct_narrow(s, qkv, 1, hq + hkv, hkv);             /* [T, Hkv, Dh] */
    if (ct_scope_status(s) < 0)
        return NULL;
    int rc = ct_cache_write(c->k[layer], k, st->row_slots, st->row_positions, st->t);
    if (rc == 0)
        rc = ct_cache_write(c->v[layer], v, st->row_slots, st->row_positions, st->t);
    if (rc < 0) {
        ct_scope_fail(s, rc, cai_error_text());
        return NULL;
    }
    ct_tensor *a = /* [T, Hq, Dh] */
        st->starts ? ct_attention_prefill(s, q, c->k[layer], c->v[layer], st->slots, st->past,
                                          st->starts, st->n, how)
                   : ct_attention_decode(s, q, c->k[layer], c->v[layer], st->slots, st->ends,
                                         st->n, how);
    return ct_linear(s, ct_view(s, a, flat, 2), l->o, l->o_bias); /* [T, D] */
}

static ct_tensor *feed(ct_scope *s, const struct model *m, int layer, ct_tensor *h)
{
    const struct model_layer *l = &m->layers[layer];
    int64_t f = m->config.intermediate_size;
    ct_tensor *gate, *up; /* [T, F] */
    if (l->gate_up && (!l->gate_bias || l->gate_up_bias)) {
        ct_tensor *both = ct_linear(s, h, l->gate_up, l->gate_up_bias); /* [T, 2F] */
        gate = ct_narrow(s, both, 1, 0, f);
        up = ct_narrow(s, both, 1, f, f);
    } else {
        gate = ct_linear(s, h, l->gate, l->gate_bias);
        up = ct_linear(s, h, l->up, l->up_bias);
    }
    return ct_linear(s, ct_swiglu(s, gate, up), l->down, l->down_bias); /* [T, D] */
}

static ct_tensor *cached_layer(ct_scope *s, const struct model *m, struct kv_cache *c, int layer,
                               ct_tensor *x, const struct step *st)
{
    const struct model_layer *l = &m->layers[layer];
    double eps = m->config.rms_norm_eps;
    x = ct_add(s, x, attend(s, m, c, layer, ct_rms_norm(s, x, l->attention_norm, eps), st));
    return ct_add(s, x, feed(s, m, layer, ct_rms_norm(s, x, l->mlp_norm, eps)));
}

/* Hidden states before the final norm, [T, D]; *ret is a kept handle. */
static int run(ct_scope *s, const struct model *m, struct kv_cache *c, struct step *st,
               ct_tensor **ret)
{
    ct_scope *first = ct_scope_open();
    ct_tensor *ids = ct_from_i64(first, st->row_ids, st->t);      /* [T] */
    ct_tensor *at = ct_from_i64(s, st->row_positions, st->t);     /* [T] */
    st->cos = ct_index_select(s, m->rope_cos, 0, at);             /* [T, Dh] */
    st->sin = ct_index_select(s, m->rope_sin, 0, at);             /* [T, Dh] */
    ct_tensor *x = NULL;
    int rc = layer_close(s, first, ct_embedding(first, m->embedding, ids), &x);
    for (int i = 0; rc == 0 && i < c->layers; i++) {
        ct_scope *layer = ct_scope_open();
        rc = layer_close(s, layer, cached_layer(layer, m, c, i, x, st), &x);
    }
    *ret = x;
    return rc;
}

static int check_row(const struct model *m, const struct kv_cache *c, int32_t id, int64_t slot,
                     int64_t position)
{
    if (slot < 0 || slot >= c->slots)
        return cai_fail(CAI_EINPUT, "slot %lld of %lld", (long long)slot, (long long)c->slots);
    if (position < 0 || position >= c->capacity || position >= m->config.max_positions)
        return cai_fail(CAI_ELIMIT, "position %lld: the cache holds %lld and the model takes %lld",
                        (long long)position, (long long)c->capacity,
                        (long long)m->config.max_positions);
    if (id < 0 || id >= m->config.vocab_size)
        return cai_fail(CAI_EINPUT, "token id %ld is outside the vocabulary of %lld", (long)id,
                        (long long)m->config.vocab_size);
    return 0;
}

static void step_free(struct step *st)
{
    free(st->row_slots);
    free(st->row_positions);
    free(st->row_ids);
    free(st->ends);
}

static void step_alloc(struct step *st)
{
    size_t t = (size_t)st->t;
    st->row_slots = cai_realloc(NULL, t, sizeof(int64_t));
    st->row_positions = cai_realloc(NULL, t, sizeof(int64_t));
    st->row_ids = cai_realloc(NULL, t, sizeof(int64_t));
    st->ends = cai_realloc(NULL, t, sizeof(int64_t));
}

static int step_row(struct step *st, const struct model *m, const struct kv_cache *c, int64_t row,
                    int32_t id, int64_t slot, int64_t position)
{
    CAI_TRY(check_row(m, c, id, slot, position));
    st->row_ids[row] = id;
    st->row_slots[row] = slot;
    st->row_positions[row] = position;
    st->ends[row] = position + 1;
    return 0;
}

/* Rows of n sequences through all layers. last: keep each sequence's last row only. */
static ct_tensor *extend(ct_scope *s, const struct model *m, struct kv_cache *c,
                         const int32_t *const *ids, const int64_t *lengths, const int64_t *slots,
                         const int64_t *past, int64_t n, bool last)
{
    CAI_AUTO(mem) int64_t *starts = cai_alloc((size_t)(n + 1) * sizeof(*starts));
    CAI_AUTO(mem) int64_t *last_rows = cai_alloc((size_t)(n + 1) * sizeof(*last_rows));
    for (int64_t i = 0; i < n; i++) {
        CAI_CHECK(lengths[i] > 0);
        starts[i + 1] = starts[i] + lengths[i];
        last_rows[i] = starts[i + 1] - 1;
    }
    struct step st = {.t = starts[n], .n = n, .slots = slots, .past = past, .starts = starts};
    step_alloc(&st);
    int rc = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; rc == 0 && j < lengths[i]; j++)
            rc = step_row(&st, m, c, starts[i] + j, ids[i][j], slots[i], past[i] + j);
    ct_tensor *x = NULL, *out = NULL;
    if (rc < 0)
        ct_scope_fail(s, rc, cai_error_text());
    else
        rc = run(s, m, c, &st, &x);
    if (rc == 0 && last)
        out = transformer_norm(s, m, ct_index_select(s, x, 0, ct_from_i64(s, last_rows, n)));
    else if (rc == 0)
        out = transformer_norm(s, m, x);
    ct_free(x);
    step_free(&st);
    return out;
}

ct_tensor *transformer_prefill(ct_scope *s, const struct model *m, struct kv_cache *c,
                               const int32_t *const *ids, const int64_t *lengths,
                               const int64_t *slots, const int64_t *past, int64_t n)
{
    return extend(s, m, c, ids, lengths, slots, past, n, true);
}

ct_tensor *transformer_extend(ct_scope *s, const struct model *m, struct kv_cache *c,
                              const int32_t *const *ids, const int64_t *lengths,
                              const int64_t *slots, const int64_t *past, int64_t n)
{
    return extend(s, m, c, ids, lengths, slots, past, n, false);
}

ct_tensor *transformer_decode(ct_scope *s, const struct model *m, struct kv_cache *c,
                              const int32_t *ids, const int64_t *slots, const int64_t *positions,
                              int64_t b)
{
    struct step st = {.t = b, .n = b, .slots = slots, .past = positions};
    step_alloc(&st);
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < b; i++)
        rc = step_row(&st, m, c, i, ids[i], slots[i], positions[i]);
    ct_tensor *x = NULL, *out = NULL;
    if (rc < 0)
        ct_scope_fail(s, rc, cai_error_text());
    else
        rc = run(s, m, c, &st, &x);
    if (rc == 0)
        out = transformer_norm(s, m, x); /* [B, D] */
    ct_free(x);
    step_free(&st);
    return out;
}
