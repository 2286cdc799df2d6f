/* reason.h: comparisons in which the overseer writes its reasons before it answers (Bai et al.
 * 2022, §4.1). Two steps: a text is generated for each order, then the options are scored
 * after it. Not for: reading the answer (choice.c) or what a label makes of it (label.c).
 *
 * Examples: reasons (item, k of the comparison; one per order), dropped ({"reason":
 * "reasons/truncated", …}, k with the highest bit set): reasons that cannot be read in one
 * order take the other with them, since an answer in one order alone leans to a side. */
#ifndef CAI_STAGE_REASON_H
#define CAI_STAGE_REASON_H

#include "stage/build.h"

/* Whether the job's labels come with reasons. */
bool reason_used(const struct stage_context *c);
/* A builder of the first step. */
void reason_open(struct builder *b, const struct stage_context *c, const char *phase,
                 uint32_t first_chunk, const struct model_ref *overseer);
/* Like choice_ask, of that builder. */
int reason_ask(struct builder *b, const struct stage_context *c, const struct principle *p,
               const struct turn *turns, size_t n, const char *reply_a, const char *reply_b,
               uint64_t item, uint32_t pair, bool swap);
/* Keeps what was written and adds the second step's task, with the first one's chunk. */
int reason_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result, const char *phase, bool swap);
/* Metrics of this stage and round: reasons_dropped (a share), and reasons/NAME, how many for
 * each reason to drop them. */
int reason_figures(const struct stage_context *c, double *ret_dropped);

#endif
