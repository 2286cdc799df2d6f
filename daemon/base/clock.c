/* clock.c: monotonic and wall time. */
#include "base/clock.h"
#include <time.h>

static int64_t ms_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t cai_now_ms(void) { return ms_of(CLOCK_MONOTONIC); }
int64_t cai_wall_ms(void) { return ms_of(CLOCK_REALTIME); }

void cai_wall_iso(int64_t wall_ms, char out[32]) {
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
