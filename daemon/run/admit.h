/* admit.h: a job's memory against the workers'. Private to the room. */
#ifndef CAI_RUN_ADMIT_H
#define CAI_RUN_ADMIT_H

#include "run/state.h"
#include "stage/memory.h"

/* A worker's part of what its machine has: CPU workers of one host share it. 0 = not known. */
int64_t admit_share(const struct run *r, const struct worker *w);
bool admit_fits(const struct run *r, const struct worker *w, int64_t need);
/* CAI_ELIMIT with the numbers and what to lower, when the workers here are too small; 0 when
 * enough of them are large enough, or when those that are missing may be. */
int admit_check(const struct run *r, const struct job_spec *job, const struct memory_plan *plan);
/* {"bytes", "peak", "phases": [{"phase", "bytes", "text"}], "workers": bytes of the largest
 * share here, or null}. */
json_t *admit_json(const struct run *r, const struct memory_plan *plan);
/* CAI_ELIMIT with the numbers and what to lower, when the state folder's disk has less free than
 * the job's models and resumable states take. *ret_json (may be NULL) is the caller's, also
 * then: {"bytes", "models", "states", "free": or null, "text"}. */
int admit_disk(const struct run *r, const struct job_spec *job, json_t **ret_json);

#endif
