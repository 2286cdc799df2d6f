/* exam.h: whether the base has learnt to choose, before it is taught the overseer's errors. */
#ifndef CAI_CLERK_EXAM_H
#define CAI_CLERK_EXAM_H

#include "clerk/corpus.h"
#include "hf/hf.h"
#include "model/model.h"

struct exam_result {
    double share, worst; /* of choices that are right: of all, and of the worst group */
    const char *worst_name;
    double of[CORPUS_GROUPS];
};

/* Asks about two replies to a held-out request that differ in one fault alone, the same number
 * of each of corpus_exam's groups. */
int exam_choices(const struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                 uint64_t seed, struct exam_result *ret);

#endif
