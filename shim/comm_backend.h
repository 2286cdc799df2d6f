/* comm_backend.h: what comm.c asks of a backend: one exchange of bytes among all ranks,
 * on which every collective is built in a fixed order. Private to the shim; it is also
 * the border of the plug-ins, which share no code with the program: errors cross it as a
 * code and a text. */
#ifndef CAI_SHIM_COMM_BACKEND_H
#define CAI_SHIM_COMM_BACKEND_H

#include "shim/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COMM_PLUGIN_ABI 3
#define COMM_PLUGIN_SYMBOL "cai_comm_plugin"

struct comm_text {
    char text[512];
};

struct comm_backend {
    int abi;
    /* *ret_state is the backend's; 0 or a cai code with `why` filled. */
    int (*open)(const struct comm_options *o, void **ret_state, struct comm_text *why);
    void (*close)(void *state);
    /* Sends send_len[r] bytes at send[r] to every other rank r and receives recv_len[r]
     * bytes from it at recv[r]; the own rank's entries are ignored. `number` is the same
     * on all ranks and never repeats. Returns when all is sent and received, or after
     * `timeout_ms`. */
    int (*exchange)(void *state, uint64_t number, const void *const *send, const size_t *send_len,
                    void *const *recv, const size_t *recv_len, int timeout_ms,
                    struct comm_text *why);
    /* The same between device memory, after the present work of the device; NULL where a
     * backend reaches host memory alone. */
    int (*exchange_device)(void *state, uint64_t number, const void *const *send,
                           const size_t *send_len, void *const *recv, const size_t *recv_len,
                           int timeout_ms, struct comm_text *why);
    /* From another thread: the exchange that is under way, and every later one, fails with
     * CAI_ESTATE at once. */
    void (*interrupt)(void *state);
};

extern const struct comm_backend comm_single;
/* comm_open() on a backend that was found otherwise than by its name. */
int comm_open_on(const struct comm_backend *backend, const struct comm_options *o,
                 struct comm **ret);

#ifdef __cplusplus
}
#endif
#endif
