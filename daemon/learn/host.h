/* host.h: what a training run asks of whoever runs it: reports upward, the commit of a
 * checkpoint, the wish to stop. NULL functions are skipped (tests, the clerk's base). */
#ifndef CAI_LEARN_HOST_H
#define CAI_LEARN_HOST_H

#include "cai.pb-c.h"
#include <stdbool.h>
#include <stdint.h>

struct learn_host {
    void *context;
    void (*report)(void *context, Cai__V1__Report *report);
    /* Returns when the folder is committed (older ones may go then), or a code. */
    int (*commit)(void *context, const char *folder, const char *manifest_hash, uint64_t step);
    bool (*stopping)(void *context);
};

/* Who a draw belongs to: rule 2, (job seed, round, …). */
struct learn_seed {
    uint64_t seed;
    uint32_t round;
};

#endif
