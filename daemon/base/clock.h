/* clock.h: time for deadlines and for people. Never for anything that touches
 * training (see rng.h). */
#ifndef CAI_BASE_CLOCK_H
#define CAI_BASE_CLOCK_H
#include <stdint.h>
int64_t cai_now_ms(void);      /* monotonic */
int64_t cai_wall_ms(void);     /* since 1970, for timestamps */
void cai_wall_iso(int64_t wall_ms, char out[32]); /* 2026-01-02T03:04:05Z */
#endif
