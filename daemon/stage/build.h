/* build.h: tasks from conversations, and results back to items. Builders own what they
 * build until build_free; a task is packed when it is added, so nothing lives longer.
 * Not for: choosing prompts or models (data.h, models.h), or what a result means. */
#ifndef CAI_STAGE_BUILD_H
#define CAI_STAGE_BUILD_H

#include "constitution/render.h"
#include "stage/extract.h"
#include "stage/models.h"
#include "stage/stage.h"

enum { STAGE_CHUNK = 64 }; /* items of a task; part of what a job's bits depend on */

struct builder {
    const struct stage_context *c;
    const char *phase;
    uint32_t chunk; /* of the next task to be added */
    bool whole;     /* one task whatever its size: a follow-up of one chunk */
    struct cai_arena arena;
    Cai__V1__Task task;
    Cai__V1__Generate generate;
    Cai__V1__Score score;
    Cai__V1__Reward reward;
    Cai__V1__GenerateItem **generate_items;
    Cai__V1__ScoreItem **score_items;
    Cai__V1__RewardItem **reward_items;
    size_t n, cap;
};

/* What the next items ask for; models and sampling are borrowed until build_free. */
void build_generate(struct builder *b, const struct stage_context *c, const char *phase,
                    uint32_t first_chunk, const struct model_ref *m, const struct job_sampling *s);
void build_score(struct builder *b, const struct stage_context *c, const char *phase,
                 uint32_t first_chunk, const struct model_ref *m);
void build_reward(struct builder *b, const struct stage_context *c, const char *phase,
                  uint32_t first_chunk, const struct model_ref *m, size_t n_models);

/* Samples k = first_k … first_k + n - 1 of one prompt. A builder that holds STAGE_CHUNK
 * items adds its task first, unless `whole`. */
int build_generate_turns(struct builder *b, uint64_t item, uint32_t first_k, uint32_t n,
                         const struct turn *turns, size_t n_turns);
int build_generate_rendered(struct builder *b, uint64_t item, uint32_t k,
                            const struct rendering *r);
int build_score_rendered(struct builder *b, uint64_t item, uint32_t k, const struct rendering *r);
/* The same draws for the same item whatever model, round and k: differences between models are then
 * not also those of chance. After build_generate; `name` is borrowed. */
void build_common_draws(struct builder *b, const char *name);
/* Any number of options after a prompt and the beginning of its reply ("": none). */
int build_score_turns(struct builder *b, uint64_t item, uint32_t k, const struct turn *turns,
                      size_t n_turns, const char *beginning, const char *const *options,
                      size_t n_options);
/* Two options after what was generated for `q`: its conversation, which is borrowed until the
 * task is added, and the model's turn as far as the options. */
int build_score_after(struct builder *b, const Cai__V1__GenerateItem *q, const char *turn,
                      const char *option_a, const char *option_b);
/* `turns` are a prompt; `reply` the judged text after it. */
int build_reward_reply(struct builder *b, uint64_t item, uint32_t k, const struct turn *turns,
                       size_t n_turns, const char *reply);
/* Stop string of the task under construction. */
void build_stop(struct builder *b, const char *stop);
/* Adds the task if it has items; the builder goes on with the next chunk. */
int build_flush(struct builder *b);
void build_free(struct builder *b);
static inline void cai_builder_auto(struct builder *b) { build_free(b); }

/* A gang's training run; adds it as chunk 0. `options` is borrowed. */
int build_train(const struct stage_context *c, const char *phase, const char *kind,
                const struct model_ref *init, const struct model_ref *reference,
                const struct model_ref *pm, size_t n_pm, Cai__V1__Dataset *dataset,
                const json_t *options);
/* The same with rows to be learned beside the dataset's (Train.mix); mix may be NULL. */
int build_train_mixed(const struct stage_context *c, const char *phase, const char *kind,
                      const struct model_ref *init, const struct model_ref *reference,
                      const struct model_ref *pm, size_t n_pm, Cai__V1__Dataset *dataset,
                      Cai__V1__Dataset *mix, const json_t *options);

/* A red model's, rewarded by the classifier of the target's replies (Train.target). */
int build_train_against(const struct stage_context *c, const char *phase, const char *kind,
                        const struct model_ref *init, const struct model_ref *target,
                        const struct model_ref *classifier, Cai__V1__Dataset *dataset,
                        const json_t *options);

/* Checks that the result answers every item of the task exactly once, in any order, with
 * valid text and finite numbers, and puts its entries in the task's order (k ascending).
 * CAI_EPROTO otherwise: then nothing of it may be absorbed. */
int result_order_generated(const Cai__V1__Task *task, const Cai__V1__Result *result,
                           struct cai_arena *a, const Cai__V1__Generated ***ret, size_t *ret_n);
int result_order_scored(const Cai__V1__Task *task, const Cai__V1__Result *result,
                        struct cai_arena *a, const Cai__V1__Scored ***ret, size_t *ret_n);
int result_order_rewarded(const Cai__V1__Task *task, const Cai__V1__Result *result,
                          struct cai_arena *a, const Cai__V1__Rewarded ***ret, size_t *ret_n);
/* How a text ended, as extract() asks. */
enum extract_finish result_finish(const Cai__V1__Generated *g);
/* Stores the final figures of a training run as metrics and registers its models as
 * `kind`, k = 0 …; CAI_EPROTO unless it made `outputs` models. */
int result_trained(const struct stage_context *c, const Cai__V1__Task *task,
                   const Cai__V1__Result *result, const char *kind, size_t outputs);

#endif
