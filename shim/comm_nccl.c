/* comm_nccl.c: the exchange of comm_backend.h over NCCL, in the CUDA plug-in: point-to-point
 * sends and receives, so that comm.c sums in its own order, as with Gloo. Non-blocking
 * communicators throughout (NCCL user guide, "Fault tolerance"): no call waits inside NCCL,
 * so a peer that is gone costs a deadline and not the process. Not for sums (comm.c).
 *
 * States: meeting (open: the id comes through the rendezvous folder, then all ranks join)
 * → joined → broken (a call failed or was late: the communicator is aborted at once, only
 * close is left). Each communicator has an id of its own, so a new gang needs a new folder.
 * One thread calls; the stream is the device's present one. */
#include "shim/comm_backend.h"

#include "base/error.h"
#include <cuda_runtime_api.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nccl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MIN_NS = 20000, PAUSE_MAX_NS = 1000000, CLOSE_MS = 10000 };

void *cai_cuda_stream(void); /* cuda_plugin.cpp */
extern const struct comm_backend cai_comm_nccl;

struct state {
    ncclComm_t comm; /* NULL once aborted */
    int rank, world;
    cudaEvent_t done;
    char *staging; /* device memory for what lies in host memory */
    size_t staging_size;
};

/* ---- waiting and failing ------------------------------------------------------------------ */

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A wait that begins short, for an exchange takes microseconds, and grows. */
struct wait {
    int64_t until_ms;
    long pause_ns;
};

static struct wait wait_for(int timeout_ms) {
    return (struct wait){now_ms() + timeout_ms, PAUSE_MIN_NS};
}

static bool pause_a_little(struct wait *w) {
    nanosleep(&(struct timespec){0, w->pause_ns}, NULL);
    w->pause_ns = 2 * w->pause_ns < PAUSE_MAX_NS ? 2 * w->pause_ns : PAUSE_MAX_NS;
    return now_ms() < w->until_ms;
}

static int say(struct comm_text *why, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int say(struct comm_text *why, int code, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(why->text, sizeof why->text, format, ap);
    va_end(ap);
    return code;
}

static int late(struct comm_text *why, const char *doing) {
    return say(why, CAI_ETIMEOUT, "%s: a peer is late", doing);
}

static int cuda_said(struct comm_text *why, const char *doing, cudaError_t rc) {
    if (rc == cudaSuccess)
        return 0;
    return say(why, rc == cudaErrorMemoryAllocation ? CAI_ENOMEM : CAI_EIO, "%s: CUDA: %s", doing,
               cudaGetErrorString(rc));
}

/* An operation that goes on in the background is no failure. */
static int nccl_said(struct comm_text *why, const char *doing, ncclComm_t comm, ncclResult_t rc) {
    if (rc == ncclSuccess || rc == ncclInProgress)
        return 0;
    const char *more = ncclGetLastError(comm);
    return say(why, CAI_EIO, "%s: NCCL: %s%s%s", doing, ncclGetErrorString(rc),
               more && *more ? ": " : "", more ? more : "");
}

/* 1 while NCCL works in the background, 0 when it is done, or a code. */
static int under_way(struct state *s, const char *doing, struct comm_text *why) {
    ncclResult_t state = ncclSuccess;
    ncclResult_t rc = ncclCommGetAsyncError(s->comm, &state);
    int code = nccl_said(why, doing, s->comm, rc);
    if (code == 0)
        code = nccl_said(why, doing, s->comm, state);
    return code < 0 ? code : state == ncclInProgress;
}

static int wait_idle(struct state *s, const char *doing, struct wait *w, struct comm_text *why) {
    for (;;) {
        int rc = under_way(s, doing, why);
        if (rc <= 0)
            return rc;
        if (!pause_a_little(w))
            return late(why, doing);
    }
}

/* Ends what runs on the device as well; a peer's rank sees it as an error or a silence. */
static void give_up(struct state *s) {
    if (s->comm)
        ncclCommAbort(s->comm);
    s->comm = NULL;
}

/* ---- meeting ------------------------------------------------------------------------------- */

static int leave_id(const char *path, const ncclUniqueId *id, struct comm_text *why) {
    char partial[PATH_MAX];
    if (snprintf(partial, sizeof partial, "%s.partial", path) >= (int)sizeof partial)
        return say(why, CAI_EINPUT, "%s: too long a path", path);
    int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool whole = fd >= 0 && write(fd, id, sizeof *id) == (ssize_t)sizeof *id;
    if (fd >= 0)
        whole = close(fd) == 0 && whole;
    if (whole && rename(partial, path) == 0)
        return 0;
    return say(why, CAI_EIO, "%s: %s", partial, strerror(errno));
}

static int take_id(const char *path, ncclUniqueId *id, struct wait *w, struct comm_text *why) {
    do {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, id, sizeof *id) : 0;
        if (fd >= 0)
            close(fd);
        if (n == (ssize_t)sizeof *id)
            return 0;
    } while (pause_a_little(w));
    return say(why, CAI_ETIMEOUT, "meeting the other ranks: rank 0 is late (it leaves its id in %s)",
               path);
}

static int agree_on_id(const struct comm_options *o, ncclUniqueId *id, struct wait *w,
                       struct comm_text *why) {
    char path[PATH_MAX];
    if (o->rank == 0) {
        int rc = nccl_said(why, "making an id", NULL, ncclGetUniqueId(id));
        if (rc < 0 || o->world == 1)
            return rc;
    }
    if (snprintf(path, sizeof path, "%s/nccl-id", o->rendezvous) >= (int)sizeof path)
        return say(why, CAI_EINPUT, "%s: too long a path", o->rendezvous);
    return o->rank == 0 ? leave_id(path, id, why) : take_id(path, id, w, why);
}

/* NCCL's own sockets know no authentication: they listen on the named interface alone. */
static void bind_to(const char *interface) {
    char exactly[64];
    snprintf(exactly, sizeof exactly, "=%s", interface && *interface ? interface : "lo");
    setenv("NCCL_SOCKET_IFNAME", exactly, 1);
}

static int join(struct state *s, const struct comm_options *o, struct comm_text *why) {
    static const char doing[] = "meeting the other ranks";
    struct wait w = wait_for(o->timeout_ms);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    int version = 0;
    config.blocking = 0;
    bind_to(o->interface);
    int rc = nccl_said(why, "asking for its version", NULL, ncclGetVersion(&version));
    if (rc == 0 && version < NCCL_VERSION_CODE)
        rc = say(why, CAI_EPROTO, "NCCL %d is loaded, and %d was built with; two are installed",
                 version, NCCL_VERSION_CODE);
    if (rc == 0)
        rc = agree_on_id(o, &id, &w, why);
    if (rc == 0)
        rc = nccl_said(why, doing, NULL,
                       ncclCommInitRankConfig(&s->comm, o->world, id, o->rank, &config));
    if (rc == 0)
        rc = wait_idle(s, doing, &w, why);
    if (rc == 0)
        rc = cuda_said(why, doing, cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming));
    return rc;
}

static void close_gang(void *state) {
    struct state *s = state;
    struct comm_text unsaid = {{0}};
    struct wait w = wait_for(CLOSE_MS);
    if (s->comm && nccl_said(&unsaid, "", s->comm, ncclCommFinalize(s->comm)) == 0 &&
        wait_idle(s, "", &w, &unsaid) == 0) {
        ncclCommDestroy(s->comm);
        s->comm = NULL;
    }
    give_up(s);
    if (s->done)
        cudaEventDestroy(s->done);
    if (s->staging)
        cudaFree(s->staging);
    free(s);
}

static int open_gang(const struct comm_options *o, void **ret_state, struct comm_text *why) {
    struct state *s = calloc(1, sizeof *s);
    *ret_state = NULL;
    if (!s)
        return say(why, CAI_ENOMEM, "out of memory");
    s->rank = o->rank;
    s->world = o->world;
    int rc = join(s, o, why);
    if (rc < 0) {
        give_up(s);
        close_gang(s);
        return rc;
    }
    *ret_state = s;
    return 0;
}

/* ---- exchanging ---------------------------------------------------------------------------- */

/* What one exchange moves; every rank's entries match the others'. */
struct parcels {
    const void *const *send;
    const size_t *send_len;
    void *const *recv;
    const size_t *recv_len;
};

static int post(struct state *s, const struct parcels *p, struct comm_text *why) {
    static const char doing[] = "exchanging";
    cudaStream_t stream = cai_cuda_stream();
    int rc = nccl_said(why, doing, s->comm, ncclGroupStart());
    for (int r = 0; rc == 0 && r < s->world; r++) {
        if (r == s->rank)
            continue;
        if (p->send_len[r])
            rc = nccl_said(why, doing, s->comm,
                           ncclSend(p->send[r], p->send_len[r], ncclInt8, r, s->comm, stream));
        if (rc == 0 && p->recv_len[r])
            rc = nccl_said(why, doing, s->comm,
                           ncclRecv(p->recv[r], p->recv_len[r], ncclInt8, r, s->comm, stream));
    }
    ncclResult_t end = ncclGroupEnd();
    return rc < 0 ? rc : nccl_said(why, doing, s->comm, end);
}

/* Until the device has done all that was asked of it so far. */
static int wait_done(struct state *s, struct wait *w, struct comm_text *why) {
    static const char doing[] = "exchanging";
    int rc = cuda_said(why, doing, cudaEventRecord(s->done, cai_cuda_stream()));
    while (rc == 0) {
        cudaError_t state = cudaEventQuery(s->done);
        if (state == cudaSuccess)
            return 0;
        if (state != cudaErrorNotReady)
            return cuda_said(why, doing, state);
        rc = under_way(s, doing, why);
        if (rc >= 0)
            rc = pause_a_little(w) ? 0 : late(why, doing);
    }
    return rc;
}

static int exchange_parcels(struct state *s, const struct parcels *p, struct wait *w,
                            struct comm_text *why) {
    int rc = s->comm ? post(s, p, why) : say(why, CAI_ESTATE, "this gang was given up before");
    if (rc == 0)
        rc = wait_idle(s, "exchanging", w, why);
    if (rc == 0)
        rc = wait_done(s, w, why);
    if (rc < 0)
        give_up(s);
    return rc;
}

static int exchange_device(void *state, uint64_t number, const void *const *send,
                           const size_t *send_len, void *const *recv, const size_t *recv_len,
                           int timeout_ms, struct comm_text *why) {
    (void)number; /* calls match by their order */
    struct wait w = wait_for(timeout_ms);
    return exchange_parcels(state, &(struct parcels){send, send_len, recv, recv_len}, &w, why);
}

static size_t aligned(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

/* Device memory of at least that size. */
static int make_staging(struct state *s, size_t size, struct comm_text *why) {
    if (size <= s->staging_size)
        return 0;
    if (s->staging)
        cudaFree(s->staging);
    s->staging = NULL;
    s->staging_size = 0;
    int rc = cuda_said(why, "exchanging", cudaMalloc((void **)&s->staging, size));
    if (rc == 0)
        s->staging_size = size;
    return rc;
}

/* Host memory goes through the staging: [what is sent to each | what comes from each]. */
struct staged {
    const void **send;
    void **recv;
};

static int stage(struct state *s, const struct parcels *p, struct staged *to,
                 struct comm_text *why) {
    size_t size = 0;
    for (int r = 0; r < s->world; r++)
        size += aligned(p->send_len[r]) + aligned(p->recv_len[r]);
    int rc = make_staging(s, size ? size : 1, why);
    char *at = s->staging;
    for (int r = 0; rc == 0 && r < s->world; r++) {
        to->send[r] = at;
        to->recv[r] = at + aligned(p->send_len[r]);
        at += aligned(p->send_len[r]) + aligned(p->recv_len[r]);
        if (r != s->rank && p->send_len[r])
            rc = cuda_said(why, "exchanging",
                           cudaMemcpyAsync((void *)to->send[r], p->send[r], p->send_len[r],
                                           cudaMemcpyHostToDevice, cai_cuda_stream()));
    }
    return rc;
}

static int unstage(struct state *s, const struct parcels *p, const struct staged *from,
                   struct comm_text *why) {
    int rc = 0;
    for (int r = 0; rc == 0 && r < s->world; r++)
        if (r != s->rank && p->recv_len[r])
            rc = cuda_said(why, "exchanging",
                           cudaMemcpyAsync(p->recv[r], from->recv[r], p->recv_len[r],
                                           cudaMemcpyDeviceToHost, cai_cuda_stream()));
    return rc < 0 ? rc : cuda_said(why, "exchanging", cudaStreamSynchronize(cai_cuda_stream()));
}

static int exchange(void *state, uint64_t number, const void *const *send, const size_t *send_len,
                    void *const *recv, const size_t *recv_len, int timeout_ms,
                    struct comm_text *why) {
    (void)number;
    struct state *s = state;
    struct wait w = wait_for(timeout_ms);
    struct parcels outer = {send, send_len, recv, recv_len};
    struct staged staged = {calloc((size_t)s->world, sizeof *staged.send),
                            calloc((size_t)s->world, sizeof *staged.recv)};
    int rc = staged.send && staged.recv ? stage(s, &outer, &staged, why)
                                        : say(why, CAI_ENOMEM, "out of memory");
    struct parcels inner = {staged.send, send_len, staged.recv, recv_len};
    if (rc == 0)
        rc = exchange_parcels(s, &inner, &w, why);
    if (rc == 0)
        rc = unstage(s, &outer, &staged, why);
    free((void *)staged.send);
    free(staged.recv);
    if (rc < 0)
        give_up(s);
    return rc;
}

const struct comm_backend cai_comm_nccl = {COMM_PLUGIN_ABI, open_gang, close_gang, exchange,
                                           exchange_device};
