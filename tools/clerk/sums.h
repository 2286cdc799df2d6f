/* sums.h: the clerk's arithmetic: sums of four small numbers, worked out step by step. What
 * self-consistency is tried on; no part of the demonstration's world or base.
 *
 * A sum can be worked out from its first number on, or back from its last ("Last first: …"). The
 * lessons know a fifth of the small steps wrong by heart (which, the seed says), and say so more
 * often than not: so each way to an answer has its own chances to go wrong, and few go wrong
 * alike, which is what a vote mends. The trap is an error that
 * all ways share: lessons that add 8 where they should add 9. Most ways then agree on a wrong
 * answer, and a vote makes the model surer of it. */
#ifndef CAI_CLERK_SUMS_H
#define CAI_CLERK_SUMS_H

#include "clerk/corpus.h"
#include "clerk/world.h"

enum { SUM_TERMS = 4 };
struct sum {
    int term[SUM_TERMS]; /* 1 … 9 */
};
/* Which sums may be drawn, by a hash that no seed changes. */
enum sum_split { SUM_HELD_OUT, SUM_LABELLED, SUM_LESSONS, SUM_QUESTIONS };
struct sum sum_draw(struct draws *d, enum sum_split split);
int sum_value(const struct sum *s);
void sum_question(const struct sum *s, struct cai_buf *out);
/* How somebody reckons. */
struct reckoner {
    uint64_t seed; /* which steps are known wrong */
    double errs;   /* chance of the error at such a step */
    double trap;   /* of adding 8 for 9 */
};
/* Worked out, forward or back by a coin, with the answer. Returns it. */
int sum_steps(struct draws *d, const struct sum *s, const struct reckoner *who,
              struct cai_buf *out);
bool sum_trapped(const struct sum *s); /* whether there is a 9 in it */

/* Asked after a question, to be shown the steps. */
#define CLERK_STEPS "Show how."

/* Lesson i of a seed: steps, or now and then the answer alone. */
void sum_lesson(uint64_t seed, uint64_t index, bool trap, struct cai_arena *arena,
                struct document *ret);

/* questions.jsonl (without answers, then the labelled ones), labelled.jsonl (worked out rightly,
 * as a person would: what the small labelled set teaches), held-out.jsonl, and sums.eval.jsonl (the
 * held-out ones as multiple choice). */
int sums_write(const char *dir, uint64_t seed);

#endif
