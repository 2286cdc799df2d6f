/* engine_decode.c: see engine_decode.h. A frame is unmade → made (its inputs' tensors are
 * there) → recorded, at the first step of its number of rows; then it is replayed for ever:
 * inputs are copied into the tensors it reads, logits out of the tensor it writes. While it
 * is made and recorded all its rows are spare ones, so nothing that is in use is written. */
#include "learn/engine_decode.h"

#include "base/check.h"
#include "base/error.h"
#include <string.h>

enum { IDS, SLOTS, POSITIONS, INPUTS };

struct frame {
    int64_t rows;
    ct_tensor *in;     /* [INPUTS, rows] I64 */
    ct_tensor *logits; /* [rows, V] */
    struct ct_graph *graph;
};

struct decoder {
    const struct model *m;
    struct kv_cache *cache;
    struct decoder_options o;
    struct frame *frames;
    int n, room;
    int64_t *in;   /* [INPUTS · most rows] host */
    float *logits; /* [most rows, V] host */
};

int64_t decoder_rows(int64_t n, int64_t most)
{
    int64_t rows = n <= 1 ? 1 : n <= 2 ? 2 : n <= 4 ? 4 : (n + 7) / 8 * 8;
    return rows < most ? rows : most;
}

int decoder_new(const struct model *m, struct kv_cache *c, const struct decoder_options *o,
                struct decoder **ret)
{
    *ret = NULL;
    if (!transformer_decodes_at(m, c))
        return cai_fail(CAI_ESTATE, "rotations of %lld positions are not kept in tables",
                        (long long)c->capacity);
    struct decoder *d = cai_alloc(sizeof(*d));
    d->m = m;
    d->cache = c;
    d->o = *o;
    d->room = (int)(4 + o->rows / 8);
    d->frames = cai_alloc((size_t)d->room * sizeof(*d->frames));
    d->in = cai_alloc((size_t)(INPUTS * o->rows) * sizeof(*d->in));
    d->logits = cai_realloc(NULL, (size_t)(o->rows * m->config.vocab_size), sizeof(*d->logits));
    *ret = d;
    return 0;
}

static void frame_clear(struct frame *f)
{
    ct_graph_free(f->graph);
    ct_free(f->in);
    ct_free(f->logits);
    memset(f, 0, sizeof(*f));
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->n; i++)
        frame_clear(&d->frames[i]);
    free(d->frames);
    free(d->in);
    free(d->logits);
    free(d);
}

struct work {
    struct decoder *d;
    struct frame *f;
};

static ct_tensor *input(ct_scope *s, const struct frame *f, int which)
{
    return ct_view(s, ct_narrow(s, f->in, 0, which, 1), &f->rows, 1); /* [rows] */
}

/* The step itself; what it leaves is the frame's logits. */
static int compute(void *context)
{
    struct work *w = context;
    struct frame *f = w->f;
    ct_scope *s = ct_scope_open();
    ct_tensor *h = transformer_decode_at(s, w->d->m, w->d->cache, input(s, f, IDS),
                                         input(s, f, SLOTS), input(s, f, POSITIONS));
    ct_tensor *logits = ct_contiguous(s, head_logits(s, w->d->m, h)), *kept = NULL;
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(logits, &kept);
    ct_scope_close(s);
    if (rc < 0)
        return rc;
    ct_free(f->logits);
    f->logits = kept;
    return 0;
}

/* Inputs of `rows` rows, the last of them spare, in the order of the frame's tensor. */
static int write_inputs(struct decoder *d, const struct frame *f, const int32_t *ids,
                        const int64_t *slots, const int64_t *positions, int64_t n)
{
    int64_t *id = d->in + IDS * f->rows, *slot = d->in + SLOTS * f->rows;
    int64_t *at = d->in + POSITIONS * f->rows;
    for (int64_t i = 0; i < f->rows; i++) {
        id[i] = i < n ? ids[i] : 0;
        slot[i] = i < n ? slots[i] : d->o.spare;
        at[i] = i < n ? positions[i] : 0;
    }
    return ct_write_host_(f->in, CT_I64, d->in);
}

static int frame_make(struct decoder *d, struct frame *f, int64_t rows)
{
    int64_t shape[2] = {INPUTS, rows};
    struct work w = {d, f};
    ct_scope *s = ct_scope_open();
    ct_tensor *in = ct_zeros(s, CT_I64, shape, 2);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(in, &f->in);
    ct_scope_close(s);
    CAI_TRY(rc);
    f->rows = rows;
    CAI_TRY(write_inputs(d, f, NULL, NULL, NULL, 0));
    return d->o.record ? ct_graph_record(compute, &w, &f->graph) : 0;
}

static int frame_of(struct decoder *d, int64_t n, struct frame **ret)
{
    int64_t rows = decoder_rows(n, d->o.rows);
    for (int i = 0; i < d->n; i++)
        if (d->frames[i].rows == rows) {
            *ret = &d->frames[i];
            return 0;
        }
    CAI_CHECK(d->n < d->room);
    struct frame *f = &d->frames[d->n];
    int rc = frame_make(d, f, rows);
    if (rc < 0) {
        frame_clear(f);
        return rc;
    }
    d->n++;
    *ret = f;
    return 0;
}

static int check_rows(const struct decoder *d, const int32_t *ids, const int64_t *slots,
                      const int64_t *positions, int64_t n)
{
    CAI_CHECK(n > 0 && n <= d->o.rows);
    for (int64_t i = 0; i < n; i++) {
        CAI_CHECK(slots[i] >= 0 && slots[i] < d->cache->slots && slots[i] != d->o.spare);
        if (ids[i] < 0 || ids[i] >= d->m->config.vocab_size)
            return cai_fail(CAI_EINPUT, "token id %ld is outside the vocabulary of %lld",
                            (long)ids[i], (long long)d->m->config.vocab_size);
        if (positions[i] < 0 || positions[i] >= d->cache->capacity ||
            positions[i] >= d->m->config.max_positions)
            return cai_fail(CAI_ELIMIT, "position %lld: the cache holds %lld and the model takes "
                            "%lld", (long long)positions[i], (long long)d->cache->capacity,
                            (long long)d->m->config.max_positions);
    }
    return 0;
}

int decoder_step(struct decoder *d, const int32_t *ids, const int64_t *slots,
                 const int64_t *positions, int64_t n, const float **ret)
{
    struct frame *f;
    CAI_TRY(check_rows(d, ids, slots, positions, n));
    CAI_TRY(frame_of(d, n, &f));
    CAI_TRY(write_inputs(d, f, ids, slots, positions, n));
    CAI_TRY(f->graph ? ct_graph_replay(f->graph) : compute(&(struct work){d, f}));
    ct_scope *s = ct_scope_open();
    ct_tensor *used = ct_narrow(s, f->logits, 0, 0, n); /* [n, V] */
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_read_f32(used, d->logits, n * d->m->config.vocab_size);
    ct_scope_close(s);
    *ret = d->logits;
    return rc;
}
