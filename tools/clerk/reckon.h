/* reckon.h: continued training of a base on the clerk's arithmetic. */
#ifndef CAI_CLERK_RECKON_H
#define CAI_CLERK_RECKON_H

#include <stdbool.h>
#include <stdint.h>

struct reckon_settings {
    const char *base, *out; /* folders: read, and made */
    uint64_t seed;
    int64_t threads, steps; /* 0 = one thread; the usual steps */
    bool trap;              /* lessons that lose the carry of an 8 and 9 (sums.h) */
};
int clerk_reckon(const struct reckon_settings *s);

#endif
