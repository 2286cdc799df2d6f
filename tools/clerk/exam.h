/* exam.h: whether the base has learnt to choose and to criticise, before it is taught the
 * overseer's errors. */
#ifndef CAI_CLERK_EXAM_H
#define CAI_CLERK_EXAM_H

#include "clerk/corpus.h"
#include "hf/hf.h"
#include "model/model.h"

struct exam_result {
    double share, worst; /* of answers that are right: of all, and of the worst group */
    const char *worst_name;
    double of[CORPUS_GROUPS];
};

/* The same number of each of corpus_exam's groups. */
int exam_questions(const struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                   uint64_t seed, struct exam_result *ret);

#endif
