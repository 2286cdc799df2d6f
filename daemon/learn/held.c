/* held.c: see held.h. One compute thread per process counts here. */
#include "learn/held.h"

static struct held most;
static int64_t caches; /* bytes that lie there now */

static void at_least(int64_t *io, int64_t n) {
    if (n > *io)
        *io = n;
}

void held_begin(void) {
    most = (struct held){0};
}

struct held held_now(void) {
    return most;
}

void held_cache(int64_t bytes, int64_t slots, int64_t positions) {
    caches += bytes;
    if (caches <= most.cache)
        return;
    most.cache = caches;
    most.slots = slots;
    most.positions = positions;
}

void held_rows(int64_t tokens) {
    at_least(&most.rows, tokens);
}

void held_micro(int64_t tokens) {
    at_least(&most.micro, tokens);
}

void held_data(int64_t bytes) {
    most.data += bytes;
}
