/* step_times.c: see step_times.h. Not for what is made of them (late.c). */
#include "run/step_times.h"
#include <stdlib.h>
#include <string.h>

static int by_length(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void sum_up(struct step_times *s) {
    int64_t sorted[STEP_TIMES];
    size_t n = s->n < STEP_TIMES ? s->n : STEP_TIMES;
    if (n < STEP_TIMES_MIN)
        return;
    memcpy(sorted, s->ms, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_length);
    int64_t p99 = sorted[n - 1 - n / 100], longest = sorted[n - 1];
    s->p99_ms = p99 > 0 ? p99 : 1;
    s->longest_ms = longest > 0 ? longest : 1;
}

void step_times_add(struct step_times *s, uint64_t steps, int64_t now_ms) {
    if (s->last_ms && steps > 0) {
        s->ms[s->n++ % STEP_TIMES] = (now_ms - s->last_ms) / (int64_t)steps;
        sum_up(s);
    }
    s->last_ms = now_ms;
}
