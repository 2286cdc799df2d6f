/* scale.h: a job made small: every stage it has, once, on a few prompts. What `submit --smoke`
 * runs, and what a dry run measures. Not for: making its data files small (job/sample.h). */
#ifndef CAI_JOB_SCALE_H
#define CAI_JOB_SCALE_H

#include "job/job.h"

/* No count is raised by any of these; 0 leaves the job's own. */
struct job_scale {
    int64_t prompts;   /* red-team candidates, prompts to revise, held-out prompts … */
    int64_t pairs;     /* to label */
    int64_t revisions; /* of a prompt */
    int64_t tokens;    /* longest reply, critique, revision … */
    int64_t steps;     /* of PPO */
    int64_t rollouts;  /* of one of them; as many more as its groups, minibatches and ranks need */
};
/* One round (none stays none), one pass over data, gates and guards that let everything pass:
 * eight prompts prove nothing about quality. */
void job_scale(struct job_spec *j, const struct job_scale *s);

#endif
