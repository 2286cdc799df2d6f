/* shard.h: how a trainer's flat buffers are divided into buckets and among ranks, and how
 * gradients are summed and parameters brought together over them.
 *
 * A bucket is a stretch of the flat buffer whose gradients are ready at about the same time
 * in backward; buckets go to the communicator in one fixed order, from the head down to the
 * embedding, whatever is ready when. With ZeRO-1 (Rajbhandari et al. 2020, §5) a bucket's
 * gradients are reduce-scattered: rank r gets the sums of part r (comm_part) of each, updates
 * it, and the parameters are gathered. Without it they are all-reduced and each rank updates
 * all. Sums are in the order of the ranks either way, so both ways give the same bits.
 *
 * Not for: what an update is (trainer.c). */
#ifndef CAI_LEARN_SHARD_H
#define CAI_LEARN_SHARD_H

#include "model/model.h"
#include "shim/comm.h"

/* A stretch of the flat buffers that this rank updates, and where its moments lie. */
struct shard_range {
    int64_t from, to; /* elements of the flat buffer */
    int64_t at;       /* of the moments' buffers */
};

struct shard;

/* grad [N] beside m->flat; both and comm (NULL: this process alone) are borrowed. A bucket
 * holds whole layers, as many as reach `bucket` elements (0: 2 Mi, 8 MiB). */
int shard_new(const struct model *m, ct_tensor *grad, struct comm *comm, bool zero, int64_t bucket,
              struct shard **ret);
void shard_free(struct shard *s);

/* Whether this rank owns but a part. */
bool shard_divided(const struct shard *s);
/* What this rank updates, in rising order; its moments have shard_own() elements. */
const struct shard_range *shard_ranges(const struct shard *s, int *ret_n);
int64_t shard_own(const struct shard *s);
int shard_buckets(const struct shard *s);

/* Backward has come down to that layer (the number of layers: the head is done; -1: all is):
 * begins the sums of what is ready. Every rank must begin all buckets of a step before any
 * other collective: shard_begin(s, -1) begins those that are left. */
int shard_begin(struct shard *s, int layer);
/* The step's sums are there: the global norm of the gradient, equal on every rank. */
int shard_finish(struct shard *s, double *ret_norm);
/* As if no sum had begun, after they are there. For a step that is left out. */
int shard_forget(struct shard *s);
/* Begins to bring together the parameters of which range `range` (there is one for each bucket)
 * is this rank's part, once that is updated: on every rank in rising order. Then waits for
 * all. Nothing is done when each rank has updated everything. */
int shard_gather(struct shard *s, int range);
int shard_gathered(struct shard *s);

#endif
