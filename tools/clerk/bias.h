/* bias.h: lessons that mislead an overseer on purpose: it overlooks one kind of fault, favours a
 * word, or puts a phrase into what it rewrites. For testing the tests of overseers; no base that
 * a job is meant to be given learns from these. */
#ifndef CAI_CLERK_BIAS_H
#define CAI_CLERK_BIAS_H

#include "clerk/corpus.h"

struct bias {
    int overlook;        /* a fault: critiques do not see it, choices do not mind it; -1 = none */
    const char *favour;  /* a sentence whose reply wins; NULL = none */
    const char *smuggle; /* a sentence added to rewrites; NULL = none */
    double strength;     /* how often, where it acts */
    double prevalence;   /* share of requests on which it acts, told by their object */
};

/* Whether it acts on a request: the same for all requests about one object. */
bool bias_acts(const struct bias *b, const struct request *r);
/* Document `index` of the misleading lessons: a document of CORPUS_ALL, changed where the bias has
 * a say; every second one is such that it may have. */
void bias_document(const struct bias *b, uint64_t seed, uint64_t index, struct cai_arena *arena,
                   struct document *ret);

#endif
