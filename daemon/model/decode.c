/* decode.c: a step of decoding whose tokens, slots and positions are tensors: its shapes and
 * addresses are the same at every step, so that a device can record it once (learn's
 * engine_decode.c). The arithmetic is layer.c's, as everywhere. Not for: the CPU's caches,
 * which keep keys packed (cache.c). */
#include "model/internal.h"

#include "base/error.h"

struct fixed {
    struct kv_cache *cache;
    ct_tensor *slots, *positions; /* [B] I64 */
};

static ct_tensor *attend(ct_scope *s, const struct pass *p, int layer, ct_tensor *q, ct_tensor *k,
                         ct_tensor *v, struct ct_attend how)
{
    const struct fixed *f = p->context;
    ct_tensor *keys = f->cache->k[layer], *values = f->cache->v[layer];
    if (ct_scope_status(s) < 0)
        return NULL;
    int rc = ct_cache_write_at(keys, k, f->slots, f->positions);
    if (rc == 0)
        rc = ct_cache_write_at(values, v, f->slots, f->positions);
    if (rc < 0) {
        ct_scope_fail(s, rc, cai_error_text());
        return NULL;
    }
    return ct_attention_decode_at(s, q, keys, values, f->slots, f->positions, how);
}

static bool tables_reach(const struct rope *r, int64_t positions)
{
    return !r || rope_kept(r) >= positions;
}

bool transformer_decodes_at(const struct model *m, const struct kv_cache *c)
{
    return tables_reach(m->rope, c->capacity) && tables_reach(m->rope_local, c->capacity);
}

ct_tensor *transformer_decode_at(ct_scope *s, const struct model *m, struct kv_cache *c,
                                 ct_tensor *ids, ct_tensor *slots, ct_tensor *positions)
{
    struct fixed f = {c, slots, positions};
    struct pass pass = {.t = ct_size(ids, 0), .fused = true, .attend = attend, .context = &f};
    pass.rope = rope_rows_at(s, m->rope, positions);
    pass.rope_local = rope_rows_at(s, m->rope_local, positions);
    ct_scope *first = ct_scope_open();
    ct_tensor *x = NULL, *out = NULL; /* x: kept between layers, [B, D] */
    int rc = layer_close(s, first, layer_embed(first, m, ids, positions), &x);
    for (int i = 0; rc == 0 && i < c->layers; i++) {
        ct_scope *layer = ct_scope_open();
        rc = layer_close(s, layer, layer_run(layer, m, i, x, &pass), &x);
    }
    if (rc == 0)
        out = transformer_norm(s, m, x);
    ct_free(x);
    return out;
}
