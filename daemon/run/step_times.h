/* step_times.h: how long a gang's steps take: the last ones, and their 99th percentile. */
#ifndef CAI_RUN_STEP_TIMES_H
#define CAI_RUN_STEP_TIMES_H

#include <stdint.h>

enum { STEP_TIMES = 256, STEP_TIMES_MIN = 8, STEP_TIMES_MANY = 64 };

struct step_times {
    int64_t ms[STEP_TIMES], last_ms; /* when the last step was heard of; 0 = none was */
    uint32_t n;                      /* ever added */
    int64_t p99_ms, longest_ms;      /* 0 until STEP_TIMES_MIN are known */
};

/* So many more steps are done, as is heard now. The first that is heard of tells no time. Of fewer
 * than a hundred the longest counts, of more all but the longest hundredth part. */
void step_times_add(struct step_times *s, uint64_t steps, int64_t now_ms);

#endif
