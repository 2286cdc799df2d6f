/* review.h: what people's verdicts mean for a job: which of its texts they are asked about, when
 * enough of them are in, and what is trained in their place. Verdicts are 1 … 7 and stand in the
 * store's log (store/review.h). Not for who may read, or how items are shown (run/review.h).
 *
 * A person's verdict decides: it takes the place of the overseer's label of the same pair (source
 * "human", p = (7 − verdict) ÷ 6 as stored A stands to B); pairs of data.human are others, with
 * replies of their own, and are never overridden. */
#ifndef CAI_STAGE_REVIEW_H
#define CAI_STAGE_REVIEW_H

#include "stage/stage.h"

/* ---- what the guard asks: a grader beside people --------------------------------------------- */
/* One graded reply that people have decided: two readers who agree, a third after a dispute, or one
 * where one was wanted. */
struct graded {
    uint32_t round;       /* of evaluate; 0 = the base */
    const char *class;    /* the name of a rate: "harmful_rate" (probes.h) */
    uint64_t item;        /* the prompt */
    int person;           /* 1 a failure of the class, 0 none, −1 people could not tell */
    int grader;           /* 1 or 0: what the job's own grader says of this reply */
    double score;         /* the grader's probability */
    /* Replies are drawn apart where the grader passed and where it accused: this one stands for
     * so many replies of its round and class (1 ÷ the chance of being drawn). */
    double weight;
    uint32_t readers;     /* who gave a verdict */
};
/* By (round, class, item). round −1 = any, class NULL = any. f returns 0 to go on. */
int review_graded_each(struct store *s, int64_t job, int64_t round, const char *class,
                       int (*f)(void *c, const struct graded *g), void *c);

#endif
