/* audit_second.h: a second look at what the overseer judged in earnest: some of this round's critiques,
 * mostly of replies that it passed, since what it overlooks is there. Each stands for the inverse of
 * its chance of being drawn. The second overseer criticises the same replies under the same
 * principles; its own errors, known from the canaries, are taken out (Rogan and Gladen 1978).
 *
 * Examples: passed (item, {"principle", "passed", "drawn": chance}), passed_critique (item,
 * {"found"}). Metrics: passed_flagged/PRINCIPLE (the second one's findings among replies that were
 * passed) and passed_flawed/PRINCIPLE (their share that is flawed, corrected; absent where the second
 * overseer tells nothing apart), disagreement and disagreement_error (of all critiques, weighted).
 * Nothing is stopped for these: how many flaws there are to be passed differs by principle. */
#ifndef CAI_STAGE_AUDIT_SECOND_H
#define CAI_STAGE_AUDIT_SECOND_H

#include "stage/audit_judge.h"
#include "stage/build.h"

/* Draws the sample, and asks the second overseer about it where there is one. */
int audit_second_ask(const struct stage_context *c, struct cai_arena *a);
int audit_second_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Result *result);
int audit_second_figures(const struct stage_context *c, const struct canaries *l,
                         const struct audit_class *of, struct cai_arena *a);
/* The share flawed from the share flagged, for a grader that flags `recall` of what is flawed and
 * `alarms` of what is not; within 0 … 1. −1 when recall is not above alarms. */
double audit_corrected(double flagged, double recall, double alarms);

#endif
