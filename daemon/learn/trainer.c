/* trainer.c: see trainer.h.
 *
 * States of a trainer: clean (gradients zero) → trainer_backward, any number of times →
 * dirty → trainer_step → clean. Two ways through a micro-batch:
 *   graphs kept   each layer's graph lives until one backward over all of them;
 *   recompute     layers run without recording and keep their inputs; backward runs each
 *                 layer again with its input as a leaf, last layer first. */
#include "learn/trainer.h"

#include "base/check.h"
#include "base/error.h"
#include "hf/memory.h"

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
    int rank, world;
    bool sharded;
    int64_t low, high;               /* the part of the flat buffers this rank updates */
    ct_tensor *grad;                 /* [N] */
    ct_tensor *own_grad;             /* [high - low], a view */
    ct_tensor *exp_avg, *exp_avg_sq; /* [high - low] */
    struct stretch *stretches;
    int n_stretches;
    int64_t step, bad;
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

static int add_stretch(struct trainer *t, ct_scope *s, int64_t from, int64_t to, bool decay) {
    from = from < t->low ? t->low : from;
    to = to > t->high ? t->high : to;
    if (from >= to)
        return 0;
    struct stretch *x = &t->stretches[t->n_stretches++];
    x->decay = decay;
    CAI_TRY(keep_slice(s, t->m->flat, from, to - from, &x->param));
    CAI_TRY(keep_slice(s, t->grad, from, to - from, &x->grad));
    CAI_TRY(keep_slice(s, t->exp_avg, from - t->low, to - from, &x->exp_avg));
    return keep_slice(s, t->exp_avg_sq, from - t->low, to - from, &x->exp_avg_sq);
}

/* One stretch when nothing decays; else one for each run of parameters treated alike. */
static int make_stretches(struct trainer *t, ct_scope *s) {
    const struct model_param *p = t->m->params;
    t->stretches = cai_realloc(NULL, (size_t)t->m->n_params + 1, sizeof *t->stretches);
    if (t->o.weight_decay == 0)
        return add_stretch(t, s, 0, t->m->n, false);
    for (int i = 0; i < t->m->n_params;) {
        int j = i + 1;
        while (j < t->m->n_params && p[j].decay == p[i].decay)
            j++;
        int64_t end = j < t->m->n_params ? p[j].offset : t->m->n;
        CAI_TRY(add_stretch(t, s, p[i].offset, end, p[i].decay));
        i = j;
    }
    return 0;
}

static int make_buffers(struct trainer *t) {
    ct_scope *s = ct_scope_open();
    int64_t own = t->high - t->low;
    ct_tensor *g = ct_zeros(s, CT_F32, &t->m->n, 1);
    ct_tensor *a = ct_zeros(s, CT_F32, &own, 1);
    ct_tensor *b = ct_zeros(s, CT_F32, &own, 1);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(g, &t->grad);
    if (rc == 0)
        rc = ct_keep(a, &t->exp_avg);
    if (rc == 0)
        rc = ct_keep(b, &t->exp_avg_sq);
    if (rc == 0)
        rc = keep_slice(s, t->grad, t->low, own, &t->own_grad);
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
    t->rank = o->comm != NULL ? comm_rank(o->comm) : 0;
    t->world = o->comm != NULL ? comm_world(o->comm) : 1;
    t->sharded = t->world > 1 && m->n % t->world == 0;
    t->low = t->sharded ? m->n / t->world * t->rank : 0;
    t->high = t->sharded ? t->low + m->n / t->world : m->n;
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
    ct_free(t->own_grad);
    ct_free(t->grad);
    ct_free(t->exp_avg);
    ct_free(t->exp_avg_sq);
    free(t);
}

bool trainer_should_recompute(const struct model *m, int64_t tokens) {
    int64_t most = ct_device_now().cuda ? 16 * hf_graphs_max : hf_graphs_max;
    return hf_memory_graphs(&m->config, tokens) > most;
}

/* ---- one micro-batch ---------------------------------------------------------------- */

/* Inputs of the layers, and of the head last: x[0] … x[L], kept handles [T, D]. */
struct flow {
    ct_tensor **x;
    int n;
};

static void flow_free(struct flow *f) {
    for (int i = 0; i < f->n; i++)
        ct_free(f->x[i]);
    free(f->x);
}

static int flow_push(struct flow *f, ct_scope *s, ct_tensor *t) {
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(t, &f->x[f->n]);
    if (rc == 0)
        f->n++;
    ct_scope_close(s);
    return rc;
}

static ct_scope *open_scope(bool grad) {
    return grad ? ct_scope_open_grad() : ct_scope_open();
}

static int flow_forward(const struct trainer *t, const struct micro *b, struct flow *ret) {
    const struct model *m = t->m;
    int layers = (int)m->config.num_layers;
    *ret = (struct flow){.x = cai_realloc(NULL, (size_t)layers + 1, sizeof *ret->x)};
    ct_scope *s = open_scope(!t->o.recompute);
    int rc = flow_push(ret, s, transformer_embed(s, m, b->pack));
    for (int i = 0; i < layers && rc == 0; i++) {
        s = open_scope(!t->o.recompute);
        rc = flow_push(ret, s, transformer_layer(s, m, i, ret->x[i], b->pack));
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

/* From the gradient at x[i + 1] to the one at x[i], running layer i again. */
static int layer_backward(const struct trainer *t, const struct micro *b, int layer,
                          ct_tensor *x, ct_tensor **grad) {
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *leaf = layer >= 0 ? ct_leaf(s, x) : NULL;
    ct_tensor *y = layer >= 0 ? transformer_layer(s, t->m, layer, leaf, b->pack)
                              : transformer_embed(s, t->m, b->pack);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_backward(s, &y, grad, 1);
    ct_free(*grad);
    *grad = NULL;
    if (rc == 0 && layer >= 0)
        rc = ct_keep(ct_grad(s, leaf), grad);
    ct_scope_close(s);
    return rc;
}

static int recompute_backward(const struct trainer *t, const struct micro *b, struct flow *f,
                              ct_tensor *grad) {
    int rc = 0, last = t->m->base ? 0 : -1; /* an adapter leaves the embedding as it is */
    for (int i = f->n - 2; i >= last && rc == 0; i--)
        rc = layer_backward(t, b, i, i >= 0 ? f->x[i] : NULL, &grad);
    ct_free(grad);
    return rc;
}

int trainer_backward(struct trainer *t, const struct micro *b, trainer_loss loss, void *context) {
    if (b->n_rows == 0)
        return 0;
    struct flow f;
    int rc = flow_forward(t, b, &f);
    ct_tensor *grad = NULL;
    if (rc == 0) {
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *x = t->o.recompute ? ct_leaf(s, f.x[f.n - 1]) : f.x[f.n - 1];
        ct_tensor *out = head_outputs(s, t->m, b, x, t->o.temperature, NULL);
        rc = loss_backward(s, out, loss, context);
        if (rc == 0 && t->o.recompute)
            rc = ct_keep(ct_grad(s, x), &grad);
        ct_scope_close(s);
    }
    if (rc == 0 && t->o.recompute)
        rc = recompute_backward(t, b, &f, grad);
    flow_free(&f);
    return rc;
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

/* Sums over ranks and the global norm, equal on every rank. */
static int reduce(struct trainer *t, double *ret_norm) {
    if (t->world > 1)
        CAI_TRY(t->sharded ? comm_reduce_scatter(t->o.comm, t->grad)
                           : comm_all_reduce(t->o.comm, t->grad));
    CAI_TRY(ct_norm(t->own_grad, ret_norm));
    if (t->sharded) {
        double square = *ret_norm * *ret_norm;
        CAI_TRY(comm_all_reduce_f64(t->o.comm, &square, 1));
        *ret_norm = sqrt(square);
    }
    return 0;
}

static int update(struct trainer *t, double lr, double norm) {
    const struct trainer_options *o = &t->o;
    if (o->clip_norm > 0 && norm > o->clip_norm)
        CAI_TRY(ct_scale_(t->own_grad, o->clip_norm / (norm + 1e-6)));
    t->step++;
    /* √v + ε with √v uncorrected is √(v / c) + ε / √c times √c, c = 1 − β2^step. */
    double eps = o->eps_tensorflow ? o->eps / sqrt(1 - pow(o->beta2, (double)t->step)) : o->eps;
    for (int i = 0; i < t->n_stretches; i++) {
        struct stretch *x = &t->stretches[i];
        CAI_TRY(ct_adamw_(x->param, x->grad, x->exp_avg, x->exp_avg_sq, t->step, lr, o->beta1,
                          o->beta2, eps, x->decay ? o->weight_decay : 0));
    }
    return t->sharded ? comm_all_gather(o->comm, t->m->flat) : 0;
}

int trainer_discard(struct trainer *t) {
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
    CAI_TRY(reduce(t, &ret->grad_norm));
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
    *ret = (struct trainer_state){t->m->flat, t->exp_avg, t->exp_avg_sq, t->step, t->bad,
                                  t->sharded};
}

void trainer_set_counts(struct trainer *t, int64_t step, int64_t bad) {
    t->step = step;
    t->bad = bad;
}

struct model *trainer_model(const struct trainer *t) {
    return t->m;
}
