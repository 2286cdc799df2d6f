/* supervise.c: see supervise.h. */
#include "learn/supervise.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/checkpoint.h"
#include "learn/guard.h"
#include "learn/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct run {
    const struct supervise *s;
    struct trainer *trainer;
    uint32_t *order; /* of the present epoch */
    size_t *starts;  /* [per_epoch + 1]: where its steps begin in it */
    int64_t epoch, steps, per_epoch;
    double last_loss;
    bool leaving; /* some rank wishes to leave after this step */
    struct loss_guard guard;
};

/* ---- micro-batches ---------------------------------------------------------------- */

static int64_t tokens_of(const struct example *e) {
    int64_t n = 0;
    for (int i = 0; i < e->n; i++)
        n += e->seq[i].n;
    return n;
}

static int64_t learned_of(const struct example *e) {
    int64_t n = 0;
    for (int i = 0; i < e->n; i++)
        n += e->seq[i].to - e->seq[i].from;
    return n;
}

static int64_t learned_of_all(const struct supervise *s) {
    int64_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += learned_of(&s->examples[i]);
    return n;
}

/* Examples of one step, and which of them are computed together. */
struct batch {
    const struct example **e;
    size_t n;
    struct packing p;
};

static int batch_pack(struct batch *b, int64_t tokens, int world) {
    int64_t *lengths = cai_realloc(NULL, b->n + 1, sizeof *lengths);
    for (size_t i = 0; i < b->n; i++)
        lengths[i] = tokens_of(b->e[i]);
    int rc = packing_make(lengths, b->n, tokens, (size_t)world, &b->p);
    free(lengths);
    return rc;
}

/* Bin `bin`'s examples into *ret_e (caller's array of b->n) and their micro-batch. */
static int batch_micro(const struct batch *b, size_t bin, const struct model *m,
                       const struct example **ret_e, size_t *ret_n, struct micro **ret) {
    size_t from = b->p.starts[bin], to = b->p.starts[bin + 1], k = 0;
    struct span *spans = cai_realloc(NULL, 2 * (to - from) + 1, sizeof *spans);
    *ret_n = 0;
    for (size_t i = from; i < to; i++) {
        const struct example *e = b->e[b->p.units[i]];
        for (int j = 0; j < e->n; j++)
            spans[k++] = e->seq[j];
        ret_e[(*ret_n)++] = e;
    }
    int rc = micro_new(m, spans, k, ret);
    free(spans);
    return rc;
}

/* ---- a step -------------------------------------------------------------------------- */

struct step_loss {
    const struct supervise *s;
    const struct example **e;
    size_t n;
    double count;
    /* Over ranks: of the loss; the extra ones; how many wish to leave. */
    double sum[1 + SUPERVISE_EXTRA + 1];
};
enum { SUM_LEAVE = 1 + SUPERVISE_EXTRA };

static int scaled_loss(void *context, const double *out, double *grad, int64_t n) {
    struct step_loss *l = context;
    l->sum[0] += l->s->loss(l->s->context, l->e, l->n, out, grad, l->sum + 1);
    for (int64_t i = 0; i < n; i++)
        grad[i] /= l->count;
    return 0;
}

static int run_micros(struct run *r, struct batch *b, struct step_loss *loss) {
    int rank = learn_rank(r->s->task), world = learn_world(r->s->task), rc = 0;
    for (size_t bin = (size_t)rank; bin < b->p.n_bins && rc == 0; bin += (size_t)world) {
        struct micro *micro = NULL;
        rc = batch_micro(b, bin, r->s->m, loss->e, &loss->n, &micro);
        if (bin + (size_t)world >= b->p.n_bins)
            trainer_last(r->trainer);
        if (rc == 0)
            rc = trainer_backward(r->trainer, micro, scaled_loss, loss);
        micro_free(micro);
    }
    return rc == 0 ? trainer_reduce(r->trainer) : rc;
}

/* What a step is made of: so many rows, or about so many learned tokens: a row goes to the step
 * in whose share of the pass's tokens its middle lies, and each step has a row at least. */
static void choose_starts(struct run *r) {
    const struct supervise *s = r->s;
    int64_t all = learned_of_all(s), seen = 0;
    size_t at = 0, steps = (size_t)r->per_epoch, batch = (size_t)s->optimizer->batch;
    for (size_t k = 0; k < steps; k++) {
        r->starts[k] = at;
        if (s->optimizer->batch_tokens == 0) {
            at = s->n - at < batch ? s->n : at + batch;
            continue;
        }
        for (; s->n - at > steps - k - 1; at++) {
            int64_t own = learned_of(&s->examples[r->order[at]]);
            if (at > r->starts[k] && (2 * seen + own) * r->per_epoch > 2 * all * ((int64_t)k + 1))
                break;
            seen += own;
        }
    }
    r->starts[steps] = s->n;
}

static void choose_order(struct run *r, int64_t epoch) {
    const struct supervise *s = r->s;
    if (epoch == r->epoch)
        return;
    CAI_AUTO(mem) char *stage = cai_format("%s/order", s->name);
    struct cai_key key = cai_key_make(s->task->seed, s->task->round, stage, s->member,
                                      (uint32_t)epoch);
    cai_rng_permutation(key, s->n, r->order);
    choose_starts(r);
    r->epoch = epoch;
}

static void extra_figures(const struct step_loss *l, const char *member, struct metrics *m) {
    const struct supervise *s = l->s;
    for (int i = 0; i < s->n_extra; i++) {
        double over = s->extra[i].over < 0 ? l->count : l->sum[1 + s->extra[i].over];
        if (s->extra[i].name != NULL)
            metrics_add(m, l->sum[1 + i] / over, "%s%s", member, s->extra[i].name);
    }
}

static void report(struct run *r, const struct step_loss *loss, int64_t step, double lr,
                   const struct trainer_report *t) {
    const struct supervise *s = r->s;
    struct metrics m = {0};
    char member[24] = "";
    if (s->member > 0)
        snprintf(member, sizeof member, "member%u.", s->member);
    metrics_add(&m, r->last_loss, "%sloss", member);
    extra_figures(loss, member, &m);
    if (t->grad_norm > 0)
        metrics_add(&m, t->grad_norm, "%sgrad_norm", member);
    metrics_add(&m, lr, "%slr", member);
    if (t->outcome == TRAINER_SKIPPED)
        metrics_add(&m, 1, "%sskipped_step", member);
    uint64_t done = (uint64_t)(s->member * r->steps + step + 1);
    learn_report(s->task, done, (uint64_t)(s->members * r->steps), (uint64_t)step + 1, &m, NULL, 0);
}

/* The update, unless the loss says that something is wrong with this batch. */
static int take_step(struct run *r, double lr, struct trainer_report *ret) {
    double deviations = r->s->guard->loss_spike;
    if (!loss_guard_spike(&r->guard, r->last_loss, deviations)) {
        loss_guard_take(&r->guard, r->last_loss);
        return trainer_step(r->trainer, lr, ret);
    }
    char why[96];
    snprintf(why, sizeof why, "the loss was %.4g, more than %g deviations above its mean %.4g",
             r->last_loss, deviations, r->guard.mean);
    *ret = (struct trainer_report){0};
    return trainer_skip(r->trainer, why, ret);
}

static int one_step(struct run *r, int64_t step) {
    const struct supervise *s = r->s;
    choose_order(r, step / r->per_epoch);
    size_t at = (size_t)(step % r->per_epoch), from = r->starts[at];
    struct batch b = {.n = r->starts[at + 1] - from};
    CAI_AUTO(mem) const struct example **list = cai_realloc(NULL, 2 * b.n, sizeof *list);
    struct step_loss loss = {.s = s, .e = list + b.n};
    b.e = list;
    for (size_t i = 0; i < b.n; i++) {
        b.e[i] = &s->examples[r->order[from + i]];
        loss.count += b.e[i]->count;
    }
    int rc = batch_pack(&b, trainer_tokens(s->optimizer), learn_world(s->task));
    if (rc == 0)
        rc = run_micros(r, &b, &loss);
    packing_free(&b.p);
    CAI_TRY(rc);
    double lr = train_rate(s->optimizer, step, r->steps);
    struct trainer_report done;
    loss.sum[SUM_LEAVE] = learn_wishes_to_leave(s->task);
    if (learn_world(s->task) > 1)
        CAI_TRY(comm_all_reduce_f64(s->task->comm, loss.sum, CAI_COUNT(loss.sum)));
    r->last_loss = loss.sum[0] / loss.count;
    r->leaving = loss.sum[SUM_LEAVE] > 0;
    CAI_TRY(take_step(r, lr, &done));
    report(r, &loss, step, lr, &done);
    return 0;
}

/* ---- resumable state -------------------------------------------------------------------- */

static struct checkpoint checkpoint_of(const struct supervise *s) {
    const Cai__V1__Train *t = s->task->train;
    return (struct checkpoint){.folder = t->checkpoints, .keep = t->keep, .comm = s->task->comm,
                               .host = s->task->host};
}

static int save(struct run *r, int64_t done) {
    const struct supervise *s = r->s;
    struct checkpoint c = checkpoint_of(s);
    struct checkpoint_tensor tensors[3];
    json_t *state = json_pack("{s:s, s:I, s:I, s:f, s:[I, f, f]}", "kind", s->name, "member",
                              (json_int_t)s->member, "done", (json_int_t)done, "loss",
                              isfinite(r->last_loss) ? r->last_loss : 0, "guard",
                              (json_int_t)r->guard.n, r->guard.mean, r->guard.variance);
    CAI_CHECK(state != NULL);
    size_t n = checkpoint_add_trainer(r->trainer, "policy", tensors, 0, state);
    int rc = checkpoint_add_base(r->trainer, "policy", state);
    if (rc == 0)
        rc = checkpoint_save(&c, (uint64_t)(s->member * r->steps + done), tensors, n, state);
    json_decref(state);
    return rc;
}

static int restore(struct run *r, int64_t *ret_done) {
    const struct supervise *s = r->s;
    struct checkpoint c = checkpoint_of(s);
    struct checkpoint_tensor tensors[3];
    json_t *names = json_object(), *state = NULL;
    size_t n = checkpoint_add_trainer(r->trainer, "policy", tensors, 0, names);
    json_decref(names);
    CAI_TRY(checkpoint_load(&c, s->task->resume, s->task->resume_hash, tensors, n, &state));
    const char *kind = json_string_value(json_object_get(state, "kind"));
    int rc = checkpoint_set_trainer(r->trainer, "policy", state);
    if (rc == 0 && (kind == NULL || strcmp(kind, s->name) != 0))
        rc = cai_fail(CAI_EINPUT, "%s is a checkpoint of %s, not of %s", s->task->resume,
                      kind != NULL ? kind : "something else", s->name);
    json_int_t taken = 0;
    if (rc == 0 && json_unpack(json_object_get(state, "guard"), "[I, F, F]", &taken,
                               &r->guard.mean, &r->guard.variance) < 0)
        rc = cai_fail(CAI_EINPUT, "%s: its state has no guard", s->task->resume);
    r->guard.n = taken;
    *ret_done = json_integer_value(json_object_get(state, "done"));
    r->last_loss = json_real_value(json_object_get(state, "loss"));
    json_decref(state);
    return rc;
}

/* ---- the run -------------------------------------------------------------------------------- */

static int64_t per_epoch(const struct supervise *s) {
    int64_t rows = (int64_t)s->n, tokens = s->optimizer->batch_tokens, steps;
    if (tokens == 0)
        return (rows + s->optimizer->batch - 1) / s->optimizer->batch;
    steps = (learned_of_all(s) + tokens - 1) / tokens;
    return steps < 1 ? 1 : steps < rows ? steps : rows;
}

int64_t supervise_steps(const struct supervise *s) {
    return s->epochs * per_epoch(s);
}

static int loop(struct run *r) {
    const struct supervise *s = r->s;
    int64_t done = 0;
    if (s->resume)
        CAI_TRY(restore(r, &done));
    for (int64_t step = done; step < r->steps; step++) {
        CAI_TRY(learn_stopping(s->task));
        CAI_TRY(one_step(r, step));
        if (step + 1 == r->steps)
            break;
        if (r->leaving || (s->checkpoint_every > 0 && (step + 1) % s->checkpoint_every == 0))
            CAI_TRY(save(r, step + 1));
        if (r->leaving)
            return learn_left(s->task, (uint64_t)step + 1);
    }
    return 0;
}

int supervise_run(const struct supervise *s, double *ret_loss) {
    const struct train_optimizer *o = s->optimizer;
    struct trainer_options to = {.comm = s->task->comm, .beta1 = o->beta1, .beta2 = o->beta2,
                                 .eps = o->eps, .weight_decay = o->weight_decay,
                                 .clip_norm = o->clip_norm, .temperature = 1,
                                 .eps_tensorflow = s->eps_tensorflow,
                                 .whole_moments = o->whole_moments, .bucket = o->bucket,
                                 .max_skipped = s->guard->max_skipped,
                                 .recompute = trainer_should_recompute(s->m, o)};
    struct run r = {.s = s, .epoch = -1, .steps = supervise_steps(s), .per_epoch = per_epoch(s)};
    if (s->n == 0)
        return cai_fail(CAI_EINPUT, "%s: there is nothing to learn from", s->name);
    r.order = cai_realloc(NULL, s->n, sizeof *r.order);
    r.starts = cai_realloc(NULL, (size_t)r.per_epoch + 1, sizeof *r.starts);
    int rc = trainer_new(s->m, &to, &r.trainer);
    if (rc == 0)
        rc = loop(&r);
    *ret_loss = r.last_loss;
    trainer_free(r.trainer);
    free(r.order);
    free(r.starts);
    return rc;
}

/* ---- outputs -------------------------------------------------------------------------------- */

/* This rank's bins, their outputs one after another. */
static int own_outputs(const struct learn_task *t, const struct model *m, const struct batch *b,
                       const struct example **scratch, double *out, size_t *ret_n) {
    int rc = 0;
    *ret_n = 0;
    for (size_t bin = (size_t)learn_rank(t); bin < b->p.n_bins && rc == 0;
         bin += (size_t)learn_world(t)) {
        struct micro *micro = NULL;
        size_t n;
        rc = batch_micro(b, bin, m, scratch, &n, &micro);
        if (rc == 0)
            rc = model_outputs(m, micro, 1, out + *ret_n, NULL);
        if (rc == 0)
            *ret_n += (size_t)micro->n_rows;
        micro_free(micro);
    }
    return rc;
}

/* Puts every rank's outputs (in rank order, each in the order of its bins) in place. */
static void place_outputs(const struct batch *b, int world, const double *all,
                          const size_t *rank_starts, const size_t *starts, double *out) {
    for (int r = 0; r < world; r++) {
        const double *from = all + rank_starts[r] / sizeof *all;
        for (size_t bin = (size_t)r; bin < b->p.n_bins; bin += (size_t)world)
            for (size_t i = b->p.starts[bin]; i < b->p.starts[bin + 1]; i++) {
                size_t u = b->p.units[i], n = starts[u + 1] - starts[u];
                memcpy(out + starts[u], from, n * sizeof *out);
                from += n;
            }
    }
}

static int gather_outputs(const struct learn_task *t, const struct batch *b, const double *own,
                          size_t n, const size_t *starts, double *out) {
    int world = learn_world(t);
    if (world == 1) {
        place_outputs(b, 1, own, (size_t[]){0}, starts, out);
        return 0;
    }
    CAI_AUTO(mem) size_t *rank_starts = cai_realloc(NULL, (size_t)world + 1, sizeof *rank_starts);
    CAI_AUTO(mem) void *all = NULL;
    size_t len;
    CAI_TRY(comm_all_gather_bytes(t->comm, own, n * sizeof *own, &all, &len, rank_starts));
    if (len != starts[b->n] * sizeof *own)
        return cai_fail(CAI_EPROTO, "the ranks computed %zu numbers, not %zu",
                        len / sizeof *own, starts[b->n]);
    place_outputs(b, world, all, rank_starts, starts, out);
    return 0;
}

int supervise_outputs(const struct learn_task *t, const struct model *m, int64_t tokens,
                      const struct example *e, size_t n, double **ret_out, size_t **ret_starts) {
    CAI_AUTO(mem) const struct example **list = cai_realloc(NULL, 2 * n + 1, sizeof *list);
    struct batch b = {.e = list, .n = n};
    size_t *starts = cai_realloc(NULL, n + 1, sizeof *starts), own_n = 0;
    starts[0] = 0;
    for (size_t i = 0; i < n; i++) {
        b.e[i] = &e[i];
        starts[i + 1] = starts[i] + (size_t)learned_of(&e[i]);
    }
    CAI_AUTO(mem) double *own = cai_realloc(NULL, starts[n] + 1, sizeof *own);
    double *out = cai_realloc(NULL, starts[n] + 1, sizeof *out);
    int rc = batch_pack(&b, tokens, learn_world(t));
    if (rc == 0)
        rc = own_outputs(t, m, &b, list + n, own, &own_n);
    if (rc == 0)
        rc = gather_outputs(t, &b, own, own_n, starts, out);
    packing_free(&b.p);
    if (rc < 0) {
        free(out);
        free(starts);
        return rc;
    }
    *ret_out = out;
    *ret_starts = starts;
    return 0;
}
