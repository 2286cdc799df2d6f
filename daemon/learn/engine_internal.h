/* engine_internal.h: what the engine's files share; nobody else includes it. */
#ifndef CAI_LEARN_ENGINE_INTERNAL_H
#define CAI_LEARN_ENGINE_INTERNAL_H

#include "hf/memory.h"
#include "learn/engine.h"
#include "learn/engine_decode.h"
#include "learn/engine_sample.h"

enum {
    ENGINE_CHUNK = 256,       /* rows per call when the shared head is read */
    ENGINE_FEED_TOKENS = HF_FEED_TOKENS, /* rows per call when prompts are read together */
    ENGINE_SHARE_MIN = 32     /* a shorter common head is not worth a pass of its own */
};

struct engine {
    const struct model *m; /* as the forward passes see it */
    struct model_half *half; /* NULL in fp32 */
    const struct hf_tokenizer *t;
    struct engine_options o;
    struct kv_cache *cache; /* slots + 1: the last holds the shared head; on a GPU one more,
                             * for rows that fill up a step */
    struct decoder *decoder; /* on a GPU, where a step can be recorded; else NULL */
    struct sampler *samplers; /* [parts] */
    int parts;
    bool (*stopping)(void *context);
    void *stop_context;
    void (*drawn)(void *context, int32_t id);
    void *drawn_context;
};

/* New tokens of one sequence. */
struct feed {
    const int32_t *ids;
    int64_t length, slot, past;
};

/* Gets the hidden states of feeds first … first + count - 1: [count, D], or with every row
 * [Σ lengths, D]. Called inside a scope that is closed afterwards. */
typedef int (*feed_take)(void *context, ct_scope *s, size_t first, size_t count,
                         ct_tensor *hidden);

/* Runs feeds through the model in calls of at most ENGINE_FEED_TOKENS rows (one feed at
 * least), in order. */
int engine_feed(struct engine *e, const struct feed *feeds, size_t n, bool every_row,
                feed_take take, void *context);

/* Length of the beginning that all prompts share, 0 when it is not worth sharing; it is
 * read into the last slot. Every prompt keeps at least one token of its own. */
int engine_share(struct engine *e, const int32_t *const *ids, const size_t *lengths, size_t n,
                 int64_t *ret_shared);

/* At the beginning of a call: what the model is now. */
int engine_begin(struct engine *e);

/* CAI_ESTATE when the owner wants the running call to end. */
int engine_check_stop(const struct engine *e);

#endif
