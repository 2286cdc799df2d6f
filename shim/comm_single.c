/* comm_single.c: the backend of a gang of one: nobody to exchange with. Not for gangs of
 * several ranks, which it refuses. */
#include "shim/comm_backend.h"

#include "base/error.h"
#include <stdio.h>

static int single_open(const struct comm_options *o, void **ret_state, struct comm_text *why) {
    *ret_state = NULL;
    if (o->world == 1)
        return 0;
    snprintf(why->text, sizeof why->text, "single serves one rank, not %d; use gloo or nccl",
             o->world);
    return CAI_EINPUT;
}

static void single_close(void *state) {
    (void)state;
}

static int single_exchange(void *state, uint64_t number, const void *const *send,
                           const size_t *send_len, void *const *recv, const size_t *recv_len,
                           int timeout_ms, struct comm_text *why) {
    (void)state, (void)number, (void)send, (void)send_len;
    (void)recv, (void)recv_len, (void)timeout_ms, (void)why;
    return 0;
}

static void single_interrupt(void *state) {
    (void)state;
}

const struct comm_backend comm_single = {COMM_PLUGIN_ABI, single_open, single_close,
                                         single_exchange, single_exchange, single_interrupt};
