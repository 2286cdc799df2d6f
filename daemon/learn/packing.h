/* packing.h: which rows are computed together. Rows become micro-batches (packs) by a
 * rule that knows nothing but their lengths, and each pack carries the rows of the
 * hidden state where the loss reads its numbers. */
#ifndef CAI_LEARN_PACKING_H
#define CAI_LEARN_PACKING_H

#include "model/model.h"

enum { PACK_TOKENS = 4096 }; /* aimed at, per micro-batch, where no setting says it */

/* Splits units of the given lengths into bins: as many as hold `budget` tokens each,
 * rounded up to a multiple of `multiple`; longest first into the lightest bin (ties:
 * lower index), which keeps bins equal. A bin lists its units in rising order and may
 * be empty. A unit is never split. */
struct packing {
    size_t n_bins;
    size_t *starts; /* [n_bins + 1] into units */
    size_t *units;  /* [n] */
};
int packing_make(const int64_t *lengths, size_t n, int64_t budget, size_t multiple,
                 struct packing *ret);
void packing_free(struct packing *p);

/* One sequence of a micro-batch and the span of its ids that matters: for an LM head,
 * ids from … to-1 are predicted (by the rows before them); for a scalar head, the rows
 * themselves are read. */
struct span {
    const int32_t *ids;
    int64_t n, from, to;
};

struct micro {
    struct pack *pack;
    int64_t n_rows;    /* R */
    ct_tensor *rows;   /* [R] I64: rows of the hidden state */
    ct_tensor *target; /* [R] I64: the ids predicted there; NULL for a scalar head */
    bool all_rows;     /* rows is 0 … T-1: nothing to select */
};

/* Rows come in the order of the sequences. An empty list gives pack NULL and R = 0. */
int micro_new(const struct model *m, const struct span *seqs, size_t n, struct micro **ret);
void micro_free(struct micro *b);

#endif
