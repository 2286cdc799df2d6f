/* comm.c: the collectives of comm.h on a backend's exchange: which bytes go to whom, and
 * sums in the order of the ranks, so that equal inputs and world size give equal bits.
 * Also the table of backends and the book of collectives. Not for sockets (comm_gloo.cpp).
 *
 * States: open → broken (a collective failed: every later one is refused) → closed. */
#include "shim/comm.h"
#include "shim/comm_backend.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Elements of each rank's part per exchange: bounds the scratch of a reduction. */
enum { PIECE = 1 << 20, MAX_WORLD = 4096 };

struct comm {
    const struct comm_backend *backend;
    void *state;
    void *plugin; /* dlopen's handle or NULL */
    char name[16];
    int rank, world, timeout_ms;
    _Atomic uint64_t entered; /* collectives */
    _Atomic bool inside;
    uint64_t exchanges;
    bool broken;
    /* One entry per rank, for exchange. */
    const void **send;
    void **recv;
    size_t *send_len, *recv_len;
};

/* ---- opening ---------------------------------------------------------------------- */

/* The plug-in beside the running program: a build tree has it in shim/ of a folder above
 * the program, an installation in CAI_PLUGIN_DIR. */
static void *open_plugin(const char *file) {
    char exe[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[len > 0 ? len : 0] = 0;
    for (int up = 0; up < 5; up++) {
        char *slash = strrchr(exe, '/');
        if (!slash || slash == exe)
            break;
        *slash = 0;
        char *path = cai_format("%s/shim/%s", exe, file);
        void *handle = cai_file_exists(path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)
                                             : NULL;
        free(path);
        if (handle)
            return handle;
    }
    char *path = cai_format("%s/%s", CAI_PLUGIN_DIR, file);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    free(path);
    return handle;
}

static int load_plugin(struct comm *c, const char *file) {
    c->plugin = open_plugin(file);
    if (!c->plugin)
        return cai_fail(CAI_ENOTFOUND,
                        "the plug-in %s cannot be opened (%s); it stands in shim/ of the build "
                        "or in %s",
                        file, dlerror(), CAI_PLUGIN_DIR);
    c->backend = dlsym(c->plugin, COMM_PLUGIN_SYMBOL);
    if (!c->backend || c->backend->abi != COMM_PLUGIN_ABI)
        return cai_fail(CAI_EPROTO, "the plug-in %s is of another version than this program",
                        file);
    return 0;
}

static int choose_single(struct comm *c) {
    c->backend = &comm_single;
    return 0;
}

static int choose_gloo(struct comm *c) {
    return load_plugin(c, "comm_gloo.so");
}

static int choose_nccl(struct comm *c) {
    (void)c;
    return cai_fail(CAI_ENOTFOUND, "this version has no nccl backend; use gloo (CPU) or single");
}

static const struct {
    const char *name;
    int (*choose)(struct comm *c);
} backends[] = {{"single", choose_single}, {"gloo", choose_gloo}, {"nccl", choose_nccl}};

static int check_options(const struct comm_options *o) {
    if (o->world < 1 || o->world > MAX_WORLD || o->rank < 0 || o->rank >= o->world)
        return cai_fail(CAI_EINPUT, "rank %d of %d ranks does not exist", o->rank, o->world);
    if (o->timeout_ms < 1)
        return cai_fail(CAI_EINPUT, "a collective's deadline of %d ms is no deadline",
                        o->timeout_ms);
    if (o->world > 1 && (!o->rendezvous || !*o->rendezvous))
        return cai_fail(CAI_EINPUT, "%d ranks need a rendezvous folder", o->world);
    return 0;
}

static int open_backend(struct comm *c, const struct comm_options *o) {
    CAI_TRY(check_options(o));
    for (size_t i = 0; i < CAI_COUNT(backends); i++) {
        if (strcmp(o->backend, backends[i].name) != 0)
            continue;
        CAI_TRY(backends[i].choose(c));
        snprintf(c->name, sizeof c->name, "%s", o->backend);
        struct comm_text why = {{0}};
        int rc = c->backend->open(o, &c->state, &why);
        return rc < 0 ? cai_fail(rc, "%s, rank %d of %d: %s", c->name, c->rank, c->world, why.text)
                      : 0;
    }
    return cai_fail(CAI_EINPUT, "no collective backend is called \"%s\"; there are single, gloo "
                                "and nccl", o->backend);
}

int comm_open(const struct comm_options *o, struct comm **ret) {
    *ret = NULL;
    struct comm *c = cai_alloc(sizeof *c);
    c->rank = o->rank;
    c->world = o->world;
    c->timeout_ms = o->timeout_ms;
    int rc = open_backend(c, o);
    if (rc < 0) {
        comm_close(c);
        return rc;
    }
    size_t n = (size_t)c->world;
    c->send = cai_alloc(n * sizeof *c->send);
    c->recv = cai_alloc(n * sizeof *c->recv);
    c->send_len = cai_alloc(n * sizeof *c->send_len);
    c->recv_len = cai_alloc(n * sizeof *c->recv_len);
    *ret = c;
    return 0;
}

void comm_close(struct comm *c) {
    if (!c)
        return;
    if (c->state)
        c->backend->close(c->state);
    /* The plug-in stays loaded: Gloo's threads may still be leaving its code. */
    free(c->send);
    free(c->recv);
    free(c->send_len);
    free(c->recv_len);
    free(c);
}

int comm_rank(const struct comm *c) {
    return c->rank;
}

int comm_world(const struct comm *c) {
    return c->world;
}

uint64_t comm_progress(const struct comm *c, bool *ret_inside) {
    if (ret_inside)
        *ret_inside = atomic_load(&c->inside);
    return atomic_load(&c->entered);
}

/* ---- the book ------------------------------------------------------------------------ */

static int enter(struct comm *c, const char *what) {
    if (c->broken)
        return cai_fail(CAI_ESTATE,
                        "%s: this communicator failed before; open a new one with a fresh folder",
                        what);
    atomic_fetch_add(&c->entered, 1);
    atomic_store(&c->inside, true);
    return 0;
}

static int leave(struct comm *c, const char *what, int rc) {
    atomic_store(&c->inside, false);
    if (rc == 0)
        return 0;
    c->broken = true;
    return cai_fail_in("collective %llu (%s), rank %d of %d",
                       (unsigned long long)atomic_load(&c->entered), what, c->rank, c->world);
}

static int exchange(struct comm *c) {
    struct comm_text why = {{0}};
    int rc = c->backend->exchange(c->state, c->exchanges++, c->send, c->send_len, c->recv,
                                  c->recv_len, c->timeout_ms, &why);
    return rc < 0 ? cai_fail(rc, "%s", why.text) : 0;
}

/* ---- parts of a flat tensor ------------------------------------------------------------ */

struct flat {
    char *data;
    size_t n, width; /* elements, bytes of one */
    enum ct_dtype dtype;
};

static int flat_of(ct_tensor *t, bool sums, struct flat *ret) {
    static const size_t widths[] = {[CT_F32] = 4, [CT_BF16] = 2, [CT_F16] = 2, [CT_F64] = 8,
                                    [CT_I64] = 8, [CT_I32] = 4,  [CT_U8] = 1,  [CT_BOOL] = 1};
    ret->data = ct_host_data(t);
    ret->n = (size_t)ct_numel(t);
    ret->dtype = ct_dtype_of(t);
    ret->width = widths[ret->dtype];
    if (!t || (!ret->data && ret->n))
        return cai_fail(CAI_EINPUT, "a collective takes a contiguous CPU tensor");
    if (sums && ret->dtype != CT_F32 && ret->dtype != CT_F64)
        return cai_fail(CAI_EINPUT, "only fp32 and fp64 are summed");
    return 0;
}

/* Rank r's part of n elements: the first n % world ranks have one more. */
static size_t part_start(const struct comm *c, size_t n, int r) {
    size_t world = (size_t)c->world, i = (size_t)r, rest = n % world;
    return n / world * i + (i < rest ? i : rest);
}

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* How much of rank r's part the piece beginning `offset` elements into it holds. */
static size_t piece_len(const struct comm *c, size_t n, int r, size_t offset) {
    size_t len = part_start(c, n, r + 1) - part_start(c, n, r);
    return offset < len ? min_size(len - offset, PIECE) : 0;
}

static void add_into(const struct flat *f, char *to, const char *from, size_t n) {
    if (f->dtype == CT_F32) {
        float *a = (float *)(void *)to;
        const float *b = (const float *)(const void *)from;
        for (size_t i = 0; i < n; i++)
            a[i] += b[i];
    } else {
        double *a = (double *)(void *)to;
        const double *b = (const double *)(const void *)from;
        for (size_t i = 0; i < n; i++)
            a[i] += b[i];
    }
}

/* own := Σ over ranks, in their order. others[r] holds rank r's n elements. */
static void sum_in_order(struct comm *c, const struct flat *f, char *own, char *others, char *sum,
                         size_t n) {
    size_t bytes = n * f->width;
    for (int r = 0; r < c->world; r++) {
        const char *from = r == c->rank ? own : others + (size_t)r * bytes;
        if (r == 0)
            memcpy(sum, from, bytes);
        else
            add_into(f, sum, from, n);
    }
    memcpy(own, sum, bytes);
}

/* One piece of everybody's part: each rank receives the others' share of its own. */
static int reduce_piece(struct comm *c, const struct flat *f, size_t offset, char *scratch) {
    size_t mine = piece_len(c, f->n, c->rank, offset);
    for (int r = 0; r < c->world; r++) {
        c->send[r] = f->data + (part_start(c, f->n, r) + offset) * f->width;
        c->send_len[r] = piece_len(c, f->n, r, offset) * f->width;
        c->recv[r] = scratch + (size_t)r * mine * f->width;
        c->recv_len[r] = mine * f->width;
    }
    CAI_TRY(exchange(c));
    char *own = f->data + (part_start(c, f->n, c->rank) + offset) * f->width;
    sum_in_order(c, f, own, scratch, scratch + (size_t)c->world * mine * f->width, mine);
    return 0;
}

static int reduce_parts(struct comm *c, const struct flat *f) {
    if (c->world == 1)
        return 0;
    size_t longest = part_start(c, f->n, 1), mine = min_size(longest, PIECE);
    char *scratch = cai_alloc(((size_t)c->world + 1) * (mine ? mine : 1) * f->width);
    int rc = 0;
    for (size_t offset = 0; rc == 0 && offset < longest; offset += PIECE)
        rc = reduce_piece(c, f, offset, scratch);
    free(scratch);
    return rc;
}

static int gather_parts(struct comm *c, const struct flat *f) {
    for (int r = 0; r < c->world; r++) {
        size_t from = part_start(c, f->n, r), mine = part_start(c, f->n, c->rank);
        c->send[r] = f->data + mine * f->width;
        c->send_len[r] = (part_start(c, f->n, c->rank + 1) - mine) * f->width;
        c->recv[r] = f->data + from * f->width;
        c->recv_len[r] = (part_start(c, f->n, r + 1) - from) * f->width;
    }
    return exchange(c);
}

static int need_even(const struct comm *c, const struct flat *f) {
    if (f->n % (size_t)c->world == 0)
        return 0;
    return cai_fail(CAI_EINPUT, "%zu elements are not a multiple of %d ranks", f->n, c->world);
}

/* ---- collectives --------------------------------------------------------------------------- */

int comm_all_reduce(struct comm *c, ct_tensor *flat) {
    struct flat f;
    CAI_TRY(flat_of(flat, true, &f));
    CAI_TRY(enter(c, "all_reduce"));
    int rc = reduce_parts(c, &f);
    return leave(c, "all_reduce", rc == 0 ? gather_parts(c, &f) : rc);
}

int comm_reduce_scatter(struct comm *c, ct_tensor *flat) {
    struct flat f;
    CAI_TRY(flat_of(flat, true, &f));
    CAI_TRY(need_even(c, &f));
    CAI_TRY(enter(c, "reduce_scatter"));
    return leave(c, "reduce_scatter", reduce_parts(c, &f));
}

int comm_all_gather(struct comm *c, ct_tensor *flat) {
    struct flat f;
    CAI_TRY(flat_of(flat, false, &f));
    CAI_TRY(need_even(c, &f));
    CAI_TRY(enter(c, "all_gather"));
    return leave(c, "all_gather", gather_parts(c, &f));
}

int comm_broadcast(struct comm *c, ct_tensor *flat, int root) {
    struct flat f;
    CAI_TRY(flat_of(flat, false, &f));
    if (root < 0 || root >= c->world)
        return cai_fail(CAI_EINPUT, "rank %d of %d ranks cannot broadcast", root, c->world);
    CAI_TRY(enter(c, "broadcast"));
    for (int r = 0; r < c->world; r++) {
        c->send[r] = c->recv[r] = f.data;
        c->send_len[r] = c->rank == root ? f.n * f.width : 0;
        c->recv_len[r] = r == root ? f.n * f.width : 0;
    }
    return leave(c, "broadcast", exchange(c));
}

/* all[r · len] is rank r's block; the own one is already there. */
static int gather_blocks(struct comm *c, char *all, size_t len) {
    for (int r = 0; r < c->world; r++) {
        c->send[r] = all + (size_t)c->rank * len;
        c->recv[r] = all + (size_t)r * len;
        c->send_len[r] = c->recv_len[r] = len;
    }
    return exchange(c);
}

int comm_all_reduce_f64(struct comm *c, double *values, int n) {
    CAI_TRY(enter(c, "all_reduce_f64"));
    size_t count = (size_t)n;
    double *all = cai_alloc(((size_t)c->world * count + 1) * sizeof *all);
    memcpy(all + (size_t)c->rank * count, values, count * sizeof *values);
    int rc = gather_blocks(c, (char *)all, count * sizeof *values);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        values[i] = all[i];
        for (size_t r = 1; r < (size_t)c->world; r++)
            values[i] += all[r * count + i];
    }
    free(all);
    return leave(c, "all_reduce_f64", rc);
}

int comm_all_reduce_max(struct comm *c, int64_t *values, int n) {
    CAI_TRY(enter(c, "all_reduce_max"));
    size_t count = (size_t)n;
    int64_t *all = cai_alloc(((size_t)c->world * count + 1) * sizeof *all);
    memcpy(all + (size_t)c->rank * count, values, count * sizeof *values);
    int rc = gather_blocks(c, (char *)all, count * sizeof *values);
    for (size_t i = 0; rc == 0 && i < (size_t)c->world * count; i++)
        if (all[i] > values[i % count])
            values[i % count] = all[i];
    free(all);
    return leave(c, "all_reduce_max", rc);
}

static int gather_lengths(struct comm *c, size_t len, size_t *ret_starts) {
    uint64_t *lengths = cai_alloc((size_t)c->world * sizeof *lengths);
    lengths[c->rank] = len;
    int rc = gather_blocks(c, (char *)lengths, sizeof *lengths);
    ret_starts[0] = 0;
    for (int r = 0; r < c->world; r++)
        ret_starts[r + 1] = ret_starts[r] + lengths[r];
    free(lengths);
    return rc;
}

int comm_all_gather_bytes(struct comm *c, const void *data, size_t len, void **ret, size_t *ret_len,
                          size_t *ret_starts) {
    *ret = NULL;
    *ret_len = 0;
    CAI_TRY(enter(c, "all_gather_bytes"));
    int rc = gather_lengths(c, len, ret_starts);
    if (rc < 0)
        return leave(c, "all_gather_bytes", rc);
    size_t total = ret_starts[c->world];
    char *all = cai_alloc(total + 1);
    if (len)
        memcpy(all + ret_starts[c->rank], data, len);
    for (int r = 0; r < c->world; r++) {
        c->send[r] = all + ret_starts[c->rank];
        c->send_len[r] = len;
        c->recv[r] = all + ret_starts[r];
        c->recv_len[r] = ret_starts[r + 1] - ret_starts[r];
    }
    rc = exchange(c);
    if (rc < 0) {
        free(all);
        return leave(c, "all_gather_bytes", rc);
    }
    *ret = all;
    *ret_len = total;
    return leave(c, "all_gather_bytes", 0);
}

int comm_barrier(struct comm *c) {
    CAI_TRY(enter(c, "barrier"));
    char *one = cai_alloc((size_t)c->world);
    int rc = gather_blocks(c, one, 1);
    free(one);
    return leave(c, "barrier", rc);
}
