/* cache.c: keys and values of what was read, and the forward pass that uses them. No
 * gradients. A sequence's numbers depend on its own slot alone: on the CPU neither what
 * another slot holds nor how many rows a call has changes a bit (the shim's products sum
 * every row in the same order; tests/unit/learn/engine.c holds batches against single
 * sequences). Not for: which sequences run together (learn's engine). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <string.h>

static int keep_part(ct_scope *s, ct_tensor *slab, int64_t i, int64_t slots, ct_tensor **ret)
{
    ct_tensor *t = ct_narrow(s, slab, 0, i * slots, slots);
    int rc = ct_scope_status(s);
    return rc == 0 ? ct_keep(t, ret) : rc;
}

/* One slab of all layers' keys and values [2L · slots, Hkv, capacity, Dh], of which each has a part:
 * on the CPU a large one is pages of their own, which nothing that comes later can divide. */
static int keep_slabs(struct kv_cache *c, enum ct_dtype dtype, const int64_t *shape)
{
    int64_t all[4] = {2 * c->layers * shape[0], shape[1], shape[2], shape[3]};
    ct_scope *s = ct_scope_open();
    ct_tensor *slab = ct_zeros(s, dtype, all, 4);
    int rc = ct_scope_status(s);
    for (int i = 0; rc == 0 && i < c->layers; i++) {
        rc = keep_part(s, slab, 2 * i, shape[0], &c->k[i]); /* [slots, Hkv, capacity, Dh] */
        if (rc == 0)
            rc = keep_part(s, slab, 2 * i + 1, shape[0], &c->v[i]);
    }
    ct_scope_close(s);
    return rc;
}

enum ct_dtype kv_cache_dtype(const struct model *m)
{
    return ct_device_now().cuda ? ct_dtype_of(m->layers[0].o) : CT_F32;
}

int kv_cache_new(const struct model *m, int64_t slots, int64_t capacity, struct kv_cache **ret)
{
    return kv_cache_new_of(m, kv_cache_dtype(m), slots, capacity, ret);
}

int kv_cache_new_of(const struct model *m, enum ct_dtype dtype, int64_t slots, int64_t capacity,
                    struct kv_cache **ret)
{
    CAI_CHECK(slots > 0 && capacity > 0);
    struct kv_cache *c = cai_alloc(sizeof(*c));
    int64_t shape[4] = {slots, m->config.num_kv_heads, ct_cache_positions(capacity),
                        m->config.head_dim};
    c->slots = slots;
    c->capacity = capacity;
    c->layers = (int)m->config.num_layers;
    c->k = cai_alloc((size_t)c->layers * sizeof(*c->k));
    c->v = cai_alloc((size_t)c->layers * sizeof(*c->v));
    int rc = keep_slabs(c, dtype, shape);
    if (rc < 0) {
        kv_cache_free(c);
        return rc;
    }
    if (rope_varies(m->rope)) {
        c->ids = cai_alloc((size_t)(slots * capacity) * sizeof(*c->ids));
        c->turned = cai_alloc((size_t)slots * sizeof(*c->turned));
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
    free(c->ids);
    free(c->turned);
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
    if (c->ids) {
        memcpy(c->ids + to * c->capacity, c->ids + from * c->capacity,
               (size_t)length * sizeof(*c->ids));
        c->turned[to] = c->turned[from];
    }
    return 0;
}

/* New rows of one cached call: T rows of n sequences. */
struct step {
    struct kv_cache *cache;
    int64_t t, n;
    const int64_t *slots, *past; /* per sequence; past = lengths before the rows */
    const int64_t *starts;       /* [n + 1]; NULL when every sequence has one row */
    int64_t *row_slots, *row_positions, *row_ids, *ends; /* [T]; ends = positions + 1 */
    int64_t *lengths; /* [T]: of the row's sequence, as rotations see it */
};

/* Writes the new keys and values, then looks at all that the slot holds. */
static ct_tensor *attend_cached(ct_scope *s, const struct pass *p, int layer, ct_tensor *q,
                                ct_tensor *k, ct_tensor *v, struct ct_attend how)
{
    const struct step *st = p->context;
    struct kv_cache *c = st->cache;
    if (ct_scope_status(s) < 0)
        return NULL;
    int rc = ct_cache_write_keys(c->k[layer], k, st->row_slots, st->row_positions, st->t);
    if (rc == 0)
        rc = ct_cache_write_values(c->v[layer], v, st->row_slots, st->row_positions, st->t);
    if (rc < 0) {
        ct_scope_fail(s, rc, cai_error_text());
        return NULL;
    }
    return st->starts ? ct_attention_prefill(s, q, c->k[layer], c->v[layer], st->slots, st->past,
                                             st->starts, st->n, how)
                      : ct_attention_decode(s, q, c->k[layer], c->v[layer], st->slots, st->ends,
                                            st->n, how);
}

/* Hidden states before the final norm, [T, D]; *ret is a kept handle. */
static int run(ct_scope *s, const struct model *m, const struct step *st, ct_tensor **ret)
{
    ct_scope *first = ct_scope_open();
    ct_tensor *ids = ct_from_i64(first, st->row_ids, st->t);      /* [T] */
    ct_tensor *at = ct_from_i64(first, st->row_positions, st->t); /* [T] */
    struct pass pass = {.t = st->t, .fused = true, .attend = attend_cached, .context = st};
    pass.rope = rope_rows(s, m->rope, st->row_positions, st->lengths, st->t);
    pass.rope_local = rope_rows(s, m->rope_local, st->row_positions, st->lengths, st->t);
    ct_tensor *x = NULL;
    int rc = layer_close(s, first, layer_embed(first, m, ids, at), &x);
    for (int i = 0; rc == 0 && i < st->cache->layers; i++) {
        ct_scope *layer = ct_scope_open();
        rc = layer_close(s, layer, layer_run(layer, m, i, x, &pass), &x);
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
    free(st->lengths);
}

static void step_alloc(struct step *st)
{
    size_t t = (size_t)st->t;
    st->row_slots = cai_realloc(NULL, t, sizeof(int64_t));
    st->row_positions = cai_realloc(NULL, t, sizeof(int64_t));
    st->row_ids = cai_realloc(NULL, t, sizeof(int64_t));
    st->ends = cai_realloc(NULL, t, sizeof(int64_t));
    st->lengths = cai_realloc(NULL, t, sizeof(int64_t));
}

/* length: of the whole sequence, by which its rotations go. */
static int step_row(struct step *st, const struct model *m, int64_t row, int32_t id, int64_t slot,
                    int64_t position, int64_t length)
{
    struct kv_cache *c = st->cache;
    CAI_TRY(check_row(m, c, id, slot, position));
    st->row_ids[row] = id;
    st->row_slots[row] = slot;
    st->row_positions[row] = position;
    st->ends[row] = position + 1;
    st->lengths[row] = length;
    if (c->ids)
        c->ids[slot * c->capacity + position] = id;
    return 0;
}

/* Rows of n sequences through all layers; hidden states before the final norm, kept.
 * turned_as: the length their rotations go by, or 0 for their own. */
static int feed_rows(ct_scope *s, const struct model *m, struct kv_cache *c,
                     const int32_t *const *ids, const int64_t *lengths, const int64_t *slots,
                     const int64_t *past, int64_t n, int64_t turned_as, ct_tensor **ret)
{
    CAI_AUTO(mem) int64_t *starts = cai_alloc((size_t)(n + 1) * sizeof(*starts));
    for (int64_t i = 0; i < n; i++) {
        CAI_CHECK(lengths[i] > 0);
        starts[i + 1] = starts[i] + lengths[i];
    }
    struct step st = {.cache = c, .t = starts[n], .n = n, .slots = slots, .past = past,
                      .starts = starts};
    step_alloc(&st);
    int rc = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; rc == 0 && j < lengths[i]; j++)
            rc = step_row(&st, m, starts[i] + j, ids[i][j], slots[i], past[i] + j,
                          turned_as ? turned_as : past[i] + lengths[i]);
    if (rc == 0)
        rc = run(s, m, &st, ret);
    step_free(&st);
    return rc;
}

/* A slot whose sequence grows to `length` is read again if that turns its keys otherwise. */
static int turn_again(const struct model *m, struct kv_cache *c, int64_t slot, int64_t past,
                      int64_t length)
{
    if (!c->ids || slot < 0 || slot >= c->slots || past >= c->capacity)
        return 0; /* refused later, by name */
    int64_t class = rope_class(m->rope, length), zero = 0;
    bool again = past > 0 && c->turned[slot] != class;
    c->turned[slot] = class;
    if (!again)
        return 0;
    CAI_AUTO(mem) int32_t *ids = cai_realloc(NULL, (size_t)past, sizeof(*ids));
    memcpy(ids, c->ids + slot * c->capacity, (size_t)past * sizeof(*ids));
    const int32_t *const list[1] = {ids};
    ct_scope *s = ct_scope_open();
    ct_tensor *x = NULL;
    int rc = feed_rows(s, m, c, list, &past, &slot, &zero, 1, length, &x);
    ct_free(x);
    ct_scope_close(s);
    return rc;
}

/* Rows of n sequences through all layers. last: keep each sequence's last row only. */
static ct_tensor *extend(ct_scope *s, const struct model *m, struct kv_cache *c,
                         const int32_t *const *ids, const int64_t *lengths, const int64_t *slots,
                         const int64_t *past, int64_t n, bool last)
{
    CAI_AUTO(mem) int64_t *last_rows = cai_alloc((size_t)(n + 1) * sizeof(*last_rows));
    ct_tensor *x = NULL, *out = NULL;
    int rc = 0;
    for (int64_t i = 0, row = 0; i < n; i++) {
        row += lengths[i];
        last_rows[i] = row - 1;
        if (rc == 0)
            rc = turn_again(m, c, slots[i], past[i], past[i] + lengths[i]);
    }
    if (rc == 0)
        rc = feed_rows(s, m, c, ids, lengths, slots, past, n, 0, &x);
    if (rc < 0)
        ct_scope_fail(s, rc, cai_error_text());
    else if (last)
        out = transformer_norm(s, m, ct_index_select(s, x, 0, ct_from_i64(s, last_rows, n)));
    else
        out = transformer_norm(s, m, x);
    ct_free(x);
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
    struct step st = {.cache = c, .t = b, .n = b, .slots = slots, .past = positions};
    step_alloc(&st);
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < b; i++) {
        rc = turn_again(m, c, slots[i], positions[i], positions[i] + 1);
        if (rc == 0)
            rc = step_row(&st, m, i, ids[i], slots[i], positions[i], positions[i] + 1);
    }
    ct_tensor *x = NULL, *out = NULL;
    if (rc == 0)
        rc = run(s, m, &st, &x);
    if (rc < 0)
        ct_scope_fail(s, rc, cai_error_text());
    else
        out = transformer_norm(s, m, x); /* [B, D] */
    ct_free(x);
    step_free(&st);
    return out;
}
