/* internal.h: what the task functions share; nobody outside this room includes it. */
#ifndef CAI_WORKER_INTERNAL_H
#define CAI_WORKER_INTERNAL_H

#include "worker/table.h"

#include "base/rng.h"
#include "hf/hf.h"
#include "learn/engine.h"
#include "model/model.h"

/* A loaded folder. Borrowed: valid until other models push it out, so a task fetches one,
 * uses it to the end, and only then fetches the next. */
struct worker_model {
    char hash[65];
    struct model *m;
    struct hf_tokenizer *t;
    struct hf_chat *chat;
    uint64_t used; /* counts fetches: least recently used goes first */
};

/* From the cache, or loaded after its hash was verified: CAI_ESTATE when the folder's
 * content is not what the task names. */
int worker_model_get(const Cai__V1__Model *which, struct worker_model **ret);

/* A conversation as the model reads it. */
struct worker_prompt {
    struct hf_ids ids;
    uint32_t tokens;  /* of the prompt; of the whole conversation when it is too long */
    uint32_t dropped; /* messages left out to make it fit */
    bool too_long;
};
/* With the opening of the reply and `prefix`; at most `limit` ids. */
int worker_prompt_fit(const struct worker_model *wm, const Cai__V1__Conversation *c,
                      const char *prefix, size_t limit, struct worker_prompt *ret);
void worker_prompt_free(struct worker_prompt *p);
/* Messages as hf takes them; texts are borrowed. The array is the caller's. */
struct hf_message *worker_messages(const Cai__V1__Conversation *c);

/* Reports at most every half second. As engine_progress, and as a stop function. */
struct worker_progress {
    const struct task_host *host;
    int64_t last_ms;
    uint64_t base, total; /* finished before the running call, of the task */
};
void worker_progress_say(void *progress, size_t done, size_t total);
bool worker_progress_stopping(void *progress);

/* Whether the task is computed in bfloat16. What it is not known by is refused before a task
 * begins (worker_run_task). */
bool worker_in_half(const Cai__V1__Task *task);

/* As many sequences as requests, up to 64, and up to a fixed amount of memory: a function
 * of the task and the model alone, since bits depend on how many run together. */
int worker_engine(const struct task_run *run, const struct worker_model *wm, size_t requests,
                  int64_t capacity, struct worker_progress *progress, struct engine **ret);

/* The task functions. They add to ret, which the table frees on failure. */
int worker_generate(const struct task_run *run, Cai__V1__Result *ret);
int worker_score(const struct task_run *run, Cai__V1__Result *ret);
int worker_reward(const struct task_run *run, Cai__V1__Result *ret);
int worker_train(const struct task_run *run, Cai__V1__Result *ret); /* train.c */

/* Scores of sequences under a scalar-head model, read at each one's last token; packs are
 * composed in order up to a fixed number of tokens. Empty sequences are left at 0. */
int worker_scalar_scores(const struct model *m, const struct hf_ids *ids, size_t n,
                         struct worker_progress *progress, double *ret);

#endif
