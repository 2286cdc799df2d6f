/* audit_people.h: people read again, blind, some of what the overseer judged in earnest (human.audits):
 * of the audit's sample (audit_second.h) four of five that it passed, since what it overlooks is
 * there. Nobody is shown what it said. Each verdict stands for the inverse of its chance of being
 * drawn; what comes of it is the overseer's miss rate, by principle and of all.
 *
 * Gate: reaudit-ROUND, before anything is trained on what the overseer wrote. Kind of item: audit,
 * one reply, 7 = certainly a flaw that the principle speaks of. Metrics: reaudits_drawn; at the end
 * reaudits (verdicts), reaudits_undecided, missed and missed/PRINCIPLE (of the replies that people
 * find flawed, the share that the overseer passed), passed_wrong and passed_wrong/PRINCIPLE (of those
 * that it passed, the share that people find flawed), each with _low _high (95 %) and _n.
 * An alarm of the audit when people's verdicts show that the overseer surely finds less than
 * stages.audit.least_recall of what is flawed. Not for: canaries (audit_judge.h). */
#ifndef CAI_STAGE_AUDIT_PEOPLE_H
#define CAI_STAGE_AUDIT_PEOPLE_H

#include "stage/audit_judge.h"

/* Draws and opens the queue once; STAGE_WAIT until people's verdicts are in or the gate is
 * accepted. STAGE_DONE at once without human.audits. */
int audit_people_wait(const struct stage_context *c, struct stage_verdict *ret);
/* The figures, and alarms at a level of its own: half of stages.audit.alpha over rounds and
 * principles (audit_level leaves it that half). */
int audit_people_judge(const struct stage_context *c, const struct audit_limits *limits,
                       struct cai_arena *a, struct audit_alarms *io);

/* People's verdicts on samples of what was passed and of what was flagged. */
struct reaudit {
    struct audit_count passed, flagged; /* hits: people find it flawed; n: verdicts */
    size_t all_passed, all_flagged;     /* of the round, from which they were drawn */
};
/* Of what is flawed, the share that was passed: P·f ÷ (P·f + F·g) with f and g the shares flawed
 * among the P passed and F flagged, which is Hájek's estimator with inverse chances as weights
 * (Hájek 1971). Bounds each at one-sided level alpha: exact bounds of f and g at alpha ÷ 2 (Clopper
 * and Pearson 1934), so that they hold however few there are. False, with 0 and 1, where verdicts
 * do not tell: nothing flawed found, or a part of which nobody read any. */
bool reaudit_missed(const struct reaudit *r, double alpha, double *ret, double *ret_low,
                    double *ret_high);

#endif
