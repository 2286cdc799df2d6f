/* engine.h: the generation engine: continues conversations, scores options, scores
 * replies. One copy of the weights, deterministic for given requests: results do not
 * depend on the order of finishing, and nothing is kept between calls.
 * Not for: choosing prompts, parsing what comes back. */
#ifndef CAI_LEARN_ENGINE_H
#define CAI_LEARN_ENGINE_H

#include "base/rng.h"
#include "hf/hf.h"
#include "model/model.h"

struct sampling {
    double temperature; /* 0 = greedy */
    double top_p;       /* 1 = off */
    double min_p;       /* 0 = off */
    int top_k;          /* 0 = off */
    int max_tokens;
};

enum finish { FINISH_END, FINISH_STOP, FINISH_LENGTH, FINISH_TOO_LONG };

struct gen_request {
    const int32_t *ids; /* the prompt */
    size_t n_ids;
    struct cai_key key; /* draws of token t are at position t */
    const char *const *stop; /* stop strings; the text is cut before them */
    size_t n_stop;
    int max_tokens; /* 0 = as the sampling says; else at most this many */
};

struct gen_result {
    int32_t *ids; /* without the prompt; the end token included when it was produced */
    float *logprobs; /* of each id, under the sampling distribution's temperature, untruncated */
    size_t n;
    enum finish finish;
    char *text; /* decoded, without end token and stop string */
};

struct engine;
struct engine_options {
    int slots;      /* sequences in flight */
    int64_t capacity; /* positions per sequence */
    int32_t end_id; /* ends a turn */
    bool bfloat16;  /* matrices, and what meets them; sums and everything else stay fp32 */
};
/* Borrows the model and tokenizer; the model may be trained between calls. The tokenizer
 * may be NULL when neither text nor stop strings are wanted. Besides end_id, the
 * configuration's eos_token_id ends a turn. What does not fit into free memory is refused
 * with the plan in words (CAI_ELIMIT), before anything is taken. */
int engine_new(const struct model *m, const struct hf_tokenizer *t, const struct engine_options *o,
               struct engine **ret);
void engine_free(struct engine *e);
/* As many sequences as requests, at most 64, and as few as keep the keys and values within
 * 2 GiB, if more than one: a function of the model and the arguments alone, since bits depend
 * on how many run together. */
int engine_slots(const struct model *m, size_t requests, int64_t capacity);
/* Bytes of keys and values, and of everything that engine_new() will take besides. */
int64_t engine_cache_bytes(const struct model *m, const struct engine_options *o);
int64_t engine_bytes(const struct model *m, const struct engine_options *o);
/* "model 0.5 GB + KV 1.9 GB for 64 × 4,096 tokens". */
void engine_plan(const struct model *m, const struct engine_options *o, char *text, size_t size);

/* Asked once per step; when it says true, the running call returns CAI_ESTATE. */
void engine_on_stop(struct engine *e, bool (*stopping)(void *context), void *context);

/* Told each new id of a reply (but an end token) as it is drawn, in the order of drawing; for
 * one request at a time that is the order of the text. For showing it: nothing may depend on it. */
void engine_on_token(struct engine *e, void (*drawn)(void *context, int32_t id), void *context);

typedef void (*engine_progress)(void *context, size_t done, size_t total);
/* results[i] belongs to requests[i]; free each with gen_result_free. Requests that share
 * an equal prompt prefill it once; what all prompts begin with is read once, alone and in
 * fixed chunks. A prompt that leaves no room for max_tokens within the capacity gets
 * FINISH_TOO_LONG. The results are a function of the arguments: the same call gives the
 * same bits. On failure no result needs freeing. */
int engine_generate(struct engine *e, const struct gen_request *requests, size_t n,
                    const struct sampling *sampling, engine_progress progress, void *context,
                    struct gen_result *results);
void gen_result_free(struct gen_result *r);

/* Log-probability of each whole option string's ids after a shared prompt. */
struct score_request {
    const int32_t *ids;
    size_t n_ids;
    const struct hf_ids *options;
    size_t n_options;
};
/* logprobs[i][j] = Σ log p(option j's ids | prompt i); arrays are the caller's. */
int engine_score(struct engine *e, const struct score_request *requests, size_t n,
                 double *const *logprobs);

#endif
