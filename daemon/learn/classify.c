/* classify.c: a scalar-head classifier: σ(score at the last token) = P(label). */
#include "learn/train.h"

#include "base/check.h"
#include "base/error.h"
#include "base/rng.h"
#include "learn/calibration.h"
#include "learn/loss.h"
#include "learn/start.h"
#include "learn/supervise.h"
#include "learn/trainer.h"

#include <stdlib.h>

static double class_loss(const void *context, const struct example *const *e, size_t n,
                         const double *out, double *grad, double *extra) {
    (void)context;
    (void)extra;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += loss_bce(out[i], e[i]->target, &grad[i]);
    return sum;
}

struct split {
    struct example *train, *held_out;
    size_t n_train, n_held_out;
};

/* The rows' own split where they name one; else a counted draw by item. */
static struct split split_of(const struct learn_task *t, const struct dataset *d, double share) {
    struct split s = {.train = cai_alloc((d->n + 1) * sizeof *s.train),
                      .held_out = cai_alloc((d->n + 1) * sizeof *s.held_out)};
    bool named = false;
    for (size_t i = 0; i < d->n; i++)
        named |= d->rows[i].has_split;
    for (size_t i = 0; i < d->n; i++) {
        const struct dataset_row *r = &d->rows[i];
        struct cai_key key = cai_key_make(t->seed, t->round, "classifier/held_out", r->item, 0);
        bool apart = named ? r->held_out : cai_rng_uniform(key, 0) < share;
        struct example e = {.n = 1, .count = 1, .target = r->target, .weight = 1};
        e.seq[0] = (struct span){r->seq[0].ids, r->seq[0].n, r->seq[0].n - 1, r->seq[0].n};
        if (apart)
            s.held_out[s.n_held_out++] = e;
        else
            s.train[s.n_train++] = e;
    }
    return s;
}

static int measure(const struct learn_task *t, const struct classifier_options *o,
                   const struct model *m, const struct split *s, struct metrics *f) {
    if (s->n_held_out == 0)
        return 0;
    CAI_AUTO(mem) double *scores = NULL;
    CAI_AUTO(mem) size_t *starts = NULL;
    CAI_TRY(supervise_outputs(t, m, trainer_tokens(&o->optimizer), s->held_out, s->n_held_out,
                              &scores, &starts));
    CAI_AUTO(mem) double *target = cai_realloc(NULL, s->n_held_out, sizeof *target);
    for (size_t i = 0; i < s->n_held_out; i++)
        target[i] = s->held_out[i].target;
    struct calibration c;
    calibration_measure(scores, target, s->n_held_out, 0, &c);
    calibration_report(&c, "", f);
    return 0;
}

static int run(const struct learn_task *t, const struct classifier_options *o, struct model *m,
               const struct dataset *d, const struct split *x, Cai__V1__Trained **ret) {
    struct supervise s = {.task = t, .m = m, .name = "classifier", .members = 1,
                          .optimizer = &o->optimizer, .guard = &o->guard, .epochs = o->epochs,
                          .checkpoint_every = o->checkpoint_every, .examples = x->train,
                          .n = x->n_train, .loss = class_loss,
                          .resume = t->resume != NULL && t->resume[0]};
    struct metrics f = {0};
    double loss = 0;
    CAI_TRY(supervise_run(&s, &loss));
    CAI_TRY(train_save(t, m, t->train->output));
    metrics_add(&f, loss, "loss");
    CAI_TRY(measure(t, o, m, x, &f));
    metrics_add(&f, (double)d->n, "rows");
    metrics_add(&f, (double)d->skipped, "skipped");
    *ret = trained_new((uint64_t)supervise_steps(&s), &f, "");
    return trained_add_output(t, *ret, t->train->output);
}

int learn_classifier(const struct learn_task *t, Cai__V1__Trained **ret) {
    struct classifier_options o;
    struct model *m = NULL;
    struct dataset d = {0};
    CAI_TRY(options_classifier(t->train->options, &o));
    struct cai_key key = cai_key_make(t->seed, t->round, "classifier/head", 0, 0);
    int rc = start_scalar(t->train->init->path, &o.lora, key, &m);
    if (rc == 0)
        m->half_products = o.half;
    if (rc == 0)
        rc = train_load_rows(t, t->train->init->path, m, DATASET_CLASSIFIER, &d);
    if (rc == 0) {
        struct split s = split_of(t, &d, o.held_out);
        rc = run(t, &o, m, &d, &s, ret);
        free(s.train);
        free(s.held_out);
    }
    dataset_free(&d);
    model_free(m);
    return rc;
}
