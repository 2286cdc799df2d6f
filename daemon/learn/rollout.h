/* rollout.h: what the policy writes in one PPO step: prompts by counted draw, replies by
 * the engine, spread over the ranks and gathered, so that every rank holds them all.
 *
 * Replies are written in chunks whose size depends on the number of rollouts alone, and a
 * chunk is one engine call: the same bits come out for any number of ranks. */
#ifndef CAI_LEARN_ROLLOUT_H
#define CAI_LEARN_ROLLOUT_H

#include "learn/dataset.h"
#include "learn/engine.h"
#include "learn/host.h"
#include "learn/options.h"

struct rollout {
    uint64_t number;  /* counted over the run: step × rollouts + i */
    const struct dataset_row *row;
    int32_t *ids;     /* prompt and reply */
    int64_t n_prompt, n;
    double *sampled;  /* [n - n_prompt] log-probabilities as the sampler saw them */
    bool ended;       /* the reply ended by itself */
    char *text;       /* of the reply */
};

struct rollouts {
    struct rollout *r; /* by number; those without a single token are left out */
    size_t n;
};

/* Prompts of both kinds; draws of a kind go through all its prompts before one repeats. */
struct prompts {
    const struct dataset_row **pool[2]; /* harmful, helpful */
    size_t n[2];
    double helpful; /* share of draws; 0 or 1 when there is only one kind */
};
void prompts_make(const struct dataset *d, double helpful, struct prompts *ret);
void prompts_free(struct prompts *p);
/* The prompt of draw `number` (a rollout, or a group of them): a function of (seed, round,
 * number) alone. */
const struct dataset_row *prompts_draw(const struct prompts *p, uint64_t seed, uint32_t round,
                                       uint64_t number);

struct sampler_of_rollouts {
    const struct learn_task *task;
    const struct prompts *prompts;
    struct engine *engine;
    const struct ppo_options *options;
};
/* Requests per engine call. */
size_t rollout_chunk(size_t rollouts);
/* Collective: all rollouts of a step, on every rank. */
int rollouts_sample(const struct sampler_of_rollouts *s, uint64_t step, struct rollouts *ret);
void rollouts_free(struct rollouts *r);

#endif
