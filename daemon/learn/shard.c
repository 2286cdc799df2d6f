/* shard.c: see shard.h.
 *
 * States within a step: resting → summing (some buckets begun) → summed (finish) → resting
 * after the update's gathers, or after forget. */
#include "learn/shard.h"

#include "base/check.h"
#include "base/error.h"

#include <math.h>
#include <stdlib.h>

enum { BUCKET = 2 << 20 };

struct bucket {
    int64_t from, to;
    int ready; /* the layer at which backward has written all of it */
    ct_tensor *grad, *flat; /* [to - from], views */
};

struct shard {
    struct comm *comm;
    int rank, world;
    bool divided;
    struct bucket *buckets; /* in rising order of the flat buffer */
    int n_buckets, begun;   /* begun from the last on */
    struct shard_range *ranges; /* [n_buckets], or one when it is not divided */
    int n_ranges;
    ct_tensor *whole; /* the gradient, borrowed */
};

/* ---- making ---------------------------------------------------------------------------- */

/* Backward reaches the head first, then the layers from the last on, then the embedding,
 * which a head may share. */
static int ready_of(const struct model *m, const struct model_param *p) {
    if (p->file.layer >= 0)
        return p->file.layer;
    bool below = p->file.slot == HF_EMBEDDING || p->file.slot == HF_POSITIONS;
    return below ? -1 : (int)m->config.num_layers;
}

static void make_buckets(struct shard *s, const struct model *m, int64_t least) {
    const struct model_param *p = m->params;
    s->buckets = cai_alloc(((size_t)m->n_params + 1) * sizeof *s->buckets);
    for (int i = 0; i < m->n_params; i++) {
        struct bucket *b = s->n_buckets ? &s->buckets[s->n_buckets - 1] : NULL;
        int ready = ready_of(m, &p[i]);
        bool same = i > 0 && p[i].file.layer == p[i - 1].file.layer;
        if (!b || (!same && p[i].offset - b->from >= least)) {
            if (b)
                b->to = p[i].offset;
            b = &s->buckets[s->n_buckets++];
            *b = (struct bucket){.from = p[i].offset, .ready = ready};
        }
        b->ready = ready < b->ready ? ready : b->ready;
    }
    s->buckets[s->n_buckets - 1].to = m->n;
}

static void make_ranges(struct shard *s, int64_t n) {
    s->ranges = cai_alloc((size_t)s->n_buckets * sizeof *s->ranges);
    if (!s->divided) {
        s->ranges[s->n_ranges++] = (struct shard_range){0, n, 0};
        return;
    }
    int64_t at = 0;
    for (int i = 0; i < s->n_buckets; i++) {
        const struct bucket *b = &s->buckets[i];
        int64_t from = b->from + comm_part(b->to - b->from, s->rank, s->world);
        int64_t to = b->from + comm_part(b->to - b->from, s->rank + 1, s->world);
        s->ranges[s->n_ranges++] = (struct shard_range){from, to, at};
        at += to - from;
    }
}

static int keep_views(struct shard *s, const struct model *m) {
    ct_scope *scope = ct_scope_open();
    int rc = 0;
    for (int i = 0; i < s->n_buckets && rc == 0; i++) {
        struct bucket *b = &s->buckets[i];
        ct_tensor *grad = ct_narrow(scope, s->whole, 0, b->from, b->to - b->from);
        ct_tensor *flat = ct_narrow(scope, m->flat, 0, b->from, b->to - b->from);
        rc = ct_scope_status(scope);
        if (rc == 0)
            rc = ct_keep(grad, &b->grad);
        if (rc == 0)
            rc = ct_keep(flat, &b->flat);
    }
    ct_scope_close(scope);
    return rc;
}

int shard_new(const struct model *m, ct_tensor *grad, struct comm *comm, bool zero, int64_t bucket,
              struct shard **ret) {
    struct shard *s = cai_alloc(sizeof *s);
    *ret = NULL;
    *s = (struct shard){.comm = comm, .whole = grad};
    s->rank = comm ? comm_rank(comm) : 0;
    s->world = comm ? comm_world(comm) : 1;
    s->divided = zero && s->world > 1;
    make_buckets(s, m, bucket > 0 ? bucket : BUCKET);
    make_ranges(s, m->n);
    int rc = keep_views(s, m);
    if (rc < 0) {
        shard_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void shard_free(struct shard *s) {
    if (!s)
        return;
    for (int i = 0; i < s->n_buckets; i++) {
        ct_free(s->buckets[i].grad);
        ct_free(s->buckets[i].flat);
    }
    free(s->buckets);
    free(s->ranges);
    free(s);
}

bool shard_divided(const struct shard *s) {
    return s->divided;
}

const struct shard_range *shard_ranges(const struct shard *s, int *ret_n) {
    *ret_n = s->n_ranges;
    return s->ranges;
}

int64_t shard_own(const struct shard *s) {
    const struct shard_range *last = &s->ranges[s->n_ranges - 1];
    return last->at + last->to - last->from;
}

int shard_buckets(const struct shard *s) {
    return s->n_buckets;
}

/* ---- gradients --------------------------------------------------------------------------- */

int shard_begin(struct shard *s, int layer) {
    while (s->world > 1 && s->begun < s->n_buckets) {
        struct bucket *b = &s->buckets[s->n_buckets - 1 - s->begun];
        if (layer > b->ready)
            return 0;
        CAI_TRY(comm_begin(s->comm, s->divided ? COMM_REDUCE_SCATTER : COMM_ALL_REDUCE, b->grad));
        s->begun++;
    }
    return 0;
}

/* Σ of squares over rank r's parts, bucket by bucket. */
static int add_squares(const struct shard *s, ct_scope *scope, int r, double *sum) {
    *sum = 0;
    for (int i = 0; i < s->n_buckets; i++) {
        const struct bucket *b = &s->buckets[i];
        int64_t n = b->to - b->from, from = comm_part(n, r, s->world);
        int64_t len = comm_part(n, r + 1, s->world) - from;
        double norm = 0;
        if (len == 0)
            continue;
        ct_tensor *part = ct_narrow(scope, b->grad, 0, from, len);
        CAI_TRY(ct_scope_status(scope));
        CAI_TRY(ct_norm(part, &norm));
        *sum += norm * norm;
    }
    return 0;
}

/* The sum over ranks of each one's own squares, in their order, whether or not this rank
 * knows the parts of the others. */
static int norm_of_parts(const struct shard *s, ct_scope *scope, double *ret) {
    double square = 0;
    if (s->divided) {
        CAI_TRY(add_squares(s, scope, s->rank, &square));
        CAI_TRY(comm_all_reduce_f64(s->comm, &square, 1));
    }
    for (int r = 0; r < s->world && !s->divided; r++) {
        double part;
        CAI_TRY(add_squares(s, scope, r, &part));
        square = r == 0 ? part : square + part;
    }
    *ret = sqrt(square);
    return 0;
}

/* libtorch makes a copy in fp64 of what it takes the norm of: a stretch at a time, then. */
enum { NORM_STRETCH = 16 << 20 };

static int norm_of_whole(ct_tensor *t, double *ret) {
    int64_t n = ct_numel(t);
    double square = 0, part;
    if (n <= NORM_STRETCH)
        return ct_norm(t, ret);
    ct_scope *scope = ct_scope_open();
    int rc = 0;
    for (int64_t at = 0; at < n && rc == 0; at += NORM_STRETCH) {
        ct_tensor *x = ct_narrow(scope, t, 0, at, n - at < NORM_STRETCH ? n - at : NORM_STRETCH);
        rc = ct_scope_status(scope);
        if (rc == 0)
            rc = ct_norm(x, &part);
        square += rc == 0 ? part * part : 0;
    }
    ct_scope_close(scope);
    *ret = sqrt(square);
    return rc;
}

int shard_finish(struct shard *s, double *ret_norm) {
    if (s->world == 1)
        return norm_of_whole(s->whole, ret_norm);
    CAI_TRY(shard_begin(s, -1));
    CAI_TRY(comm_finish(s->comm));
    s->begun = 0;
    ct_scope *scope = ct_scope_open();
    int rc = norm_of_parts(s, scope, ret_norm);
    ct_scope_close(scope);
    return rc;
}

int shard_forget(struct shard *s) {
    bool begun = s->begun > 0;
    s->begun = 0;
    return begun ? comm_finish(s->comm) : 0;
}

/* ---- parameters -------------------------------------------------------------------------- */

int shard_gather(struct shard *s, int range) {
    return s->divided ? comm_begin(s->comm, COMM_ALL_GATHER, s->buckets[range].flat) : 0;
}

int shard_gathered(struct shard *s) {
    return s->divided ? comm_finish(s->comm) : 0;
}
