/* comm.h: collectives behind one table: single, gloo (CPU), nccl (GPU, when its plug-in
 * is there). Every rank of a gang calls the same functions in the same order.
 *
 * Every call has the deadline given at comm_open; a late or dead peer is CAI_ETIMEOUT
 * or CAI_EIO with the collective's number in the message, and the communicator is then
 * unusable: close it and open a new one with a fresh rendezvous folder. Sums are taken
 * in a fixed order, so equal inputs and world size give equal bits.
 *
 * A flat tensor of n elements is divided into one part for each rank, comm_part(): whole
 * blocks of COMM_BLOCK elements, as even as they go, the last one cut at n. */
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
/* For how long the present one has been running, at least 1; 0 = none is. Likewise. */
int64_t comm_standing_ms(const struct comm *c);

/* Ends the collective that is running, and every later one, with CAI_ESTATE; from any thread. */
void comm_interrupt(struct comm *c);

enum { COMM_BLOCK = 128 };
/* Where rank r's part of n elements begins; r = world gives n. */
int64_t comm_part(int64_t n, int r, int world);

int comm_all_reduce(struct comm *c, ct_tensor *flat);               /* fp32 or fp64, sum, in place */
int comm_reduce_scatter(struct comm *c, ct_tensor *flat);           /* rank's part becomes the sum, in place */
int comm_all_gather(struct comm *c, ct_tensor *flat);               /* each rank's part to all, in place */
/* The same three, carried out by a thread of the communicator while the caller computes, one
 * after another in the order of the calls; the tensor is left alone until comm_finish(),
 * which every other collective begins with. On a GPU and with one rank they are done at once:
 * NCCL's work is ordered by the device's stream. */
enum comm_what { COMM_ALL_REDUCE, COMM_REDUCE_SCATTER, COMM_ALL_GATHER };
int comm_begin(struct comm *c, enum comm_what what, ct_tensor *flat);
int comm_finish(struct comm *c); /* 0, or the first failure among them */
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
