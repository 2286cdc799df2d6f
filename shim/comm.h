/* comm.h: collectives behind one table: single, gloo (CPU), nccl (GPU, when its plug-in
 * is there). Every rank of a gang calls the same functions in the same order.
 *
 * Every call has the deadline given at comm_open; a late or dead peer is CAI_ETIMEOUT
 * or CAI_EIO with the collective's number in the message, and the communicator is then
 * unusable: close it and open a new one with a fresh rendezvous folder. Sums are taken
 * in a fixed order, so equal inputs and world size give equal bits. */
#ifndef CAI_SHIM_COMM_H
#define CAI_SHIM_COMM_H

#include "shim/ct.h"

#ifdef __cplusplus
extern "C" {
#endif

struct comm;

struct comm_options {
    const char *backend;    /* "single", "gloo", "nccl" */
    int rank, world;
    const char *rendezvous; /* an empty folder all ranks see, fresh for each attempt */
    const char *interface;  /* e.g. "lo" */
    int timeout_ms;
};

int comm_open(const struct comm_options *o, struct comm **ret);
void comm_close(struct comm *c);
int comm_rank(const struct comm *c);
int comm_world(const struct comm *c);
/* Collectives entered so far and whether one is running now; safe from another thread. */
uint64_t comm_progress(const struct comm *c, bool *ret_inside);

int comm_all_reduce(struct comm *c, ct_tensor *flat);               /* fp32 or fp64, sum, in place */
int comm_reduce_scatter(struct comm *c, ct_tensor *flat);           /* rank's n/world part becomes the sum, in place */
int comm_all_gather(struct comm *c, ct_tensor *flat);               /* each rank's n/world part to all, in place */
int comm_broadcast(struct comm *c, ct_tensor *flat, int root);
int comm_all_reduce_f64(struct comm *c, double *values, int n);     /* small host values, sum */
int comm_all_reduce_max(struct comm *c, int64_t *values, int n);
/* Variable-length bytes of every rank, in rank order; *ret is the caller's, free(). */
int comm_all_gather_bytes(struct comm *c, const void *data, size_t len, void **ret, size_t *ret_len,
                          size_t *ret_starts /* world + 1 */);
int comm_barrier(struct comm *c);

#ifdef __cplusplus
}
#endif
#endif
