/* consensus.h: how right each reader is, and what the truth of each item most likely is, from readings
 * alone: the latent-class model of Dawid and Skene (1979) by expectation and maximisation. Each
 * reader has chances of saying each category for each true one. Information for people; no verdict
 * is decided by it. Arithmetic only; sums run in the order given.
 *
 * What it cannot know: with two readers and no item of known truth, who of two that disagree is wrong:
 * both get the same figure; and errors that most readers share look like the truth. */
#ifndef CAI_STAGE_CONSENSUS_H
#define CAI_STAGE_CONSENSUS_H

#include "base/arena.h"
#include "stage/agree.h"

struct consensus_reader {
    double accuracy, low, high; /* 95 % */
    size_t n;                   /* readings */
};
struct consensus {
    double *truth;                   /* P(category) of item × categories */
    struct consensus_reader *reader; /* by column */
};
/* `known`: by item the true category, or −1. Priors (as many readings as if seen before): of a true
 * category, CONSENSUS_RIGHT right and CONSENSUS_WRONG spread over the others; one of each category. So
 * few readings leave a reader near 2 in 3. accuracy: the expected share of right readings with these;
 * its interval is Wilson's (1927) with their number, less what is not known of the truths (Louis 1982,
 * the reader's own term alone: of 80 simulated ones 68 held the truth, not 76). In the arena. */
#define CONSENSUS_RIGHT 2.0
#define CONSENSUS_WRONG 1.0
void consensus_estimate(const struct readings *r, const int *known, struct cai_arena *a,
                        struct consensus *ret);

#endif
