/* comm.c: the collectives of comm.h on a backend's exchange: which bytes go to whom, and
 * sums in the order of the ranks, so that equal inputs and world size give equal bits. What
 * lies on a device is exchanged and summed there, or copied to the host and back for a
 * backend that knows host memory alone. Also the table of backends and the book of
 * collectives. Not for sockets (comm_gloo.cpp) nor CUDA (comm_nccl.c).
 *
 * States: open → broken (a collective failed: every later one is refused) → closed. */
#include "shim/comm.h"
#include "shim/comm_backend.h"
#include "shim/comm_queue.h"
#include "shim/device_plugin.h"
#include "shim/plugin.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Elements of each rank's part per exchange: bounds the scratch of a reduction. */
enum { PIECE = 1 << 20, DEVICE_PIECE = 1 << 24, MAX_WORLD = 4096 };

struct comm {
    const struct comm_backend *backend;
    void *state;
    char name[16];
    int rank, world, timeout_ms;
    _Atomic uint64_t entered; /* collectives */
    _Atomic bool inside;
    _Atomic int64_t entered_ms; /* the last one */
    uint64_t exchanges;
    bool broken;
    struct comm_queue *queue; /* NULL until comm_begin() needs it */
    /* One entry per rank, for exchange. */
    const void **send;
    void **recv;
    size_t *send_len, *recv_len;
};

/* ---- opening ---------------------------------------------------------------------- */

/* Local, and its own symbols first: libtorch exports another Gloo. */
static int load_plugin(struct comm *c, const char *file) {
    void *module;
    CAI_TRY(plugin_open(file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND, &module));
    c->backend = dlsym(module, COMM_PLUGIN_SYMBOL);
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
    const struct device_plugin *plugin;
    if (device_plugin_get(&plugin) < 0)
        return cai_fail_in("nccl needs a GPU (gloo and single do not)");
    if (!ct_device_now().cuda)
        return cai_fail(CAI_ESTATE, "nccl connects GPUs, and this process computes on the "
                                    "processor; use gloo, or choose a GPU first");
    c->backend = plugin->nccl;
    return 0;
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

static int choose(struct comm *c, const char *name) {
    for (size_t i = 0; i < CAI_COUNT(backends); i++)
        if (strcmp(name, backends[i].name) == 0)
            return backends[i].choose(c);
    return cai_fail(CAI_EINPUT, "no collective backend is called \"%s\"; there are single, gloo "
                                "and nccl", name);
}

/* Each rank leaves word in the folder that it came, so that who did not can be named. */
static char *arrival(const struct comm_options *o, int rank) {
    return cai_format("%s/here-%d", o->rendezvous, rank);
}

static int arrive(const struct comm_options *o) {
    if (o->world == 1)
        return 0;
    CAI_AUTO(mem) char *path = arrival(o, o->rank);
    return cai_file_write_atomic(path, "", 0);
}

/* ": rank 2 did not come, rank 3 did not come", as long as there is room. */
static void name_absent(const struct comm_options *o, char *out, size_t size) {
    size_t len = 0;
    out[0] = '\0';
    for (int r = 0; r < o->world && len + 32 < size; r++) {
        CAI_AUTO(mem) char *path = arrival(o, r);
        if (!cai_file_exists(path))
            len += (size_t)snprintf(out + len, size - len, "%s rank %d did not come",
                                    len ? "," : ":", r);
    }
}

static int open_backend(struct comm *c, const struct comm_options *o) {
    struct comm_text why = {{0}};
    char absent[160] = "";
    CAI_TRY(check_options(o));
    if (!c->backend)
        CAI_TRY(choose(c, o->backend));
    snprintf(c->name, sizeof c->name, "%s", o->backend);
    CAI_TRY(arrive(o));
    int rc = c->backend->open(o, &c->state, &why);
    if (rc == CAI_ETIMEOUT)
        name_absent(o, absent, sizeof absent);
    return rc < 0 ? cai_fail(rc, "%s, rank %d of %d: %s%s", c->name, c->rank, c->world, why.text,
                             absent)
                  : 0;
}

int comm_open(const struct comm_options *o, struct comm **ret) {
    return comm_open_on(NULL, o, ret);
}

int comm_open_on(const struct comm_backend *backend, const struct comm_options *o,
                 struct comm **ret) {
    *ret = NULL;
    struct comm *c = cai_alloc(sizeof *c);
    c->backend = backend;
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
    if (c->queue) { /* what still runs is wanted by nobody, and may wait for the dead */
        comm_interrupt(c);
        comm_queue_close(c->queue);
    }
    if (c->state)
        c->backend->close(c->state);
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

int64_t comm_standing_ms(const struct comm *c) {
    int64_t since = atomic_load(&c->entered_ms);
    return atomic_load(&c->inside) ? cai_now_ms() - since + 1 : 0;
}

void comm_interrupt(struct comm *c) {
    c->backend->interrupt(c->state);
}

/* ---- the book ------------------------------------------------------------------------ */

static int enter(struct comm *c, const char *what) {
    if (c->broken)
        return cai_fail(CAI_ESTATE,
                        "%s: this communicator failed before; open a new one with a fresh folder",
                        what);
    atomic_store(&c->entered_ms, cai_now_ms());
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

static int exchange_in(struct comm *c, bool on_device) {
    struct comm_text why = {{0}};
    int rc = (on_device ? c->backend->exchange_device : c->backend->exchange)(
        c->state, c->exchanges++, c->send, c->send_len, c->recv, c->recv_len, c->timeout_ms, &why);
    return rc < 0 ? cai_fail(rc, "%s", why.text) : 0;
}

static int exchange(struct comm *c) {
    return exchange_in(c, false);
}

/* ---- parts of a flat tensor ------------------------------------------------------------ */

struct flat {
    char *data;
    size_t n, width; /* elements, bytes of one */
    enum ct_dtype dtype;
    ct_tensor *tensor;
    bool on_device; /* data is device memory */
    char *copy;     /* data, when it is ours, to be written back */
};

static int flat_of(const struct comm *c, ct_tensor *t, bool sums, struct flat *ret) {
    static const size_t widths[] = {[CT_F32] = 4, [CT_BF16] = 2, [CT_F16] = 2, [CT_F64] = 8,
                                    [CT_I64] = 8, [CT_I32] = 4,  [CT_U8] = 1,  [CT_BOOL] = 1};
    *ret = (struct flat){.data = ct_data(t), .n = (size_t)ct_numel(t), .tensor = t};
    ret->dtype = ct_dtype_of(t);
    ret->width = widths[ret->dtype];
    if (!t || (!ret->data && ret->n))
        return cai_fail(CAI_EINPUT, "a collective takes a contiguous tensor");
    if (sums && ret->dtype != CT_F32 && ret->dtype != CT_F64)
        return cai_fail(CAI_EINPUT, "only fp32 and fp64 are summed");
    if (!ct_device_of(t).cuda)
        return 0;
    ret->on_device = c->backend->exchange_device != NULL;
    if (ret->on_device)
        return 0;
    ret->data = ret->copy = cai_alloc(ret->n * ret->width + 1);
    return ct_read_raw(t, ret->copy, ret->n * ret->width);
}

/* The collective's end: what it left in our copy goes where it belongs. */
static int flat_close(struct flat *f, int rc) {
    if (f->copy && rc == 0)
        rc = ct_write_host_(f->tensor, f->dtype, f->copy);
    free(f->copy);
    return rc;
}

static size_t piece_of(const struct flat *f) {
    return f->on_device ? DEVICE_PIECE : PIECE;
}

/* Blocks, so that no part begins within the numbers that a processor takes at once: what is
 * computed of a part has then the bits of what is computed of the whole. The first ranks have
 * one block more. */
int64_t comm_part(int64_t n, int r, int world) {
    int64_t blocks = (n + COMM_BLOCK - 1) / COMM_BLOCK, rest = blocks % world;
    int64_t start = COMM_BLOCK * (blocks / world * r + (r < rest ? r : rest));
    return start < n ? start : n;
}

static size_t part_start(const struct comm *c, size_t n, int r) {
    return (size_t)comm_part((int64_t)n, r, c->world);
}

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* How much of rank r's part the piece beginning `offset` elements into it holds. */
static size_t piece_len(const struct comm *c, const struct flat *f, int r, size_t offset) {
    size_t len = part_start(c, f->n, r + 1) - part_start(c, f->n, r);
    return offset < len ? min_size(len - offset, piece_of(f)) : 0;
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

/* The same with device memory: own and sum are views of one length, others [world · n]. */
static int sum_on_device(struct comm *c, ct_scope *s, ct_tensor *own, ct_tensor *others,
                         ct_tensor *sum, int64_t n) {
    for (int r = 0; r < c->world; r++) {
        ct_tensor *from = r == c->rank ? own : ct_narrow(s, others, 0, r * n, n);
        CAI_TRY(ct_scope_status(s));
        CAI_TRY(r == 0 ? ct_copy_(sum, from) : ct_add_(sum, from, 1));
    }
    return ct_copy_(own, sum);
}

/* One piece of everybody's part: each rank receives the others' share of its own, mine
 * elements from each, into scratch. */
static int exchange_piece(struct comm *c, const struct flat *f, size_t offset, char *scratch) {
    size_t mine = piece_len(c, f, c->rank, offset);
    for (int r = 0; r < c->world; r++) {
        c->send[r] = f->data + (part_start(c, f->n, r) + offset) * f->width;
        c->send_len[r] = piece_len(c, f, r, offset) * f->width;
        c->recv[r] = scratch + (size_t)r * mine * f->width;
        c->recv_len[r] = mine * f->width;
    }
    return exchange_in(c, f->on_device);
}

static int reduce_piece(struct comm *c, const struct flat *f, size_t offset, char *scratch) {
    size_t mine = piece_len(c, f, c->rank, offset);
    CAI_TRY(exchange_piece(c, f, offset, scratch));
    char *own = f->data + (part_start(c, f->n, c->rank) + offset) * f->width;
    sum_in_order(c, f, own, scratch, scratch + (size_t)c->world * mine * f->width, mine);
    return 0;
}

/* scratch [world + 1, a piece], of the flat tensor's type. */
static int reduce_piece_on_device(struct comm *c, const struct flat *f, size_t offset,
                                  ct_tensor *scratch) {
    int64_t mine = (int64_t)piece_len(c, f, c->rank, offset), line = -1;
    int64_t at = (int64_t)(part_start(c, f->n, c->rank) + offset);
    CAI_TRY(exchange_piece(c, f, offset, ct_data(scratch)));
    if (mine == 0)
        return 0;
    ct_scope *s = ct_scope_open();
    ct_tensor *own = ct_narrow(s, ct_view(s, f->tensor, &line, 1), 0, at, mine);
    ct_tensor *sum = ct_narrow(s, scratch, 0, c->world * mine, mine);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = sum_on_device(c, s, own, scratch, sum, mine);
    ct_scope_close(s);
    return rc;
}

static int reduce_parts_on_device(struct comm *c, const struct flat *f) {
    size_t longest = part_start(c, f->n, 1); /* the first part is one of the longest */
    size_t mine = min_size(longest, piece_of(f));
    int64_t elements = (int64_t)(((size_t)c->world + 1) * (mine ? mine : 1));
    ct_scope *s = ct_scope_open();
    ct_tensor *scratch = ct_zeros(s, f->dtype, &elements, 1);
    int rc = ct_scope_status(s);
    for (size_t offset = 0; rc == 0 && offset < longest; offset += piece_of(f))
        rc = reduce_piece_on_device(c, f, offset, scratch);
    ct_scope_close(s);
    return rc;
}

static int reduce_parts(struct comm *c, const struct flat *f) {
    if (c->world == 1)
        return 0;
    if (f->on_device)
        return reduce_parts_on_device(c, f);
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
    return exchange_in(c, f->on_device);
}

/* ---- collectives --------------------------------------------------------------------------- */

/* How a collective on a tensor begins and ends, with its work between. */
static int on_flat(struct comm *c, ct_tensor *t, const char *what, bool sums,
                   int (*work)(struct comm *c, const struct flat *f)) {
    struct flat f;
    int rc = flat_of(c, t, sums, &f);
    if (rc == 0)
        rc = enter(c, what);
    if (rc == 0)
        rc = leave(c, what, work(c, &f));
    return flat_close(&f, rc);
}

static int reduce_and_gather(struct comm *c, const struct flat *f) {
    CAI_TRY(reduce_parts(c, f));
    return gather_parts(c, f);
}

static const struct {
    const char *name;
    bool sums;
    int (*work)(struct comm *c, const struct flat *f);
} flats[] = {[COMM_ALL_REDUCE] = {"all_reduce", true, reduce_and_gather},
             [COMM_REDUCE_SCATTER] = {"reduce_scatter", true, reduce_parts},
             [COMM_ALL_GATHER] = {"all_gather", false, gather_parts}};

static int carry_out(void *comm, int what, ct_tensor *flat) {
    return on_flat(comm, flat, flats[what].name, flats[what].sums, flats[what].work);
}

int comm_finish(struct comm *c) {
    return c->queue ? comm_queue_wait(c->queue) : 0;
}

int comm_begin(struct comm *c, enum comm_what what, ct_tensor *flat) {
    if (c->world == 1 || ct_device_of(flat).cuda)
        return carry_out(c, (int)what, flat);
    if (!c->queue)
        CAI_TRY(comm_queue_open(carry_out, c, &c->queue));
    return comm_queue_add(c->queue, (int)what, flat);
}

static int at_once(struct comm *c, enum comm_what what, ct_tensor *flat) {
    CAI_TRY(comm_finish(c));
    return carry_out(c, (int)what, flat);
}

int comm_all_reduce(struct comm *c, ct_tensor *flat) {
    return at_once(c, COMM_ALL_REDUCE, flat);
}

int comm_reduce_scatter(struct comm *c, ct_tensor *flat) {
    return at_once(c, COMM_REDUCE_SCATTER, flat);
}

int comm_all_gather(struct comm *c, ct_tensor *flat) {
    return at_once(c, COMM_ALL_GATHER, flat);
}

static int send_to_all(struct comm *c, const struct flat *f, int root) {
    for (int r = 0; r < c->world; r++) {
        c->send[r] = c->recv[r] = f->data;
        c->send_len[r] = c->rank == root ? f->n * f->width : 0;
        c->recv_len[r] = r == root ? f->n * f->width : 0;
    }
    return exchange_in(c, f->on_device);
}

int comm_broadcast(struct comm *c, ct_tensor *flat, int root) {
    struct flat f;
    if (root < 0 || root >= c->world)
        return cai_fail(CAI_EINPUT, "rank %d of %d ranks cannot broadcast", root, c->world);
    CAI_TRY(comm_finish(c));
    int rc = flat_of(c, flat, false, &f);
    if (rc == 0)
        rc = enter(c, "broadcast");
    if (rc == 0)
        rc = leave(c, "broadcast", send_to_all(c, &f, root));
    return flat_close(&f, rc);
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
    CAI_TRY(comm_finish(c));
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
    CAI_TRY(comm_finish(c));
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
    CAI_TRY(comm_finish(c));
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
    CAI_TRY(comm_finish(c));
    CAI_TRY(enter(c, "barrier"));
    char *one = cai_alloc((size_t)c->world);
    int rc = gather_blocks(c, one, 1);
    free(one);
    return leave(c, "barrier", rc);
}
