/* ranks.h: for programs that are one rank of a gang: a failure is said and ends the rank; numbers
 * of which every rank knows the sum in rank order. */
#ifndef CAI_TEST_SHIM_RANKS_H
#define CAI_TEST_SHIM_RANKS_H

#include "base/error.h"
#include <stdint.h>
#include <stdio.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, cai_error_text());          \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static inline float value(int rank, int64_t i) {
    return (float)((rank + 1) * (i % 977)) * 0.37f + 1e-3f * (float)i;
}

static inline float sum_of_ranks(int world, int64_t i) {
    float sum = value(0, i);
    for (int r = 1; r < world; r++)
        sum += value(r, i);
    return sum;
}

#endif
