/* engine.c: the engine's memory, and reading prompts into it. Generation is in
 * engine_generate.c, options are scored in engine_score.c. */
#include "learn/engine_internal.h"

#include "base/check.h"
#include "base/error.h"
#include "hf/memory.h"
#include "learn/held.h"
#include <stdio.h>

/* One more slot than asked for holds what all prompts begin with; on a GPU, a second one
 * takes the rows that fill up a step. */
static int64_t slots_of(const struct engine_options *o)
{
    return o->slots + 1 + ct_device_now().cuda;
}

int64_t engine_cache_bytes(const struct model *m, const struct engine_options *o)
{
    int64_t bytes = hf_memory_kv(&m->config, slots_of(o) - 1, o->capacity); /* fp32 */
    return o->bfloat16 && ct_device_now().cuda ? bytes / 2 : bytes;
}

int engine_slots(const struct model *m, size_t requests, int64_t capacity)
{
    int64_t wanted = requests < HF_SLOTS_MAX ? (int64_t)requests : HF_SLOTS_MAX;
    return (int)hf_memory_slots(&m->config, wanted, capacity);
}

int64_t engine_bytes(const struct model *m, const struct engine_options *o)
{
    return engine_cache_bytes(m, o) + (o->bfloat16 ? model_half_bytes(m) : 0);
}

void engine_plan(const struct model *m, const struct engine_options *o, char *text, size_t size)
{
    char model[16], kv[16], many[48];
    int64_t weights = (m->n + (m->base ? m->base->n : 0)) * (int64_t)sizeof(float);
    if (o->bfloat16)
        weights += model_half_bytes(m);
    hf_memory_text(weights, model, sizeof(model));
    hf_memory_text(engine_cache_bytes(m, o), kv, sizeof(kv));
    hf_memory_slots_text(o->slots, o->capacity, many, sizeof(many));
    snprintf(text, size, "model %s + KV %s for %s tokens", model, kv, many);
}

/* Bytes that can still be taken: what the device has free, and what this process holds of
 * it without using it. -1 where that is not known. */
static int64_t device_memory_left(void)
{
    struct ct_memory now;
    return ct_device_memory(&now) < 0 ? -1 : now.free + now.reserved - now.allocated;
}

static int64_t host_memory_left(void)
{
    long long kilobytes = -1;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && kilobytes < 0 && fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %lld kB", &kilobytes) != 1)
            kilobytes = -1;
    if (f)
        fclose(f);
    return kilobytes < 0 ? -1 : kilobytes * 1024;
}

static int check_plan(const struct model *m, const struct engine_options *o)
{
    char plan[128];
    int64_t left = ct_device_now().cuda ? device_memory_left() : host_memory_left(), need = engine_bytes(m, o);
    if (left < 0 || need <= left)
        return 0;
    engine_plan(m, o, plan, sizeof(plan));
    return cai_fail(CAI_ELIMIT,
                    "%s: %.1f GB more are needed and %.1f GB are free; take fewer sequences at a "
                    "time, or shorter ones",
                    plan, (double)need / 1e9, (double)left / 1e9);
}

static int open_decoder(struct engine *e)
{
    struct decoder_options o = {.rows = e->o.slots, .spare = e->o.slots + 1, .record = true};
    if (!ct_device_now().cuda || !transformer_decodes_at(e->m, e->cache))
        return 0;
    return decoder_new(e->m, e->cache, &o, &e->decoder);
}

static int open_parts(struct engine *e, const struct model *m)
{
    if (e->o.bfloat16) {
        CAI_TRY(model_half_new(m, &e->half));
        e->m = model_half_seen(e->half);
    }
    CAI_TRY(kv_cache_new(e->m, slots_of(&e->o), e->o.capacity, &e->cache));
    held_cache(engine_cache_bytes(m, &e->o), e->o.slots, e->o.capacity);
    CAI_TRY(open_decoder(e));
    e->parts = ct_threads();
    e->samplers = cai_alloc((size_t)e->parts * sizeof(*e->samplers));
    for (int i = 0; i < e->parts; i++)
        sampler_open(&e->samplers[i], m->config.vocab_size);
    return 0;
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
    int rc = check_plan(m, &e->o);
    if (rc == 0)
        rc = open_parts(e, m);
    if (rc < 0) {
        engine_free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

int engine_begin(struct engine *e)
{
    return e->half ? model_half_refresh(e->half) : 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    decoder_free(e->decoder);
    if (e->cache)
        held_cache(-engine_cache_bytes(e->m, &e->o), e->o.slots, e->o.capacity);
    kv_cache_free(e->cache);
    model_half_free(e->half);
    for (int i = 0; i < e->parts; i++)
        sampler_close(&e->samplers[i]);
    free(e->samplers);
    free(e);
}

void engine_on_stop(struct engine *e, bool (*stopping)(void *context), void *context)
{
    e->stopping = stopping;
    e->stop_context = context;
}

void engine_on_token(struct engine *e, void (*drawn)(void *context, int32_t id), void *context)
{
    e->drawn = drawn;
    e->drawn_context = context;
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
    int64_t *lengths = numbers, *slots = numbers + count, *past = numbers + 2 * count, rows = 0;
    for (size_t i = 0; i < count; i++) {
        const struct feed *f = &feeds[first + i];
        ids[i] = f->ids;
        lengths[i] = f->length;
        rows += f->length;
        slots[i] = f->slot;
        past[i] = f->past;
    }
    held_rows(rows);
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
