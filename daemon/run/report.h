/* report.h: the REPORT object of proto/control.h and the statistics by principle. */
#ifndef CAI_RUN_REPORT_H
#define CAI_RUN_REPORT_H

#include "run/control.h"
#include "stage/graders.h"

int report_job(const struct request *q, json_t **ret);
int constitution_stats(const struct request *q, json_t **ret);

/* {"grader", "verified", "check"}, the caller's. */
json_t *grader_json(const struct grader *g);
/* Rows of the principles' table; job 0 = all jobs. *ret is the caller's. */
int principle_rows(struct run *r, int64_t job, json_t **ret);
/* {"role", "content"} of a prompt's turns; *ret_row (may be NULL): the data line's other
 * fields. Both are the caller's. */
int prompt_messages(struct run *r, int64_t job, uint64_t item, json_t **ret, json_t **ret_row);
/* Adds what the stage skill and debates showed: tables, and sentences to the headline. */
void report_skill(struct run *r, int64_t job, uint32_t rounds, json_t *tables, json_t *headline);
/* Replies to held-out prompts before and after. */
int report_transcripts(struct run *r, int64_t job, uint32_t rounds, json_t **ret);
/* To the series of the stage ppo that a person looks at: "unit", "says", "marks", "place"; adds
 * reward over distance. */
void report_curves(const struct job_spec *job, json_t *series);
/* A table of the series "score/PRINCIPLE": where each began and ended. */
void report_scores(const json_t *series, json_t *tables);
/* Tables of people's review; none where nobody was asked. */
int report_review(struct run *r, int64_t job, json_t *tables);
/* Tables and a sentence of self-consistency; nothing where it did not run. */
void report_consist(struct run *r, int64_t job, uint32_t rounds, json_t *tables);
void report_consist_says(struct run *r, int64_t job, uint32_t rounds, json_t *headline);
/* Tables of what red teaming found by `method`. */
int report_red_team(struct run *r, int64_t job, const char *method, const struct graders *g,
                    json_t *tables);
/* "start", "SFT round 1" or "after PPO" for a round of evaluation. */
void report_checkpoint(uint32_t round, uint32_t rounds, char *out, size_t size);

#endif
