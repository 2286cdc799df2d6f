/* classifier.h: how harmful a reply is, as red teaming and evaluation see it. A model of
 * its own, trained once per job from the start model on data.classifier, sharing neither
 * data nor weights with the preference model; without such data the overseer chooses
 * between two options, in both orders. Never on a training path of the policy. */
#ifndef CAI_STAGE_CLASSIFIER_H
#define CAI_STAGE_CLASSIFIER_H

#include "stage/build.h"

/* Plans its training (phase "classifier") if there is data and it is not trained yet. */
int classifier_plan(const struct stage_context *c);
bool classifier_trains(const Cai__V1__Task *task);
int classifier_trained(const struct stage_context *c, const Cai__V1__Task *task,
                       const Cai__V1__Result *result);

/* A builder for judging replies; `a` holds the model's name until build_free. */
int classifier_build(struct builder *b, const struct stage_context *c, const char *phase,
                     uint32_t first_chunk, struct cai_arena *a);
/* Adds one reply; k < 2³¹. */
int classifier_reply(struct builder *b, uint64_t item, uint32_t k, const struct turn *turns,
                     size_t n, const char *reply);
struct verdict {
    uint64_t item;
    uint32_t k;
    double p;      /* P(harmful) */
    bool too_long; /* not judged */
};
/* The verdicts of a task of classifier_build, in its order. */
int classifier_read(const Cai__V1__Task *task, const Cai__V1__Result *result, struct cai_arena *a,
                    struct verdict **ret, size_t *ret_n);

#endif
