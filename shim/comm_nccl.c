/* comm_nccl.c: the exchange of comm_backend.h over NCCL, in the CUDA plug-in: point-to-point
 * sends and receives, so that comm.c sums in its own order, as with Gloo. Non-blocking
 * communicators throughout (NCCL user guide, "Fault tolerance"): no call waits inside NCCL,
 * so a peer that is gone costs a deadline and not the process. Not for sums (comm.c).
 *
 * States: meeting (open: the id comes through the rendezvous folder, then all ranks join)
 * → joined → broken (a call failed or was late: the communicator is aborted at once, only
 * close is left). Each communicator has an id of its own, so a new gang needs a new folder.
 * One thread calls at a time; the stream is the device's present one.
 *
 * NCCL does not say for whom it waits. So a rank that has waited for a while leaves the number
 * of its exchange in the rendezvous folder: at the deadline the late are those that did not. */
#include "shim/comm_backend.h"

#include "base/error.h"
#include <cuda_runtime_api.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nccl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MIN_NS = 20000, PAUSE_MAX_NS = 1000000, CLOSE_MS = 10000, TOLD_AFTER = 4 };

void *cai_cuda_stream(void); /* cuda_plugin.cpp */
extern const struct comm_backend cai_comm_nccl;

struct state {
    ncclComm_t comm; /* NULL once aborted */
    int rank, world;
    char folder[PATH_MAX - 64];
    uint64_t number; /* of the exchange under way */
    _Atomic bool interrupted;
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
    int64_t until_ms, tell_ms; /* tell_ms: when others are told that this rank waits */
    long pause_ns;
};

static struct wait wait_for(int timeout_ms) {
    int64_t now = now_ms();
    return (struct wait){now + timeout_ms, now + timeout_ms / TOLD_AFTER, PAUSE_MIN_NS};
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

/* ---- who is late ---------------------------------------------------------------------------- */

static bool path_of(const struct state *s, int rank, char path[PATH_MAX]) {
    return snprintf(path, PATH_MAX, "%s/waits-%d", s->folder, rank) < PATH_MAX;
}

/* A number has 16 digits, so that one write is whole or absent to a reader. */
static void tell(const struct state *s) {
    char path[PATH_MAX], text[17];
    int fd = path_of(s, s->rank, path) ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    snprintf(text, sizeof text, "%016" PRIx64, s->number + 1);
    if (fd < 0)
        return; /* then this rank is named, too */
    if (pwrite(fd, text, 16, 0) < 16)
        (void)ftruncate(fd, 0);
    close(fd);
}

/* One more than the number of the last exchange that a rank was long in; 0: in none. */
static uint64_t told(const struct state *s, int rank) {
    char path[PATH_MAX], text[17] = "";
    int fd = path_of(s, rank, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t n = pread(fd, text, 16, 0);
    close(fd);
    return n == 16 ? strtoull(text, NULL, 16) : 0;
}

/* CAI_ETIMEOUT with the ranks that did not come to this exchange. */
static int late(struct state *s, const char *doing, struct comm_text *why) {
    char who[256] = "";
    size_t len = 0;
    int n = 0;
    for (int r = 0; r < s->world && len + 24 < sizeof who; r++)
        if (r != s->rank && s->number + 1 > told(s, r))
            len += (size_t)snprintf(who + len, sizeof who - len, "%srank %d", n++ ? ", " : "", r);
    return say(why, CAI_ETIMEOUT, "%s: %s %s late", doing, n ? who : "a peer", n > 1 ? "are" : "is");
}

/* 0 after a pause, or why there shall be no further. */
static int wait_on(struct state *s, const char *doing, struct wait *w, struct comm_text *why) {
    if (atomic_load(&s->interrupted))
        return say(why, CAI_ESTATE, "%s: told to stop", doing);
    if (pause_a_little(w)) {
        if (w->tell_ms && now_ms() >= w->tell_ms) {
            tell(s);
            w->tell_ms = 0;
        }
        return 0;
    }
    return late(s, doing, why);
}

/* ---- what CUDA and NCCL say ------------------------------------------------------------------ */

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
        rc = wait_on(s, doing, w, why);
        if (rc < 0)
            return rc;
    }
}

/* Ends what runs on the device as well; a peer's rank sees it as an error or a silence. An
 * abort that fails leaves work on the device that nobody can end: then the process is lost,
 * which CAI_EINTERNAL says. Returns rc otherwise. */
static int give_up(struct state *s, int rc, struct comm_text *why) {
    ncclResult_t ended = s->comm ? ncclCommAbort(s->comm) : ncclSuccess;
    s->comm = NULL;
    if (ended == ncclSuccess || ended == ncclInProgress)
        return rc;
    size_t len = strlen(why->text);
    snprintf(why->text + len, sizeof why->text - len, "; and the communicator cannot be ended: %s",
             ncclGetErrorString(ended));
    return CAI_EINTERNAL;
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
    s->number = UINT64_MAX; /* before the first exchange: nobody has been late yet */
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
    atomic_store(&s->interrupted, false);
    if (s->comm && nccl_said(&unsaid, "", s->comm, ncclCommFinalize(s->comm)) == 0 &&
        wait_idle(s, "", &w, &unsaid) == 0) {
        ncclCommDestroy(s->comm);
        s->comm = NULL;
    }
    (void)give_up(s, 0, &unsaid);
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
    if (o->world > 1 && snprintf(s->folder, sizeof s->folder, "%s", o->rendezvous) >=
                            (int)sizeof s->folder) {
        free(s);
        return say(why, CAI_EINPUT, "%s: too long a path", o->rendezvous);
    }
    s->rank = o->rank;
    s->world = o->world;
    int rc = join(s, o, why);
    if (rc < 0) {
        rc = give_up(s, rc, why);
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
            rc = wait_on(s, doing, w, why);
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
    return rc < 0 ? give_up(s, rc, why) : 0;
}

static int exchange_device(void *state, uint64_t number, const void *const *send,
                           const size_t *send_len, void *const *recv, const size_t *recv_len,
                           int timeout_ms, struct comm_text *why) {
    struct state *s = state;
    struct wait w = wait_for(timeout_ms);
    s->number = number; /* calls match by their order: this is for people */
    return exchange_parcels(s, &(struct parcels){send, send_len, recv, recv_len}, &w, why);
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
    struct state *s = state;
    struct wait w = wait_for(timeout_ms);
    s->number = number;
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
    return rc < 0 ? give_up(s, rc, why) : 0;
}

static void interrupt(void *state) {
    struct state *s = state;
    atomic_store(&s->interrupted, true);
}

const struct comm_backend cai_comm_nccl = {COMM_PLUGIN_ABI, open_gang, close_gang, exchange,
                                           exchange_device, interrupt};
