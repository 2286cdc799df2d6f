/* memory.h: the bytes that models, their caches and their training take, by config.json
 * alone: what a job's plan is made of, and what the engine and the trainer go by. Not for:
 * what a machine has, which models a job needs. */
#ifndef CAI_HF_MEMORY_H
#define CAI_HF_MEMORY_H

#include "hf/hf.h"
#include <stddef.h>

enum {
    HF_SLOTS_MAX = 64,    /* sequences generated at a time */
    HF_FEED_TOKENS = 2048, /* of prompts that are read together */
    HF_CACHE_STEP = 32,   /* a cache's positions are a multiple of this */
    HF_PARAM_STEP = 128   /* a parameter's place is a multiple of so many elements */
};

/* A folder's weights as they lie in memory, fp32; those of an adapter with its base's. */
struct hf_footprint {
    int64_t all;     /* elements, with their padding */
    int64_t trained; /* of them, those that training moves: an adapter's own, else all */
    int64_t halved;  /* elements that have a copy when the model is computed in bfloat16 */
};
/* scalar: with a score head in place of the token head. *ret_config may be NULL. */
int hf_memory_footprint(const char *dir, bool scalar, struct hf_footprint *ret,
                        struct hf_config *ret_config);

/* Bytes of the keys and values of `slots` sequences of `positions`, and of one more slot for
 * what all prompts begin with. */
int64_t hf_memory_kv(const struct hf_config *c, int64_t slots, int64_t positions);
/* What sequences computed together are held within: 2 GiB. */
extern const int64_t hf_kv_max;
/* At most `wanted` slots, and as few as keep those bytes within hf_kv_max; one at least. */
int64_t hf_memory_slots(const struct hf_config *c, int64_t wanted, int64_t positions);

/* What a call without gradients takes for so many tokens: all that a layer's scope holds when it
 * closes. */
int64_t hf_memory_feed(const struct hf_config *c, int64_t tokens);

/* By which it is decided whether the graphs of a training micro-batch of so many tokens are kept:
 * a bound in bytes for all layers' graphs. More than hf_graphs_max: each layer's is made again
 * in backward, and only its input is kept. */
extern const int64_t hf_graphs_max;
int64_t hf_memory_graphs(const struct hf_config *c, int64_t tokens);

/* How a micro-batch is computed. */
struct hf_training {
    int64_t tokens;
    bool recompute; /* each layer once more in backward */
    bool half;      /* matrix products in bfloat16 */
    bool scalar;    /* a score head: no token of the vocabulary is predicted */
    int64_t normed; /* elements of the gradient that this process takes the norm of at a time */
};
/* "auto", "always" or "never" (models.recompute) for a micro-batch of so many tokens. */
bool hf_memory_recomputes(const struct hf_config *c, int64_t tokens, const char *how);
/* What a micro-batch takes at most beside weights, gradients and moments, when all rows' tokens
 * are learned: graphs or layers' inputs, matrices rounded for products, what the heaviest
 * moment of backward needs, and the copy that a norm is taken of. */
int64_t hf_memory_batch(const struct hf_config *c, const struct hf_training *how);

/* "1.2 GB", "35 MB", "12 kB"; at most 16 bytes with the end. */
void hf_memory_text(int64_t bytes, char *text, size_t size);
/* "64 × 4,096" */
void hf_memory_slots_text(int64_t slots, int64_t positions, char *text, size_t size);

#endif
