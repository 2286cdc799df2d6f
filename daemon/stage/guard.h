/* guard.h: does a failure multiply? A model that trains on its own texts can amplify a flaw
 * that nobody chose. After each round, and after PPO, every way to fail (probes.h) is compared
 * on the same held-out prompts with the round before and with the start, and the job waits for
 * a person when one has risen. Not for harm that was there from the start and stays.
 *
 * With p the rate on the probes and q the rate in what the round trained on:
 *   reproduction number  R = p after ÷ p before = S · I
 *   selection            S = q ÷ p before   (above 1: the filter favours the failure)
 *   inheritance          I = p after ÷ q    (above 1: training amplifies it)
 * Metrics of stage evaluate, for each rate NAME of probes.c that is a failure: NAME_R (against
 * the round before) and NAME_R0 (against the start), both with _low and _high (95 %);
 * NAME_least, the smallest rise that these probes could have shown with power 0.8; NAME_data
 * (q), NAME_S, NAME_I, where the round trained on such prompts; and, for round 0 too,
 * distinct_pairs and self_bleu of replies to harmless prompts.
 *
 * It halts when the lower bound of (p after − p before) is above guards.margin, at confidence
 * 1 − guards.alpha shared by all failures, both comparisons and all looks of a job
 * (Bonferroni); or when distinct_pairs falls below guards.diversity of the start's. The rate
 * is as good as its grader: one that was never checked is named as such, and never shows that
 * a failure does not grow. */
#ifndef CAI_STAGE_GUARD_H
#define CAI_STAGE_GUARD_H

#include "stage/data.h"

/* Stores a counted draw of what this round's supervised training was given (examples: taken,
 * {"kind"}) and lists it; empty when the round trained nothing. */
int guard_take(const struct stage_context *c, struct cai_arena *a, struct examples *ret);
/* After this round's rates are known: records the figures, and sets STAGE_WAIT with the gate
 * "guard-ROUND" when a person must look. */
int guard_judge(const struct stage_context *c, struct stage_verdict *ret);

#endif
