/* memory.h: what a job will take of one worker's memory, by its models' config.json alone:
 * said at submit, and held against what the workers have. Not for: what a machine has (run). */
#ifndef CAI_STAGE_MEMORY_H
#define CAI_STAGE_MEMORY_H

#include "job/job.h"

enum { MEMORY_PHASES_MAX = 6 };

/* One kind of work: generate, sft, red team, classifier, prefer or ppo. */
struct memory_phase {
    const char *name;
    int64_t bytes;
    char text[320]; /* "policy 1.2 GB + gradients 1.2 GB + …" */
};
struct memory_plan {
    struct memory_phase phases[MEMORY_PHASES_MAX];
    size_t n, peak; /* peak: the phase that takes most */
    char lower[320]; /* what would lower the peak */
};

/* What a training micro-batch of so many tokens takes in a phase of that name, by config.json
 * alone; 0 where no folder says it, or where the phase trains nothing. */
int64_t memory_micro(const struct job_spec *job, const char *phase, int64_t tokens);
/* Prompts count with 4,096 positions, or as many as the model takes: the engine asks again
 * when it knows them. Training micro-batches have models.micro_batch_tokens. */
int memory_plan(const struct job_spec *job, struct memory_plan *ret);

#endif
