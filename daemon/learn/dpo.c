/* dpo.c: direct preference optimisation: the policy from labelled pairs, against a frozen
 * reference (Rafailov et al. 2023), with the labels' probabilities as targets. Rows are
 * those of a preference model (dataset.h, "pm"). Not for: runs with rollouts (ppo.h). */
#include "learn/train.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/calibration.h"
#include "learn/loss.h"
#include "learn/start.h"
#include "learn/supervise.h"
#include "learn/trainer.h"

#include <math.h>
#include <stdlib.h>

enum { EXTRA_ACCURACY, EXTRA_DECIDED, EXTRA_MARGIN, EXTRA_CHOSEN };

static double sum_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static int64_t rows_of(const struct span *s) {
    return s->to - s->from;
}

/* The implicit reward's log-odds that a is preferred. */
static double logit_of(double beta, const struct example *e, double a, double b) {
    return beta * ((a - e->reference[0]) - (b - e->reference[1]));
}

static void count_pair(const struct dpo_options *o, const struct example *e, double logit,
                       double a, double b, double *extra) {
    bool first = e->target > 0.5;
    extra[EXTRA_MARGIN] += first ? logit : -logit;
    extra[EXTRA_CHOSEN] += first ? a : b;
    if (fabs(e->target - 0.5) <= o->clear)
        return;
    extra[EXTRA_DECIDED]++;
    extra[EXTRA_ACCURACY] += logit == 0 ? 0.5 : (logit > 0) == first;
}

static double pair_loss(const void *context, const struct example *const *e, size_t n,
                        const double *out, double *grad, double *extra) {
    const struct dpo_options *o = context;
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t na = rows_of(&e[i]->seq[0]), nb = rows_of(&e[i]->seq[1]);
        double a = sum_of(out, na), b = sum_of(out + na, nb), da, db;
        loss += loss_dpo(a, b, e[i]->reference[0], e[i]->reference[1], e[i]->target, o->beta, &da,
                         &db);
        for (int64_t j = 0; j < na + nb; j++)
            grad[j] = j < na ? da : db;
        count_pair(o, e[i], logit_of(o->beta, e[i], a, b), a, b, extra);
        out += na + nb;
        grad += na + nb;
    }
    return loss;
}

struct pairs {
    struct example *e; /* those trained on first */
    size_t n, n_train;
};

static struct pairs pairs_of(const struct dataset *d) {
    struct pairs p = {.e = cai_alloc((d->n + 1) * sizeof *p.e)};
    for (int held_out = 0; held_out < 2; held_out++)
        for (size_t i = 0; i < d->n; i++) {
            const struct dataset_row *r = &d->rows[i];
            if (r->held_out != (held_out == 1))
                continue;
            struct example e = {.n = 2, .count = 1, .target = r->target, .weight = 1};
            for (int k = 0; k < 2; k++)
                e.seq[k] = (struct span){r->seq[k].ids, r->seq[k].n, r->seq[k].from, r->seq[k].n};
            p.e[p.n++] = e;
            p.n_train += !held_out;
        }
    return p;
}

/* Each reply's summed log-probability under m: sums[2n]. */
static int sequence_sums(const struct learn_task *t, const struct dpo_options *o,
                         const struct model *m, const struct example *e, size_t n, double *sums) {
    CAI_AUTO(mem) double *out = NULL;
    CAI_AUTO(mem) size_t *starts = NULL;
    CAI_TRY(supervise_outputs(t, m, trainer_tokens(&o->optimizer), e, n, &out, &starts));
    for (size_t i = 0; i < n; i++) {
        int64_t na = rows_of(&e[i].seq[0]);
        sums[2 * i] = sum_of(out + starts[i], na);
        sums[2 * i + 1] = sum_of(out + starts[i] + na, rows_of(&e[i].seq[1]));
    }
    return 0;
}

/* The reference is needed once, before anything is trained. */
static int take_reference(const struct learn_task *t, const struct dpo_options *o,
                          struct pairs *p) {
    const Cai__V1__Train *train = t->train;
    struct model *m = NULL;
    CAI_AUTO(mem) double *sums = cai_realloc(NULL, 2 * p->n + 1, sizeof *sums);
    CAI_TRY(model_load(train->reference != NULL ? train->reference->path : train->init->path, &m));
    m->half_products = o->half;
    int rc = m->head == MODEL_HEAD_LM
                 ? sequence_sums(t, o, m, p->e, p->n, sums)
                 : cai_fail(CAI_EINPUT, "the reference is not a language model");
    for (size_t i = 0; i < 2 * p->n && rc == 0; i++) {
        if (!isfinite(sums[i]))
            rc = cai_fail(CAI_ENUMERIC, "the reference gives a reply the log-probability %g",
                          sums[i]);
        p->e[i / 2].reference[i % 2] = sums[i];
    }
    model_free(m);
    return rc;
}

/* How well the implicit reward tells the held-out pairs apart. */
static int measure(const struct learn_task *t, const struct dpo_options *o, const struct model *m,
                   const struct pairs *p, struct metrics *f) {
    const struct example *e = p->e + p->n_train;
    size_t n = p->n - p->n_train;
    struct calibration c;
    if (n == 0)
        return 0;
    CAI_AUTO(mem) double *sums = cai_realloc(NULL, 4 * n, sizeof *sums);
    double *logit = sums + 2 * n, *target = sums + 3 * n;
    CAI_TRY(sequence_sums(t, o, m, e, n, sums));
    for (size_t i = 0; i < n; i++) {
        logit[i] = logit_of(o->beta, &e[i], sums[2 * i], sums[2 * i + 1]);
        target[i] = e[i].target;
    }
    calibration_measure(logit, target, n, o->clear, &c);
    calibration_report(&c, "", f);
    return 0;
}

static int run(const struct learn_task *t, const struct dpo_options *o, struct model *m,
               const struct dataset *d, const struct pairs *p, Cai__V1__Trained **ret) {
    static const struct supervise_extra extra[] = {
        [EXTRA_ACCURACY] = {"accuracy", EXTRA_DECIDED}, [EXTRA_DECIDED] = {NULL, -1},
        [EXTRA_MARGIN] = {"margin", -1}, [EXTRA_CHOSEN] = {"chosen_logprob", -1}, {NULL, -1}};
    struct supervise s = {.task = t, .m = m, .name = "dpo", .members = 1,
                          .optimizer = &o->optimizer, .guard = &o->guard, .epochs = o->epochs,
                          .checkpoint_every = o->checkpoint_every, .examples = p->e,
                          .n = p->n_train, .loss = pair_loss, .context = o, .extra = extra,
                          .n_extra = 4, .eps_tensorflow = o->eps_tensorflow,
                          .resume = t->resume != NULL && t->resume[0]};
    struct metrics f = {0};
    double loss = 0;
    CAI_TRY(supervise_run(&s, &loss));
    metrics_add(&f, loss, "loss");
    metrics_add(&f, (double)d->n, "rows");
    metrics_add(&f, (double)d->skipped, "skipped");
    CAI_TRY(measure(t, o, m, p, &f));
    CAI_TRY(train_save(t, m, t->train->output));
    *ret = trained_new((uint64_t)supervise_steps(&s), &f, "");
    return trained_add_output(t, *ret, t->train->output);
}

int learn_dpo(const struct learn_task *t, Cai__V1__Trained **ret) {
    struct dpo_options o;
    struct model *m = NULL;
    struct dataset d = {0};
    CAI_TRY(options_dpo(t->train->options, &o));
    struct cai_key key = cai_key_make(t->seed, t->round, "dpo/lora", 0, 0);
    int rc = start_policy(t->train->init->path, &o.lora, key, &m);
    if (rc == 0)
        m->half_products = o.half;
    if (rc == 0)
        rc = train_load_rows(t, t->train->init->path, m, DATASET_DPO, &d);
    struct pairs p = pairs_of(&d);
    if (rc == 0 && p.n_train == 0)
        rc = cai_fail(CAI_EINPUT, "%s: no pair with split \"train\"", t->train->dataset->path);
    if (rc == 0)
        rc = take_reference(t, &o, &p);
    if (rc == 0)
        rc = run(t, &o, m, &d, &p, ret);
    free(p.e);
    dataset_free(&d);
    model_free(m);
    return rc;
}
