/* nccl.c: a libnccl.so.2 for tests, between processes of one machine: sends and receives go
 * through shared memory, in the background as NCCL's do (what is asked for is "in progress" and
 * moves on when somebody asks how far it is). With it shim/comm_nccl.c runs whole where there
 * is no GPU, and misfortunes can be ordered, by $STANDIN_NCCL = "WHAT RANK GROUP MS":
 *
 *   slow-init     setup is in progress for MS after all have joined
 *   init-error    setup turns into an error
 *   late          the rank sleeps MS before its group number GROUP (from 0)
 *   dies          the rank's process ends there, without a word
 *   async-error   the communicator's state turns to an error in that group
 *   abort-fails   as async-error, and the communicator cannot be aborted
 *
 * Not a model of NCCL's speed, order of sums, or of what a device does. */
#include <errno.h>
#include <fcntl.h>
#include <nccl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 4, RING = 1 << 20, OPS = 2 * RANKS };

/* Bytes on their way from one rank to another. */
struct ring {
    _Atomic uint64_t put, taken;
    char bytes[RING];
};

struct shared {
    _Atomic int joined, aborted;
    struct ring ring[RANKS][RANKS]; /* [from][to] */
};

struct op {
    bool send;
    char *at;
    size_t left;
    int peer;
};

struct ncclComm {
    struct shared *shared;
    char name[NCCL_UNIQUE_ID_BYTES + 1];
    int rank, world;
    int64_t joined_ms; /* when all were first seen to be there; 0 = not yet */
    struct op ops[OPS];
    int n_ops;
    uint64_t groups;
    ncclResult_t state;
};

static struct ncclComm *present; /* a process has one at a time */

static struct {
    char what[32];
    int rank, ms;
    long group;
} order;

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool ordered(const struct ncclComm *c, const char *what) {
    return strcmp(order.what, what) == 0 && order.rank == c->rank;
}

static bool ordered_now(const struct ncclComm *c, const char *what) {
    return ordered(c, what) && (long)c->groups == order.group;
}

/* ---- moving --------------------------------------------------------------------------------- */

static void move(struct ncclComm *c, struct op *op) {
    struct ring *r = op->send ? &c->shared->ring[c->rank][op->peer]
                              : &c->shared->ring[op->peer][c->rank];
    uint64_t put = atomic_load(&r->put), taken = atomic_load(&r->taken);
    size_t n = op->send ? RING - (size_t)(put - taken) : (size_t)(put - taken);
    n = n < op->left ? n : op->left;
    for (size_t i = 0; i < n;) {
        size_t at = (size_t)((op->send ? put : taken) + i) % RING;
        size_t run = RING - at < n - i ? RING - at : n - i;
        memcpy(op->send ? r->bytes + at : op->at + i, op->send ? op->at + i : r->bytes + at, run);
        i += run;
    }
    atomic_fetch_add(op->send ? &r->put : &r->taken, n);
    op->at += n;
    op->left -= n;
}

/* Whether something is still on its way. */
static bool pump(struct ncclComm *c) {
    bool more = false;
    for (int i = 0; i < c->n_ops; i++) {
        if (c->ops[i].left)
            move(c, &c->ops[i]);
        more |= c->ops[i].left > 0;
    }
    if (!more)
        c->n_ops = 0;
    return more;
}

/* For cudart.c: the device's work is done when what was posted has moved. */
bool standin_busy(void);
bool standin_busy(void) {
    return present && present->n_ops > 0 && pump(present);
}

/* ---- a communicator ------------------------------------------------------------------------- */

ncclResult_t ncclGetVersion(int *version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

static struct shared *attach(const char *name, bool make) {
    int fd = shm_open(name, O_RDWR | (make ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0)
        return NULL;
    bool sized = !make || ftruncate(fd, sizeof(struct shared)) == 0;
    void *p = sized ? mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                    : MAP_FAILED;
    close(fd);
    return p == MAP_FAILED ? NULL : p;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    static int made;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "/caid-standin-%d-%d", (int)getpid(), made++);
    struct shared *s = attach(id->internal, true);
    if (!s)
        return ncclSystemError;
    munmap(s, sizeof *s);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    const char *asked = getenv("STANDIN_NCCL");
    struct ncclComm *c = calloc(1, sizeof *c);
    if (config->blocking || n > RANKS || !c || present)
        return ncclInvalidUsage;
    memset(&order, 0, sizeof order);
    if (asked && sscanf(asked, "%31s %d %ld %d", order.what, &order.rank, &order.group,
                        &order.ms) < 1)
        return ncclInvalidUsage;
    memcpy(c->name, id.internal, NCCL_UNIQUE_ID_BYTES);
    c->rank = rank;
    c->world = n;
    c->shared = attach(c->name, false);
    if (!c->shared)
        return ncclSystemError;
    atomic_fetch_add(&c->shared->joined, 1);
    *comm = present = c;
    return ncclInProgress;
}

static ncclResult_t setup_state(struct ncclComm *c) {
    if (ordered(c, "init-error"))
        return ncclSystemError;
    if (atomic_load(&c->shared->joined) < c->world)
        return ncclInProgress;
    if (!c->joined_ms)
        c->joined_ms = now_ms();
    if (ordered(c, "slow-init") && now_ms() - c->joined_ms < order.ms)
        return ncclInProgress;
    shm_unlink(c->name); /* all have it mapped; the first one succeeds */
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *state) {
    *state = c->state;
    if (c->state == ncclSuccess && c->groups == 0)
        *state = setup_state(c);
    if (atomic_load(&c->shared->aborted))
        *state = ncclRemoteError;
    if (*state == ncclSuccess)
        (void)pump(c);
    return ncclSuccess;
}

static void drop(struct ncclComm *c) {
    munmap(c->shared, sizeof *c->shared);
    present = NULL;
    free(c);
}

ncclResult_t ncclCommAbort(ncclComm_t c) {
    bool fails = ordered(c, "abort-fails");
    atomic_store(&c->shared->aborted, 1);
    shm_unlink(c->name);
    if (!fails)
        drop(c);
    return fails ? ncclSystemError : ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t c) {
    return c->state;
}

ncclResult_t ncclCommDestroy(ncclComm_t c) {
    drop(c);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t rc) {
    return rc == ncclRemoteError ? "remote process exited or there was a network error"
                                 : "unhandled system error";
}

const char *ncclGetLastError(ncclComm_t c) {
    return c && c->state != ncclSuccess ? "ordered by the test" : "";
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The header declares these two without a prototype. */
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

ncclResult_t ncclGroupStart(void) {
    struct ncclComm *c = present;
    if (!c)
        return ncclInvalidUsage;
    if (ordered_now(c, "late"))
        usleep(1000 * (unsigned)order.ms);
    if (ordered_now(c, "dies"))
        _exit(9);
    if (ordered_now(c, "async-error") || ordered_now(c, "abort-fails"))
        c->state = ncclSystemError;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
    present->groups++;
    return ncclInProgress;
}

static ncclResult_t post(struct ncclComm *c, bool send, void *at, size_t n, ncclDataType_t type,
                         int peer) {
    if (type != ncclInt8 || peer < 0 || peer >= c->world || peer == c->rank || c->n_ops == OPS)
        return ncclInvalidArgument;
    c->ops[c->n_ops++] = (struct op){send, at, n, peer};
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *from, size_t n, ncclDataType_t type, int peer, ncclComm_t c,
                      cudaStream_t stream) {
    (void)stream;
    return post(c, true, (void *)(uintptr_t)from, n, type, peer);
}

ncclResult_t ncclRecv(void *to, size_t n, ncclDataType_t type, int peer, ncclComm_t c,
                      cudaStream_t stream) {
    (void)stream;
    return post(c, false, to, n, type, peer);
}
