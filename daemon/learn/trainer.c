/* trainer.c: see trainer.h.
 *
 * States of a trainer: clean (gradients zero) → trainer_backward, any number of times →
 * dirty → trainer_reduce → trainer_step → clean. Backward goes layer by layer, last layer
 * first: a layer's input is a leaf. Two ways through a micro-batch:
 *   graphs kept   each layer's graph lives until its backward;
 *   recompute     layers run without recording and keep their inputs; backward runs each
 *                 layer again. */
#include "learn/trainer.h"

#include "base/check.h"
#include "base/error.h"
#include "hf/memory.h"
#include "learn/held.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SKIPPED_MAX = 3 };

/* A stretch of the flat buffers with one weight decay, and views of it. */
struct stretch {
    ct_tensor *param, *grad, *exp_avg, *exp_avg_sq; /* [n] */
    bool decay;
};

struct trainer {
    struct model *m;
    struct trainer_options o;
    struct shard *shard;
    ct_tensor *grad;                 /* [N] */
    ct_tensor *exp_avg, *exp_avg_sq; /* [shard_own()] */
    struct stretch *stretches;       /* of what this rank updates, in the order of the ranges */
    int *stretch_end;                /* [n_ranges]: where those of each range end */
    int n_stretches;
    int64_t step, bad;
    bool last;                       /* trainer_last() was called for the next backward */
};

/* ---- set-up ----------------------------------------------------------------------- */

static int bind_gradients(struct trainer *t) {
    ct_scope *s = ct_scope_open();
    int rc = 0;
    for (int i = 0; i < t->m->n_params && rc == 0; i++) {
        struct model_param *p = &t->m->params[i];
        ct_tensor *g = ct_narrow(s, t->grad, 0, p->offset, p->numel);
        g = ct_view(s, g, p->file.shape, p->file.ndim);
        rc = ct_scope_status(s);
        if (rc == 0)
            rc = ct_set_requires_grad(p->view, true);
        if (rc == 0)
            rc = ct_bind_grad(p->view, g);
    }
    ct_scope_close(s);
    return rc;
}

static int keep_slice(ct_scope *s, ct_tensor *t, int64_t start, int64_t n, ct_tensor **ret) {
    ct_tensor *v = ct_narrow(s, t, 0, start, n);
    CAI_TRY(ct_scope_status(s));
    return ct_keep(v, ret);
}

/* What lies within range r of from … to. */
static int add_stretch(struct trainer *t, ct_scope *s, const struct shard_range *r, int64_t from,
                       int64_t to, bool decay) {
    from = from < r->from ? r->from : from;
    to = to > r->to ? r->to : to;
    if (from >= to)
        return 0;
    struct stretch *x = &t->stretches[t->n_stretches++];
    int64_t at = r->at + from - r->from;
    x->decay = decay;
    CAI_TRY(keep_slice(s, t->m->flat, from, to - from, &x->param));
    CAI_TRY(keep_slice(s, t->grad, from, to - from, &x->grad));
    CAI_TRY(keep_slice(s, t->exp_avg, at, to - from, &x->exp_avg));
    return keep_slice(s, t->exp_avg_sq, at, to - from, &x->exp_avg_sq);
}

/* One stretch when nothing decays; else one for each run of parameters treated alike. */
static int stretch_range(struct trainer *t, ct_scope *s, const struct shard_range *r) {
    const struct model_param *p = t->m->params;
    if (t->o.weight_decay == 0)
        return add_stretch(t, s, r, 0, t->m->n, false);
    for (int i = 0; i < t->m->n_params;) {
        int j = i + 1;
        while (j < t->m->n_params && p[j].decay == p[i].decay)
            j++;
        int64_t end = j < t->m->n_params ? p[j].offset : t->m->n;
        CAI_TRY(add_stretch(t, s, r, p[i].offset, end, p[i].decay));
        i = j;
    }
    return 0;
}

static int make_stretches(struct trainer *t, ct_scope *s) {
    int n;
    const struct shard_range *r = shard_ranges(t->shard, &n);
    t->stretches = cai_alloc((size_t)(t->m->n_params + n) * sizeof *t->stretches);
    t->stretch_end = cai_alloc((size_t)n * sizeof *t->stretch_end);
    for (int i = 0; i < n; i++) {
        CAI_TRY(stretch_range(t, s, &r[i]));
        t->stretch_end[i] = t->n_stretches;
    }
    return 0;
}

static int keep_zeros(ct_scope *s, int64_t n, ct_tensor **ret) {
    ct_tensor *t = ct_zeros(s, CT_F32, &n, 1);
    CAI_TRY(ct_scope_status(s));
    return ct_keep(t, ret);
}

static int make_buffers(struct trainer *t) {
    ct_scope *s = ct_scope_open();
    int rc = keep_zeros(s, t->m->n, &t->grad);
    if (rc == 0)
        rc = shard_new(t->m, t->grad, t->o.comm, !t->o.whole_moments, t->o.bucket, &t->shard);
    if (rc == 0)
        rc = keep_zeros(s, shard_own(t->shard), &t->exp_avg);
    if (rc == 0)
        rc = keep_zeros(s, shard_own(t->shard), &t->exp_avg_sq);
    if (rc == 0)
        rc = make_stretches(t, s);
    ct_scope_close(s);
    return rc;
}

int trainer_new(struct model *m, const struct trainer_options *o, struct trainer **ret) {
    struct trainer *t = cai_alloc(sizeof *t);
    *ret = NULL;
    t->m = m;
    m->stamp[0] = '\0'; /* its weights are no longer those of a folder */
    t->o = *o;
    int rc = make_buffers(t);
    if (rc == 0)
        rc = bind_gradients(t);
    if (rc < 0) {
        trainer_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void trainer_free(struct trainer *t) {
    if (t == NULL)
        return;
    for (int i = 0; i < t->m->n_params; i++)
        ct_set_requires_grad(t->m->params[i].view, false);
    for (int i = 0; i < t->n_stretches; i++) {
        ct_free(t->stretches[i].param);
        ct_free(t->stretches[i].grad);
        ct_free(t->stretches[i].exp_avg);
        ct_free(t->stretches[i].exp_avg_sq);
    }
    free(t->stretches);
    free(t->stretch_end);
    shard_free(t->shard);
    ct_free(t->grad);
    ct_free(t->exp_avg);
    ct_free(t->exp_avg_sq);
    free(t);
}

int64_t trainer_tokens(const struct train_optimizer *o) {
    return o->micro_batch_tokens > 0 ? o->micro_batch_tokens : PACK_TOKENS;
}

bool trainer_should_recompute(const struct model *m, const struct train_optimizer *o) {
    if (o->recompute != RECOMPUTE_AUTO)
        return o->recompute == RECOMPUTE_ALWAYS;
    int64_t most = ct_device_now().cuda ? 16 * hf_graphs_max : hf_graphs_max;
    return hf_memory_graphs(&m->config, trainer_tokens(o)) > most;
}

/* ---- one micro-batch ---------------------------------------------------------------- */

/* Inputs of the layers, and of the head last: x[0] … x[L]; y[i]: what made x[i], with its
 * graph, where graphs are kept. Kept handles [T, D], NULL once they are done with. */
struct flow {
    ct_tensor **x, **y;
    int n;
};

static void flow_free(struct flow *f) {
    for (int i = 0; i < f->n; i++) {
        ct_free(f->x[i]);
        ct_free(f->y[i]);
    }
    free(f->x);
    free(f->y);
}

/* The next input, from what the scope computed. An adapter leaves the embedding as it is, so
 * that nobody asks for the gradient of what that gives. */
static int flow_push(struct flow *f, const struct trainer *t, ct_scope *s, ct_tensor *out) {
    bool leaf = !t->o.recompute && !(f->n == 0 && t->m->base);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(leaf ? ct_leaf(s, out) : out, &f->x[f->n]);
    if (rc == 0 && leaf)
        rc = ct_keep(out, &f->y[f->n]);
    if (rc == 0)
        f->n++;
    ct_scope_close(s);
    return rc;
}

static void flow_drop(struct flow *f, int i) {
    ct_free(f->x[i]);
    ct_free(f->y[i]);
    f->x[i] = f->y[i] = NULL;
}

static ct_scope *open_scope(bool grad) {
    return grad ? ct_scope_open_grad() : ct_scope_open();
}

static int flow_forward(const struct trainer *t, const struct micro *b, struct flow *ret) {
    const struct model *m = t->m;
    int layers = (int)m->config.num_layers;
    *ret = (struct flow){.x = cai_alloc(((size_t)layers + 1) * sizeof *ret->x),
                         .y = cai_alloc(((size_t)layers + 1) * sizeof *ret->y)};
    ct_scope *s = open_scope(!t->o.recompute);
    int rc = flow_push(ret, t, s, transformer_embed(s, m, b->pack));
    for (int i = 0; i < layers && rc == 0; i++) {
        s = open_scope(!t->o.recompute);
        rc = flow_push(ret, t, s, transformer_layer(s, m, i, ret->x[i], b->pack));
    }
    return rc;
}

/* The loss rows of the last layer's output through norm and head: [R]. */
static ct_tensor *head_outputs(ct_scope *s, const struct model *m, const struct micro *b,
                               ct_tensor *x, double temperature, ct_tensor **ret_entropy) {
    ct_tensor *rows = b->all_rows ? x : ct_index_select(s, x, 0, b->rows);
    ct_tensor *h = transformer_norm(s, m, rows);
    if (m->head == MODEL_HEAD_SCALAR)
        return head_scalar(s, m, h);
    return head_logprob(s, m, h, b->target, temperature, ret_entropy);
}

static int read_f64(const ct_tensor *t, double *out, int64_t n) {
    float *f = cai_realloc(NULL, (size_t)n + 1, sizeof *f);
    int rc = ct_read_f32(t, f, n);
    for (int64_t i = 0; i < n && rc == 0; i++)
        out[i] = f[i];
    free(f);
    return rc;
}

/* Loss on the outputs, then its gradient as the seed of a backward to the parameters
 * (graphs kept) or to `x`, the leaf at the head. */
static int loss_backward(ct_scope *s, ct_tensor *out, trainer_loss loss, void *context) {
    CAI_TRY(ct_scope_status(s));
    int64_t n = ct_numel(out);
    double *value = cai_realloc(NULL, (size_t)n * 2, sizeof *value);
    float *seed = cai_realloc(NULL, (size_t)n, sizeof *seed);
    int rc = read_f64(out, value, n);
    if (rc == 0)
        rc = loss(context, value, value + n, n);
    if (rc == 0) {
        for (int64_t i = 0; i < n; i++)
            seed[i] = (float)value[n + i];
        ct_tensor *g = ct_from_f32(s, seed, n);
        rc = ct_scope_status(s);
        if (rc == 0)
            rc = ct_backward(s, &out, &g, 1);
    }
    free(value);
    free(seed);
    return rc;
}

/* From the gradient at x[i + 1] to the one at x[i], over layer i's graph, or running it
 * again; i = -1: the embedding. */
static int layer_backward(const struct trainer *t, const struct micro *b, struct flow *f, int i,
                          ct_tensor **grad) {
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *leaf = i >= 0 ? f->x[i] : NULL, *y = f->y[i + 1];
    if (t->o.recompute) {
        leaf = i >= 0 ? ct_leaf(s, leaf) : NULL;
        y = i >= 0 ? transformer_layer(s, t->m, i, leaf, b->pack)
                   : transformer_embed(s, t->m, b->pack);
    }
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_backward(s, &y, grad, 1);
    ct_free(*grad);
    *grad = NULL;
    bool further = i > 0 || (i == 0 && !t->m->base);
    if (rc == 0 && further)
        rc = ct_keep(ct_grad(s, leaf), grad);
    ct_scope_close(s);
    flow_drop(f, i + 1);
    return rc;
}

/* All layers from the last on; sums over ranks begin behind it, in a step's last backward. */
static int layers_backward(struct trainer *t, const struct micro *b, struct flow *f,
                           ct_tensor *grad) {
    int last = t->m->base ? 0 : -1; /* an adapter leaves the embedding as it is */
    int rc = t->last ? shard_begin(t->shard, f->n - 1) : 0;
    for (int i = f->n - 2; i >= last && rc == 0; i--) {
        rc = layer_backward(t, b, f, i, &grad);
        if (rc == 0 && t->last)
            rc = shard_begin(t->shard, i);
    }
    ct_free(grad);
    return rc;
}

int trainer_backward(struct trainer *t, const struct micro *b, trainer_loss loss, void *context) {
    return trainer_backward_at(t, b, t->o.temperature, loss, context);
}

int trainer_backward_at(struct trainer *t, const struct micro *b, double temperature,
                        trainer_loss loss, void *context) {
    if (b->n_rows == 0)
        return 0;
    struct flow f;
    held_micro(b->pack->t);
    int rc = flow_forward(t, b, &f);
    ct_tensor *grad = NULL;
    if (rc == 0) {
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *x = t->o.recompute ? ct_leaf(s, f.x[f.n - 1]) : f.x[f.n - 1];
        ct_tensor *out = head_outputs(s, t->m, b, x, temperature, NULL);
        rc = loss_backward(s, out, loss, context);
        if (rc == 0)
            rc = ct_keep(ct_grad(s, x), &grad);
        ct_scope_close(s);
    }
    if (rc == 0)
        rc = layers_backward(t, b, &f, grad);
    flow_free(&f);
    return rc;
}

void trainer_last(struct trainer *t) {
    t->last = true;
}

int trainer_reduce(struct trainer *t) {
    t->last = false;
    return shard_begin(t->shard, -1);
}

int trainer_evaluate(struct trainer *t, const struct micro *b, double *out, double *entropy) {
    if (b->n_rows == 0)
        return 0;
    struct flow f;
    int rc = flow_forward(t, b, &f);
    if (rc == 0) {
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *x = t->o.recompute ? ct_leaf(s, f.x[f.n - 1]) : f.x[f.n - 1];
        ct_tensor *h = NULL;
        ct_tensor *v = head_outputs(s, t->m, b, x, t->o.temperature, entropy != NULL ? &h : NULL);
        rc = ct_scope_status(s);
        if (rc == 0)
            rc = read_f64(v, out, b->n_rows);
        if (rc == 0 && entropy != NULL)
            rc = read_f64(h, entropy, b->n_rows);
        ct_scope_close(s);
    }
    flow_free(&f);
    return rc;
}

int model_outputs(const struct model *m, const struct micro *b, double temperature, double *out,
                  double *entropy) {
    if (b->n_rows == 0)
        return 0;
    held_rows(b->pack->t);
    ct_scope *s = ct_scope_open();
    ct_tensor *e = NULL, *v;
    ct_tensor *h = transformer_hidden(s, m, b->pack);
    h = b->all_rows ? h : ct_index_select(s, h, 0, b->rows);
    if (m->head == MODEL_HEAD_SCALAR)
        v = head_scalar(s, m, h);
    else
        v = head_logprob(s, m, h, b->target, temperature, entropy != NULL ? &e : NULL);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = read_f64(v, out, b->n_rows);
    if (rc == 0 && e != NULL)
        rc = read_f64(e, entropy, b->n_rows);
    ct_scope_close(s);
    return rc;
}

/* ---- one step ------------------------------------------------------------------------- */

/* The gradients of the range are clipped, its parameters updated and sent on their way. */
static int update_range(struct trainer *t, int range, double lr, double clip) {
    const struct trainer_options *o = &t->o;
    /* √v + ε with √v uncorrected is √(v / c) + ε / √c times √c, c = 1 − β2^step. */
    double eps = o->eps_tensorflow ? o->eps / sqrt(1 - pow(o->beta2, (double)t->step)) : o->eps;
    for (int i = range ? t->stretch_end[range - 1] : 0; i < t->stretch_end[range]; i++) {
        struct stretch *x = &t->stretches[i];
        if (clip < 1)
            CAI_TRY(ct_scale_(x->grad, clip));
        CAI_TRY(ct_adamw_(x->param, x->grad, x->exp_avg, x->exp_avg_sq, t->step, lr, o->beta1,
                          o->beta2, eps, x->decay ? o->weight_decay : 0));
    }
    return shard_gather(t->shard, range);
}

static int update(struct trainer *t, double lr, double norm) {
    double most = t->o.clip_norm, clip = most > 0 && norm > most ? most / (norm + 1e-6) : 1;
    int n;
    (void)shard_ranges(t->shard, &n);
    t->step++;
    for (int i = 0; i < n; i++)
        CAI_TRY(update_range(t, i, lr, clip));
    return shard_gathered(t->shard);
}

int trainer_discard(struct trainer *t) {
    t->last = false;
    CAI_TRY(shard_forget(t->shard));
    return ct_fill_(t->grad, 0);
}

int trainer_skip(struct trainer *t, const char *why, struct trainer_report *ret) {
    int64_t most = t->o.max_skipped > 0 ? t->o.max_skipped : SKIPPED_MAX;
    ret->outcome = TRAINER_SKIPPED;
    if (++t->bad >= most)
        return cai_fail(CAI_ENUMERIC,
                        "%lld steps in a row were left out, after step %lld; in the last, %s; "
                        "lower the learning rate, or look at the data",
                        (long long)most, (long long)t->step, why);
    return trainer_discard(t);
}

int trainer_step(struct trainer *t, double lr, struct trainer_report *ret) {
    *ret = (struct trainer_report){.outcome = TRAINER_STEPPED};
    t->last = false;
    CAI_TRY(shard_finish(t->shard, &ret->grad_norm));
    if (!isfinite(ret->grad_norm)) {
        char why[64];
        snprintf(why, sizeof why, "the gradient was not finite (norm %g)", ret->grad_norm);
        return trainer_skip(t, why, ret);
    }
    t->bad = 0;
    CAI_TRY(update(t, lr, ret->grad_norm));
    return trainer_discard(t);
}

/* ---- state ----------------------------------------------------------------------------- */

void trainer_state(const struct trainer *t, struct trainer_state *ret) {
    *ret = (struct trainer_state){.flat = t->m->flat, .exp_avg = t->exp_avg,
                                  .exp_avg_sq = t->exp_avg_sq, .step = t->step, .bad = t->bad,
                                  .sharded = shard_divided(t->shard)};
    ret->ranges = shard_ranges(t->shard, &ret->n_ranges);
}

void trainer_set_counts(struct trainer *t, int64_t step, int64_t bad) {
    t->step = step;
    t->bad = bad;
}

struct model *trainer_model(const struct trainer *t) {
    return t->m;
}
