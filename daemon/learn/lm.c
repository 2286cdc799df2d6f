/* lm.c: see lm.h. */
#include "learn/lm.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/trainer.h"

#include <stdlib.h>

struct lm_run {
    struct model *m;
    const struct lm_options *o;
    struct trainer *trainer;
    struct lm_row *rows; /* those that can be learned */
    size_t n;
    uint32_t *order;     /* this epoch's */
    int64_t epoch, steps, per_epoch;
    int rank, world;
    int64_t tokens;      /* learned so far */
};

/* Weighted mean of the negative log-probability over the step's tokens. */
struct lm_loss {
    double scale, sum;
    const float *weight; /* [R] of the micro-batch's rows */
};

static int lm_token_loss(void *context, const double *out, double *grad, int64_t n) {
    struct lm_loss *l = context;
    for (int64_t i = 0; i < n; i++) {
        l->sum -= l->weight[i] * out[i];
        grad[i] = -l->scale * l->weight[i];
    }
    return 0;
}

static void choose_rows(struct lm_run *r, const struct lm_row *rows, size_t n, size_t *ret_skipped) {
    r->rows = cai_realloc(NULL, n + 1, sizeof *r->rows);
    for (size_t i = 0; i < n; i++) {
        struct lm_row row = rows[i];
        if (row.from < 1)
            row.from = 1;
        if (row.n > row.from && row.n <= r->m->config.max_positions)
            r->rows[r->n++] = row;
    }
    if (ret_skipped != NULL)
        *ret_skipped = n - r->n;
}

static double row_weight(const struct lm_row *row) {
    double sum = 0;
    for (int64_t i = row->from; i < row->n; i++)
        sum += row->weight != NULL ? row->weight[i] : 1;
    return sum;
}

/* One bin of the packing: forward, loss, backward. spans and weight have room for it. */
static int lm_micro(struct lm_run *r, const uint32_t *index, const struct packing *p, size_t bin,
                    struct span *spans, float *weight, struct lm_loss *loss) {
    size_t k = 0, w = 0;
    for (size_t i = p->starts[bin]; i < p->starts[bin + 1]; i++) {
        const struct lm_row *row = &r->rows[index[p->units[i]]];
        spans[k++] = (struct span){row->ids, row->n, row->from, row->n};
        for (int64_t t = row->from; t < row->n; t++)
            weight[w++] = row->weight != NULL ? row->weight[t] : 1;
    }
    loss->weight = weight;
    struct micro *micro = NULL;
    int rc = micro_new(r->m, spans, k, &micro);
    if (rc == 0)
        rc = trainer_backward(r->trainer, micro, lm_token_loss, loss);
    micro_free(micro);
    return rc;
}

/* The rows of one step as this rank's micro-batches; gradients are left in the trainer. */
static int lm_batch(struct lm_run *r, const uint32_t *index, size_t n, struct lm_loss *loss,
                    int64_t *ret_tokens) {
    int64_t *lengths = cai_realloc(NULL, n, sizeof *lengths), tokens = 0;
    struct span *spans = cai_realloc(NULL, n, sizeof *spans);
    struct packing p = {0};
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        lengths[i] = r->rows[index[i]].n;
        tokens += r->rows[index[i]].n - r->rows[index[i]].from;
        sum += row_weight(&r->rows[index[i]]);
    }
    float *weight = cai_realloc(NULL, (size_t)tokens, sizeof *weight);
    loss->scale = sum > 0 ? 1 / sum : 0;
    int rc = packing_make(lengths, n, trainer_tokens(&r->o->optimizer), (size_t)r->world, &p);
    for (size_t b = (size_t)r->rank; b < p.n_bins && rc == 0; b += (size_t)r->world)
        rc = lm_micro(r, index, &p, b, spans, weight, loss);
    packing_free(&p);
    free(weight);
    free(spans);
    free(lengths);
    *ret_tokens = tokens;
    return rc;
}

static int lm_step(struct lm_run *r, int64_t step, double *ret_loss) {
    int64_t epoch = step / r->per_epoch;
    if (epoch != r->epoch) {
        cai_rng_permutation(cai_key_make(r->o->seed, 0, "lm/order", (uint64_t)epoch, 0), r->n,
                            r->order);
        r->epoch = epoch;
    }
    size_t batch = (size_t)r->o->optimizer.batch;
    size_t from = (size_t)(step % r->per_epoch) * batch;
    size_t n = r->n - from < batch ? r->n - from : batch;
    struct lm_loss loss = {0};
    struct trainer_report report;
    int64_t tokens;
    CAI_TRY(lm_batch(r, r->order + from, n, &loss, &tokens));
    CAI_TRY(trainer_step(r->trainer, train_rate(&r->o->optimizer, step, r->steps), &report));
    if (r->world > 1)
        CAI_TRY(comm_all_reduce_f64(r->o->comm, &loss.sum, 1));
    r->tokens += tokens;
    *ret_loss = loss.sum * loss.scale;
    return 0;
}

static int lm_loop(struct lm_run *r, lm_progress progress, void *context) {
    for (int64_t step = 0; step < r->steps; step++) {
        double loss;
        CAI_TRY(lm_step(r, step, &loss));
        if (progress != NULL && progress(context, step + 1, r->steps, loss, r->tokens))
            break;
    }
    return 0;
}

int train_language_model(struct model *m, const struct lm_row *rows, size_t n_rows,
                         const struct lm_options *o, lm_progress progress, void *context,
                         size_t *ret_skipped) {
    struct lm_run r = {.m = m, .o = o, .epoch = -1};
    r.rank = o->comm != NULL ? comm_rank(o->comm) : 0;
    r.world = o->comm != NULL ? comm_world(o->comm) : 1;
    choose_rows(&r, rows, n_rows, ret_skipped);
    if (r.n == 0 || o->optimizer.batch < 1) {
        free(r.rows);
        return cai_fail(CAI_EINPUT, "no row to learn from (%zu rows, batch %lld)", n_rows,
                        (long long)o->optimizer.batch);
    }
    r.order = cai_realloc(NULL, r.n, sizeof *r.order);
    r.per_epoch = ((int64_t)r.n + o->optimizer.batch - 1) / o->optimizer.batch;
    r.steps = o->steps > 0 ? o->steps : r.per_epoch * o->epochs;
    struct trainer_options to = {.comm = o->comm,
                                 .beta1 = o->optimizer.beta1,
                                 .beta2 = o->optimizer.beta2,
                                 .eps = o->optimizer.eps,
                                 .weight_decay = o->optimizer.weight_decay,
                                 .clip_norm = o->optimizer.clip_norm,
                                 .temperature = 1,
                                 .recompute = trainer_should_recompute(m, &o->optimizer)};
    int rc = trainer_new(m, &to, &r.trainer);
    if (rc == 0)
        rc = lm_loop(&r, progress, context);
    trainer_free(r.trainer);
    free(r.order);
    free(r.rows);
    return rc;
}
