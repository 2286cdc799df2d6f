/* engine.c: the engine's memory, and reading prompts into it. Generation is in
 * engine_generate.c, options are scored in engine_score.c. */
#include "learn/engine_internal.h"

#include "base/check.h"
#include "base/error.h"

int64_t engine_bytes(const struct model *m, const struct engine_options *o)
{
    const struct hf_config *c = &m->config;
    int64_t position = 2 * c->num_layers * c->num_kv_heads * c->head_dim * (int64_t)sizeof(float);
    return position * ct_cache_positions(o->capacity) * (o->slots + 1);
}

int engine_new(const struct model *m, const struct hf_tokenizer *t, const struct engine_options *o,
               struct engine **ret)
{
    if (o->slots < 1 || o->capacity < 1)
        return cai_fail(CAI_EINPUT, "an engine needs at least one slot and one position");
    if (!m->lm_head)
        return cai_fail(CAI_EINPUT, "%s is a scalar-head model and cannot generate",
                        m->dir ? m->dir : "the model");
    struct engine *e = cai_alloc(sizeof(*e));
    e->m = m;
    e->t = t;
    e->o = *o;
    if (e->o.capacity > m->config.max_positions)
        e->o.capacity = m->config.max_positions;
    int rc = kv_cache_new(m, e->o.slots + 1, e->o.capacity, &e->cache);
    if (rc < 0) {
        free(e);
        return cai_fail_in("key-value cache of %d sequences × %lld positions (%lld MiB)", o->slots,
                           (long long)o->capacity, (long long)(engine_bytes(m, o) >> 20));
    }
    sampler_open(&e->sampler, m->config.vocab_size);
    *ret = e;
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    kv_cache_free(e->cache);
    sampler_close(&e->sampler);
    free(e);
}

void engine_on_stop(struct engine *e, bool (*stopping)(void *context), void *context)
{
    e->stopping = stopping;
    e->stop_context = context;
}

int engine_check_stop(const struct engine *e)
{
    if (e->stopping && e->stopping(e->stop_context))
        return cai_fail(CAI_ESTATE, "stopped before the end");
    return 0;
}

static int feed_some(struct engine *e, const struct feed *feeds, size_t first, size_t count,
                     bool every_row, feed_take take, void *context)
{
    CAI_AUTO(mem) const int32_t **ids = cai_alloc(count * sizeof(*ids));
    CAI_AUTO(mem) int64_t *numbers = cai_alloc(3 * count * sizeof(*numbers));
    int64_t *lengths = numbers, *slots = numbers + count, *past = numbers + 2 * count;
    for (size_t i = 0; i < count; i++) {
        const struct feed *f = &feeds[first + i];
        ids[i] = f->ids;
        lengths[i] = f->length;
        slots[i] = f->slot;
        past[i] = f->past;
    }
    ct_scope *s = ct_scope_open();
    ct_tensor *hidden =
        (every_row ? transformer_extend : transformer_prefill)(s, e->m, e->cache, ids, lengths,
                                                               slots, past, (int64_t)count);
    int rc = ct_scope_status(s);
    if (rc == 0 && take)
        rc = take(context, s, first, count, hidden);
    ct_scope_close(s);
    return rc;
}

int engine_feed(struct engine *e, const struct feed *feeds, size_t n, bool every_row,
                feed_take take, void *context)
{
    for (size_t first = 0; first < n;) {
        size_t count = 1;
        int64_t rows = feeds[first].length;
        while (first + count < n && rows + feeds[first + count].length <= ENGINE_FEED_TOKENS)
            rows += feeds[first + count++].length;
        CAI_TRY(engine_check_stop(e));
        CAI_TRY(feed_some(e, feeds, first, count, every_row, take, context));
        first += count;
    }
    return 0;
}

static size_t common(const int32_t *const *ids, const size_t *lengths, size_t n)
{
    size_t shared = lengths[0] - 1;
    for (size_t i = 1; i < n; i++) {
        if (lengths[i] - 1 < shared)
            shared = lengths[i] - 1;
        size_t j = 0;
        while (j < shared && ids[i][j] == ids[0][j])
            j++;
        shared = j;
    }
    return shared;
}

int engine_share(struct engine *e, const int32_t *const *ids, const size_t *lengths, size_t n,
                 int64_t *ret_shared)
{
    *ret_shared = 0;
    size_t shared = n < 2 ? 0 : common(ids, lengths, n);
    if (shared < ENGINE_SHARE_MIN)
        return 0;
    for (size_t at = 0; at < shared; at += ENGINE_CHUNK) {
        size_t left = shared - at;
        struct feed f = {ids[0] + at, (int64_t)(left < ENGINE_CHUNK ? left : ENGINE_CHUNK),
                         e->o.slots, (int64_t)at};
        CAI_TRY(engine_feed(e, &f, 1, false, NULL, NULL));
    }
    *ret_shared = (int64_t)shared;
    return 0;
}
