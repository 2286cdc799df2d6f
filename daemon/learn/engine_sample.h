/* engine_sample.h: one token out of one row of logits, on the host. */
#ifndef CAI_LEARN_ENGINE_SAMPLE_H
#define CAI_LEARN_ENGINE_SAMPLE_H

#include "learn/engine.h"

/* Scratch for vocabularies of up to n ids. */
struct sampler {
    int64_t n;
    float *weights;           /* [n] exp((logit - max) / T) */
    double *sums;             /* per block of CT_SUM_BLOCK weights */
    struct candidate *sorted; /* [n], made when first needed */
};

void sampler_open(struct sampler *s, int64_t n);
void sampler_close(struct sampler *s);

/* logits [n]. Draws with the key at `position`; a pure function of its arguments.
 * *ret_logprob is the log-probability under softmax(logits / T) before any truncation
 * (T = 1 for greedy choice). The order of the filters is that of transformers:
 * temperature, top-k, top-p, min-p. CAI_ENUMERIC when the row holds NaN or +Inf. */
int sampler_draw(struct sampler *s, const float *logits, const struct sampling *how,
                 struct cai_key key, uint64_t position, int32_t *ret_id, float *ret_logprob);

/* One draw of many: in, and out. */
struct draw {
    const float *logits;
    struct cai_key key;
    uint64_t position;
    int32_t id;
    float logprob;
    int rc;
};
/* All n draws, divided over the compute threads; samplers [parts]. 0 or the first code. */
int sampler_draw_all(struct sampler *samplers, int parts, const struct sampling *how,
                     struct draw *draws, size_t n);

#endif
