/* held.h: what a task held memory for, in sizes that a plan can be made of: a dry run sees a small
 * task, and says from these what a full one holds. Counted over all engines and trainers of the
 * process, since held_begin(). Not for: bytes by config.json alone (hf/memory.h), resident pages
 * (worker/peak.h). */
#ifndef CAI_LEARN_HELD_H
#define CAI_LEARN_HELD_H

#include <stdint.h>

struct held {
    int64_t cache;            /* bytes of keys and values, all caches that lay there at once */
    int64_t slots, positions; /* of the cache that brought them to that: sequences, tokens each */
    int64_t rows;             /* most tokens in one call without gradients */
    int64_t micro;            /* most tokens in one micro-batch that was learned from */
    int64_t data;             /* bytes of the rows that a trainer read */
};
void held_begin(void);
struct held held_now(void);

/* A cache of `bytes` is there; and gone, with its bytes below zero. */
void held_cache(int64_t bytes, int64_t slots, int64_t positions);
void held_rows(int64_t tokens);
void held_micro(int64_t tokens);
void held_data(int64_t bytes);

#endif
