/* exam.h: whether the base has learnt to choose, before it is taught the overseer's errors. */
#ifndef CAI_CLERK_EXAM_H
#define CAI_CLERK_EXAM_H

#include "hf/hf.h"
#include "model/model.h"

/* Share of choices that the base gets right, asked about two replies to a held-out request
 * that differ in one fault alone. */
int exam_choices(const struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                 uint64_t seed, double *ret_share);

#endif
