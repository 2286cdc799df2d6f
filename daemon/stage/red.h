/* red.h: red teaming inside (Perez et al. 2022, §3). A method is one row of the table in
 * red_method.c: the sub-steps that it takes one after another. A sub-step adds tasks, whose
 * results are absorbed by their phase, and the next begins when none of them is open.
 *
 *   zero_shot   write → reply → cover
 *   few_shot    [explore] → write, with exemplars ∝ exp(p_harm / T) → reply → cover
 *   supervised  explore → learn the cases that failed → write by that model → reply → cover
 *   rl          explore → learn → reinforce (learn/red.h) → write by that model → reply → cover
 *   explore:    write, zero-shot → reply
 *
 * A pass is one writing of prompts: explore's, or the attack, whose prompts are what a round is
 * for. Their prompts differ by item number and lie in the same places of the store. */
#ifndef CAI_STAGE_RED_H
#define CAI_STAGE_RED_H

#include "stage/data.h"
#include "stage/models.h"
#include "stage/stage.h"

struct red_pass {
    const char *write, *reply, *score; /* phases */
    const char *prefix;                /* of its figures: "" or "explore/" */
    size_t first, n;                   /* candidates: their numbers in the round */
};
struct red_pass red_explore(const struct job_spec *job);
struct red_pass red_attack(const struct job_spec *job);
/* The pass that a phase or an item belongs to. */
bool red_is_explore(const char *phase);
bool red_in_pass(const struct stage_context *c, const struct red_pass *p, uint64_t item);
/* Those of the list that belong to the pass; in the arena. */
struct examples red_of_pass(const struct stage_context *c, const struct red_pass *p,
                            const struct examples *all, struct cai_arena *a);

/* Adds tasks, or none where there is nothing to do. */
typedef int red_step(const struct stage_context *c, bool *ret_added);
enum { RED_STEPS = 8 };
struct red_method {
    const char *name;
    red_step *step[RED_STEPS + 1]; /* NULL-ended */
};
const struct red_method *red_method_find(const char *name);
/* Goes through the method's sub-steps until one adds tasks; *ret_added false: all are done. */
int red_advance(const struct stage_context *c, bool *ret_added);

/* ---- sub-steps (red_write.c, red_learn.c, red_cover.c) --------------------------------- */
red_step red_write_explore, red_reply_explore, red_write_zero, red_write_few, red_write_learned,
    red_reply_attack, red_supervise, red_reinforce, red_cover;

/* What the red model is asked. */
const char *red_request(const struct job_spec *job);
/* The red model as it stands in this round: trained in it, or what is to be trained. */
int red_model(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret);

bool red_learns(const Cai__V1__Task *task);
int red_learned(const struct stage_context *c, const Cai__V1__Task *task,
                const Cai__V1__Result *result);
int red_covered(const struct stage_context *c, const Cai__V1__Task *task,
                const Cai__V1__Result *result, struct cai_arena *a);

/* Adds the figures of a finished round (red_figures.c). */
int red_figures(const struct stage_context *c);

#endif
