/* cost_held.c: the memory that a full task takes, from a smaller one that was measured. What was
 * resident there counts with all that no plan knows (libraries, the C library's heap); what is
 * larger in a full task is planned by config.json, as the admission of jobs is. Not for: phases
 * that were not measured (run/estimate.c). */
#include "stage/cost_build.h"

#include "hf/memory.h"
#include "stage/build.h"
#include "stage/memory.h"
#include <string.h>

enum { PACKED = 4096 }; /* tokens of a call that scores replies: worker/reward.c */

static double most(double a, double b) {
    return a > b ? a : b;
}

static double steps_of(double positions) {
    return cost_ceil(positions, HF_CACHE_STEP);
}

static int64_t measured(const struct build *b, const struct cost_seen *s) {
    int64_t here = b->after ? s->memory_after : s->memory,
            there = b->after ? s->memory : s->memory_after;
    return here ? here : there;
}

/* By how much a cache of so many slots and positions is larger than the one that was seen. Its
 * bytes are a product of both; one more slot holds what all prompts begin with. */
static double more_cache(const struct cost_held *h, double slots, double positions) {
    double full;
    slots = cost_least(most(slots, h->slots), HF_SLOTS_MAX);
    if (h->cache <= 0 || h->slots <= 0 || h->positions <= 0)
        return 0;
    full = h->cache * (slots + 1) / (h->slots + 1) * steps_of(most(positions, h->positions)) /
           steps_of(h->positions);
    return cost_least(full, most(h->cache, (double)hf_kv_max)) - h->cache;
}

/* And a call of so many times the tokens, as far as calls go. */
static double more_rows(const struct build *b, const struct cost_held *h, double times) {
    double limit = h->cache > 0 ? HF_FEED_TOKENS : PACKED;
    double rows = most(h->rows, cost_least(limit, h->rows * times));
    if (b->config.hidden_size <= 0)
        return 0;
    return (double)(hf_memory_feed(&b->config, (int64_t)rows) -
                    hf_memory_feed(&b->config, (int64_t)h->rows));
}

int64_t cost_held_items(const struct build *b, const struct cost_seen *s,
                        const struct asked *q) {
    const struct cost_held *h = &s->held;
    int64_t seen = measured(b, s);
    double items = cost_least(q->items, STAGE_CHUNK);
    double times = h->items > 0 && items > h->items ? items / h->items : 1;
    double longer = q->full ? (double)(q->full->max_tokens - q->rehearsed->max_tokens) : 0;
    double logits = (cost_least(h->slots * times, HF_SLOTS_MAX) - h->slots) *
                    (double)b->config.vocab_size * (double)sizeof(float);
    if (seen == 0)
        return 0;
    return seen + (int64_t)(more_cache(h, h->slots * times, h->positions + most(longer, 0)) +
                            more_rows(b, h, times) + most(logits, 0));
}

/* The name of the phase in the plan of memory. */
static const char *planned_as(const struct cost_seen *s) {
    if (strcmp(s->phase, "classifier") == 0)
        return s->phase;
    return strcmp(s->stage, "red_team") == 0 ? "red team" : s->stage;
}

/* The largest of the equal micro-batches that so many tokens are split into. */
static double micro_of(const struct build *b, double tokens) {
    double n = cost_ceil(tokens, (double)b->job->models.micro_batch_tokens);
    return n > 0 ? tokens / n : 0;
}

int64_t cost_held_training(const struct build *b, const struct cost_seen *s,
                           const struct trained *q) {
    const struct cost_held *h = &s->held;
    int64_t seen = measured(b, s);
    double bigger = q->seen_per_step > 0 ? most(q->per_step / q->seen_per_step, 1) : 1;
    double longer = q->full ? (double)(q->full->max_tokens - q->rehearsed->max_tokens) : 0;
    double rows = s->rows > 0 && q->rows > s->rows ? q->rows / s->rows - 1 : 0;
    double micro = most(h->micro, micro_of(b, h->micro * bigger / b->ranks)), more = 0;
    if (seen == 0)
        return 0;
    if (micro > h->micro && h->micro > 0)
        more = (double)(memory_micro(b->job, planned_as(s), (int64_t)micro) -
                        memory_micro(b->job, planned_as(s), (int64_t)h->micro));
    /* Of rollouts a quarter is sampled at a time, at most as many as a cache has. */
    double cache = more_cache(h, h->slots * bigger, h->positions + most(longer, 0));
    return seen + (int64_t)(more + cache + h->data * rows);
}
