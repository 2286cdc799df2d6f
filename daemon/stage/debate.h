/* debate.h: comparisons before which two sides speak, each for one of the replies (Irving et al.
 * 2018; Khan et al. 2024). Each seating is a debate of its own: what speaks first as (A) in one
 * stands as (B) in the other, and a label averages both judgements. A speech is one task's text, so
 * a debate is as durable as anything else. Not for: reading the judgement (choice.c), what a label
 * makes of it (label.c), or whether it is worth its price (methods.h).
 *
 * Phases: debate-1 … debate-2n (gate-debate-1 … of the gate) → score (gate).
 * Examples: debate (item, k = comparison, {"messages", "a", "b", "principle", "critique",
 * "choice"}), speech (item, k = 32 · (2 · comparison + seating) + speech from 0, {"side",
 * "generated", "read"}), dropped ({"reason": "debate/empty", …}, k with the two highest bits set). */
#ifndef CAI_STAGE_DEBATE_H
#define CAI_STAGE_DEBATE_H

#include "stage/build.h"
#include <jansson.h>

/* Whether the job's labels come after debates. */
bool debate_used(const struct stage_context *c);
/* A builder of first speeches, for choice_ask. */
void debate_open(struct builder *b, const struct stage_context *c, bool gate, uint32_t first_chunk,
                 const struct model_ref *overseer);
bool debate_builds(const struct builder *b);
int debate_ask(struct builder *b, const struct stage_context *c, const struct principle *p,
               const struct turn *turns, size_t n, const char *reply_a, const char *reply_b,
               uint64_t item, uint32_t pair, bool swap);
/* Keeps speeches and adds the task of the next ones, or the judge's. */
int debate_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result, bool gate, bool swap);
/* What was said of a comparison in one seating (0: the stored reply A speaks first), in order:
 * [{"reply": 0 | 1 as stored, "text"}]; NULL where there was no such debate, or it broke off. */
int debate_said(const struct stage_context *c, uint64_t item, uint32_t pair, uint32_t seating,
                json_t **ret);
/* Tokens of both seatings' speeches of a comparison. */
int debate_tokens(const struct stage_context *c, uint64_t item, uint32_t pair, double *ret_generated,
                  double *ret_read);
/* Metrics: debates_dropped (a share), debates/NAME, and debate_words (mean of a speech). */
int debate_figures(const struct stage_context *c, double *ret_dropped);

#endif
