/* trainer.h: a model being trained: gradients and AdamW moments in flat buffers beside
 * model.flat, backward driven layer by layer, steps taken by all ranks together.
 *
 * A step is: trainer_backward() on each micro-batch of this rank (those with index
 * r, r + W, … of a list all ranks agree on), trainer_reduce(), and trainer_step(), both once
 * on every rank. Gradients are sums; the loss function divides by the global count. How they
 * are summed over ranks, with ZeRO-1 or without, is shard.h's; the bits are the same.
 *
 * Not for: what is trained on, schedules, checkpoints' files. */
#ifndef CAI_LEARN_TRAINER_H
#define CAI_LEARN_TRAINER_H

#include "learn/options.h"
#include "learn/packing.h"
#include "learn/shard.h"
#include "model/model.h"
#include "shim/comm.h"

struct trainer;

struct trainer_options {
    struct comm *comm; /* NULL: this process alone */
    double beta1, beta2, eps, weight_decay, clip_norm;
    double temperature; /* of an LM head's log-probabilities; 1 = as the model has it */
    bool recompute;     /* keep layer inputs only and run each layer again in backward */
    bool eps_tensorflow; /* ε beside the uncorrected √v, as TensorFlow's Adam; else PyTorch's */
    int64_t max_skipped; /* steps left out in a row that end the run; 0 = 3 */
    bool whole_moments;  /* every rank keeps all moments: no ZeRO-1 */
    int64_t bucket;      /* as of shard_new */
};

/* The tokens of a micro-batch that the settings aim at. */
int64_t trainer_tokens(const struct train_optimizer *o);
/* Whether the graphs of one such micro-batch are too large to keep (1 GiB; on a GPU 16), unless
 * the settings say what to do. */
bool trainer_should_recompute(const struct model *m, const struct train_optimizer *o);

/* Borrows the model, makes its parameters record gradients. */
int trainer_new(struct model *m, const struct trainer_options *o, struct trainer **ret);
void trainer_free(struct trainer *t);

/* The loss of one micro-batch, given the R outputs (log-probabilities, or scalars; of n heads
 * (model_heads) R · n, a row's scores beside each other): writes d loss /
 * d output to grad, already divided by the global count. A negative return ends the run with
 * that code. */
typedef int (*trainer_loss)(void *context, const double *out, double *grad, int64_t n);

/* Forward, loss, backward; gradients are added to the flat buffer. b with R = 0: nothing. */
int trainer_backward(struct trainer *t, const struct micro *b, trainer_loss loss, void *context);
/* The same with an LM head's log-probabilities at another temperature than the trainer's. */
int trainer_backward_at(struct trainer *t, const struct micro *b, double temperature,
                        trainer_loss loss, void *context);
/* The same forward in the same gradient mode, without a backward: out[R] has the very bits
 * that trainer_backward's loss would see now. entropy[R] (nats) may be NULL. */
int trainer_evaluate(struct trainer *t, const struct micro *b, double *out, double *entropy);

/* The next trainer_backward() is this rank's last of the step: sums over ranks begin as layers
 * are done, beside the rest of it. */
void trainer_last(struct trainer *t);
/* Begins all sums over ranks that have not begun: after the last backward of a step, before
 * any other collective, on every rank. Nothing for a process alone. */
int trainer_reduce(struct trainer *t);

enum trainer_outcome { TRAINER_STEPPED = 0, TRAINER_SKIPPED = 1 };
struct trainer_report {
    enum trainer_outcome outcome; /* skipped: the gradient was not finite, or trainer_skip */
    double grad_norm;             /* global, before clipping */
};
/* Sums gradients over ranks, clips by the global norm, one AdamW step at `lr`, gradients
 * to zero. A gradient with NaN or Inf changes nothing and is reported; the last of
 * max_skipped in a row is CAI_ENUMERIC. */
int trainer_step(struct trainer *t, double lr, struct trainer_report *ret);
/* Leaves a step out as one with such a gradient: gradients to zero, counted among those in
 * a row. `why` (a clause: "the loss …") goes into the error that ends the run. */
int trainer_skip(struct trainer *t, const char *why, struct trainer_report *ret);
/* Gradients to zero, and nothing counted: an update not wanted. */
int trainer_discard(struct trainer *t);

/* What a resumable state must hold. Tensors are borrowed: this rank's part of the moments. */
struct trainer_state {
    ct_tensor *flat;                   /* [N] parameters */
    ct_tensor *exp_avg, *exp_avg_sq;   /* [N], or this rank's part of it */
    const struct shard_range *ranges;  /* [n_ranges]: which elements the moments are of */
    int n_ranges;
    int64_t step;                      /* AdamW steps taken */
    int64_t bad;                       /* skipped in a row */
    bool sharded;                      /* the moments are a part, not the whole */
};
void trainer_state(const struct trainer *t, struct trainer_state *ret);
void trainer_set_counts(struct trainer *t, int64_t step, int64_t bad);
struct model *trainer_model(const struct trainer *t);

/* Forward without gradients: R outputs (and entropy) of a model that is not trained. */
int model_outputs(const struct model *m, const struct micro *b, double temperature, double *out,
                  double *entropy);

#endif
