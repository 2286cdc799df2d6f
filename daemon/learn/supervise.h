/* supervise.h: the loop that SFT, preference models, classifiers and DPO share: epochs of
 * counted order, steps of a fixed number of examples, resumable state. Not for: what the
 * loss is (the callback), where examples come from, what is measured afterwards. */
#ifndef CAI_LEARN_SUPERVISE_H
#define CAI_LEARN_SUPERVISE_H

#include "learn/host.h"
#include "learn/options.h"
#include "learn/packing.h"

/* What is learned together and never split: one sequence, or a pair. */
struct example {
    struct span seq[2];
    int n;         /* sequences */
    double count;  /* its share of the normaliser: weighted tokens, or 1 */
    double target; /* p, or label */
    double weight;
    double reference[2]; /* dpo: each sequence's log-probability under the reference */
};

/* Loss summed over the examples of one micro-batch: out and grad have the rows of their
 * spans, in order (of several heads: each row's scores beside each other). The gradient is of the sum; the loop divides by the step's count. Sums
 * for figures are added to extra[n_extra]. */
typedef double (*supervise_loss)(const void *context, const struct example *const *e, size_t n,
                                 const double *out, double *grad, double *extra);

/* A figure made of an extra sum: divided by the sum `over`, or by the step's count when
 * that is -1. A sum without a name is only divided by. */
enum { SUPERVISE_EXTRA = 4 };
struct supervise_extra {
    const char *name;
    int over;
};

struct supervise {
    const struct learn_task *task;
    struct model *m;
    const char *name;      /* "sft", "pm", "classifier", "dpo": keys of draws, words in reports */
    uint32_t member;       /* of a PM; else 0 */
    uint32_t members;      /* for progress */
    const struct train_optimizer *optimizer;
    const struct train_guard *guard;
    bool eps_tensorflow;
    int64_t epochs, checkpoint_every;
    const struct example *examples;
    size_t n;
    supervise_loss loss;
    const void *context;
    const struct supervise_extra *extra; /* [n_extra] */
    int n_extra;
    bool resume;           /* continue from task->resume */
};

/* Steps of one run: epochs × ⌈n / batch⌉; with batch_tokens epochs × ⌈learned tokens /
 * batch_tokens⌉, n a pass at most: every pass has as many, whatever its order. */
int64_t supervise_steps(const struct supervise *s);
/* Trains s->m in place. Collective. *ret_loss: the last step's mean loss. */
int supervise_run(const struct supervise *s, double *ret_loss);

/* Outputs of all examples' rows without gradients, in their order, computed by all ranks
 * together, about `tokens` at a time (trainer_tokens()); starts[i] is where example i's begin
 * (n + 1 entries). Both are the caller's. */
int supervise_outputs(const struct learn_task *t, const struct model *m, int64_t tokens,
                      const struct example *e, size_t n, double **ret_out, size_t **ret_starts);

#endif
