/* report.h: what a job's stored figures, texts and verdicts say to a person, as JSON: the REPORT
 * object of proto/control.h and its parts that others show alone. Reads the store, changes nothing;
 * knows nothing of running jobs, requests, HTML or terminals. */
#ifndef CAI_REPORT_REPORT_H
#define CAI_REPORT_REPORT_H

#include "job/job.h"
#include "stage/graders.h"
#include "store/store.h"
#include <jansson.h>

/* The whole report. `progress`: how far the job is (proto/control.h's JOB), taken. *ret is the
 * caller's. */
int report_job(struct store *store, const struct store_job *row, json_t *progress, json_t **ret);
/* Rows of the principles' table; job 0 = all jobs. *ret is the caller's. */
int report_principles(struct store *store, int64_t job, json_t **ret);
/* {"role", "content"} of a prompt's turns; *ret_row (may be NULL): the data line's other
 * fields. Both are the caller's. */
int report_prompt(struct store *store, int64_t job, uint64_t item, json_t **ret, json_t **ret_row);
/* {"grader", "verified", "check"}, the caller's. */
json_t *report_grader(const struct grader *g);
/* To the series of the stage ppo that a person looks at: "unit", "says", "marks", "place"; adds
 * reward over distance. */
void report_curves(const struct job_spec *job, json_t *series);

#endif
