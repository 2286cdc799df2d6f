/* engine_decode.h: steps of decoding on a device: recorded once for each number of rows,
 * then replayed with one call. */
#ifndef CAI_LEARN_ENGINE_DECODE_H
#define CAI_LEARN_ENGINE_DECODE_H

#include "model/model.h"

struct decoder;
struct decoder_options {
    int64_t rows;  /* at most, per step */
    int64_t spare; /* a slot of the cache that nobody else uses: rows that fill up a step */
    bool record;   /* false: the same step, computed anew each time (tests, comparisons) */
};
/* Borrows both; the weights may change in place between steps. CAI_ESTATE where no step
 * can be recorded: rotations that go by a sequence's length, or beyond the kept tables. */
int decoder_new(const struct model *m, struct kv_cache *c, const struct decoder_options *o,
                struct decoder **ret);
void decoder_free(struct decoder *d);
/* One token per row: ids[i] becomes positions[i] of slots[i] (n rows, host arrays). *ret:
 * logits [n, V] on the host, valid until the next step. */
int decoder_step(struct decoder *d, const int32_t *ids, const int64_t *slots,
                 const int64_t *positions, int64_t n, const float **ret);
/* The rows that a step of n is filled up to: 1, 2, 4, 8, then multiples of 8, at most
 * `most`. So there are few recordings, and no step is much larger than it need be. */
int64_t decoder_rows(int64_t n, int64_t most);

#endif
