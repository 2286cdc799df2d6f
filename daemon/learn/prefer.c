/* prefer.c: preference models: Bradley-Terry with soft targets over pairs of replies,
 * and what a person must know about the result. Not for: using them (reward.h). */
#include "learn/train.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "learn/calibration.h"
#include "learn/loss.h"
#include "learn/reward.h"
#include "learn/start.h"
#include "learn/supervise.h"
#include "learn/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXTRA_ACCURACY, EXTRA_DECIDED, EXTRA_MARGIN };
static const struct supervise_extra extras[] = {
    [EXTRA_ACCURACY] = {"train_accuracy", EXTRA_DECIDED},
    [EXTRA_DECIDED] = {NULL, -1},
    [EXTRA_MARGIN] = {"margin", -1},
};

/* Heads that learn together; their losses' mean is the loss. */
struct pm_heads {
    const struct pm_options *o;
    size_t n;
};

/* One head's part; a and b are where the two replies' scores and gradients stand. */
static double head_loss(const struct pm_heads *h, double target, const double *out, double *grad,
                        size_t a, size_t b, double *extra) {
    double share = 1.0 / (double)h->n, over = out[a] - out[b];
    bool first = target > 0.5;
    double loss = loss_bradley_terry(out[a], out[b], target, h->o->margin, h->o->centre, &grad[a],
                                     &grad[b]);
    grad[a] *= share;
    grad[b] *= share;
    extra[EXTRA_MARGIN] += first ? share * over : -share * over;
    if (fabs(target - 0.5) > h->o->clear) {
        extra[EXTRA_DECIDED] += share;
        extra[EXTRA_ACCURACY] += over == 0 ? 0.5 * share : (over > 0) == first ? share : 0;
    }
    return share * loss;
}

static double pair_loss(const void *context, const struct example *const *e, size_t n,
                        const double *out, double *grad, double *extra) {
    const struct pm_heads *h = context;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < h->n; k++)
            sum += head_loss(h, e[i]->target, out, grad, 2 * i * h->n + k, (2 * i + 1) * h->n + k,
                             extra);
    return sum;
}

struct pairs {
    struct example *train, *held_out;
    size_t n_train, n_held_out;
};

static struct pairs pairs_of(const struct dataset *d) {
    struct pairs p = {.train = cai_alloc((d->n + 1) * sizeof *p.train),
                      .held_out = cai_alloc((d->n + 1) * sizeof *p.held_out)};
    for (size_t i = 0; i < d->n; i++) {
        const struct dataset_row *r = &d->rows[i];
        struct example e = {.n = 2, .count = 1, .target = r->target, .weight = 1};
        for (int k = 0; k < 2; k++)
            e.seq[k] = (struct span){r->seq[k].ids, r->seq[k].n, r->seq[k].n - 1, r->seq[k].n};
        if (r->held_out)
            p.held_out[p.n_held_out++] = e;
        else
            p.train[p.n_train++] = e;
    }
    return p;
}

/* Mean and deviation of the scores, as PPO will normalise them. */
static void normalise(const double *scores, size_t n, struct reward_norm *ret) {
    ret->mean = loss_mean(scores, NULL, n);
    ret->std = sqrt(loss_variance(scores, NULL, n));
    ret->replies = (int64_t)n;
}

static int measure(const struct learn_task *t, const struct pm_options *o, const struct model *m,
                   const struct pairs *p, struct calibration *c, struct reward_norm *norm) {
    bool apart = p->n_held_out > 0;
    const struct example *e = apart ? p->held_out : p->train;
    size_t n = apart ? p->n_held_out : p->n_train;
    CAI_AUTO(mem) double *scores = NULL;
    CAI_AUTO(mem) size_t *starts = NULL;
    CAI_TRY(supervise_outputs(t, m, trainer_tokens(&o->optimizer), e, n, &scores, &starts));
    normalise(scores, 2 * n, norm);
    n = apart ? n : 0;
    CAI_AUTO(mem) double *delta = cai_realloc(NULL, n + 1, sizeof *delta);
    CAI_AUTO(mem) double *target = cai_realloc(NULL, n + 1, sizeof *target);
    for (size_t i = 0; i < n; i++) {
        delta[i] = scores[2 * i] - scores[2 * i + 1];
        target[i] = e[i].target;
    }
    calibration_measure(delta, target, n, o->clear, c);
    norm->accuracy = c->accuracy;
    norm->pairs = (int64_t)c->decided;
    return 0;
}

/* The head of member k. Weights to be averaged must have begun from one head (Ramé et al.
 * 2024, §3.2). */
static struct cai_key head_key(const struct learn_task *t, const struct pm_options *o, uint32_t k) {
    return cai_key_make(t->seed, t->round, "pm/head", o->average ? 0 : k, 0);
}

static struct supervise supervise_of(const struct learn_task *t, const struct pm_heads *h,
                                     const struct pairs *p) {
    const struct pm_options *o = h->o;
    return (struct supervise){.task = t, .name = "pm", .members = 1, .optimizer = &o->optimizer,
                              .guard = &o->guard, .epochs = o->epochs,
                              .checkpoint_every = o->checkpoint_every, .examples = p->train,
                              .n = p->n_train, .loss = pair_loss, .context = h, .extra = extras,
                              .n_extra = CAI_COUNT(extras)};
}

static bool resumed(const struct learn_task *t) {
    return t->resume != NULL && t->resume[0] != '\0';
}

/* Trains member k, or takes what an earlier attempt has finished of it. */
static int member_model(const struct learn_task *t, const struct pm_options *o,
                        const struct pairs *p, uint32_t k, uint32_t resume_member,
                        const char *dir, struct model **ret, double *ret_loss, int64_t *ret_steps) {
    struct pm_heads one = {o, 1};
    struct supervise s = supervise_of(t, &one, p);
    s.member = k;
    s.members = (uint32_t)o->members;
    s.resume = resumed(t) && k == resume_member;
    *ret_steps = supervise_steps(&s);
    if (resumed(t) && k < resume_member) {
        struct reward_model done;
        CAI_TRY(reward_model_load(dir, &done));
        *ret_loss = done.norm.loss;
        *ret = done.m;
        (*ret)->half_products = o->half;
        return 0;
    }
    CAI_TRY(start_scalar(t->train->init->path, &o->lora, head_key(t, o, k), ret));
    (*ret)->half_products = o->half;
    s.m = *ret;
    CAI_TRY(supervise_run(&s, ret_loss));
    return train_save(t, *ret, dir);
}

static char *member_folder(const struct learn_task *t, const struct pm_options *o, uint32_t k) {
    return cai_format(o->average ? "%s/member-%u" : "%s/%u", t->train->output, k);
}

/* Measures member k, which lies in its folder: its normalisation, its figures. norm has the
 * steps and loss of its training. */
static int finish_member(const struct learn_task *t, const struct pm_options *o,
                         const struct pairs *p, uint32_t k, const struct model *m,
                         struct reward_norm *norm, struct metrics *figures, Cai__V1__Trained *out) {
    CAI_AUTO(mem) char *dir = member_folder(t, o, k);
    struct calibration c;
    CAI_TRY(measure(t, o, m, p, &c, norm));
    if (learn_rank(t) == 0)
        CAI_TRY(reward_norm_save(dir, m, norm));
    if (!o->average)
        CAI_TRY(trained_add_output(t, out, dir));
    char prefix[24] = "";
    if (k > 0)
        snprintf(prefix, sizeof prefix, "member%u.", k);
    struct metrics f = {0};
    metrics_add(&f, norm->loss, "%sloss", prefix);
    metrics_add(&f, norm->mean, "%sscore_mean", prefix);
    metrics_add(&f, norm->std, "%sscore_std", prefix);
    calibration_report(&c, prefix, &f);
    uint64_t steps = (uint64_t)norm->steps, trained = o->shared ? 1 : k + 1;
    learn_report(t, trained * steps, (o->shared ? 1 : (uint64_t)o->members) * steps, steps, &f,
                 NULL, 0);
    if (k == 0)
        *figures = f;
    return 0;
}

static int one_member(const struct learn_task *t, const struct pm_options *o,
                      const struct pairs *p, uint32_t k, uint32_t resume_member,
                      struct metrics *figures, Cai__V1__Trained *out) {
    CAI_AUTO(mem) char *dir = member_folder(t, o, k);
    struct model *m = NULL;
    struct reward_norm norm = {.loss = NAN};
    int rc = member_model(t, o, p, k, resume_member, dir, &m, &norm.loss, &norm.steps);
    if (rc == 0)
        rc = finish_member(t, o, p, k, m, &norm, figures, out);
    model_free(m);
    out->steps += (uint64_t)norm.steps;
    return rc;
}

/* ---- one trunk ---------------------------------------------------------------------------- */

/* The trunk with all heads, before any training: the first head is the folder's own if it has
 * one, as for members with trunks of their own. */
static int open_heads(const struct learn_task *t, const struct pm_options *o, struct model **ret) {
    struct cai_key *keys = cai_alloc((size_t)o->members * sizeof *keys);
    struct model *one;
    for (uint32_t k = 0; k < (uint32_t)o->members; k++)
        keys[k] = head_key(t, o, k);
    int rc = start_scalar(t->train->init->path, &o->lora, keys[0], &one);
    if (rc == 0) {
        rc = model_heads(one, keys, o->members, ret);
        model_free(one);
    }
    free(keys);
    return rc;
}

static int save_heads(const struct learn_task *t, const struct pm_options *o,
                      const struct pairs *p, const struct model *heads, struct reward_norm *norm,
                      struct metrics *figures, Cai__V1__Trained *out) {
    struct model *m;
    CAI_TRY(start_scalar(t->train->init->path, &o->lora, head_key(t, o, 0), &m));
    m->half_products = o->half;
    int rc = 0;
    for (uint32_t k = 0; k < (uint32_t)o->members && rc == 0; k++) {
        CAI_AUTO(mem) char *dir = member_folder(t, o, k);
        rc = model_take_head(m, heads, k);
        if (rc == 0)
            rc = train_save(t, m, dir);
        if (rc == 0)
            rc = finish_member(t, o, p, k, m, norm, figures, out);
    }
    model_free(m);
    return rc;
}

/* All members at once: heads over one trunk, which learns from the mean of their losses (Ahmed
 * et al. 2024); each is then saved with the trunk, as a model like any other. */
static int shared_members(const struct learn_task *t, const struct pm_options *o,
                          const struct pairs *p, struct metrics *figures, Cai__V1__Trained *out) {
    struct pm_heads h = {o, (size_t)o->members};
    struct supervise s = supervise_of(t, &h, p);
    struct reward_norm norm = {.steps = supervise_steps(&s)};
    s.resume = resumed(t);
    CAI_TRY(open_heads(t, o, &s.m));
    s.m->half_products = o->half;
    int rc = supervise_run(&s, &norm.loss);
    if (rc == 0)
        rc = save_heads(t, o, p, s.m, &norm, figures, out);
    model_free(s.m);
    out->steps += (uint64_t)norm.steps;
    return rc;
}

/* ---- mean weights ------------------------------------------------------------------------- */

/* Adds the member's weights to sum[m->n]; hands the model of the last member over. */
static int add_member(const struct learn_task *t, const struct pm_options *o, uint32_t k,
                      double **sum, struct model **ret) {
    CAI_AUTO(mem) char *dir = member_folder(t, o, k);
    struct model *m;
    CAI_TRY(model_load(dir, &m));
    m->half_products = o->half;
    CAI_AUTO(mem) float *w = cai_realloc(NULL, (size_t)m->n + 1, sizeof *w);
    if (*sum == NULL)
        *sum = cai_alloc(((size_t)m->n + 1) * sizeof **sum);
    int rc = ct_read_f32(m->flat, w, m->n);
    for (int64_t i = 0; i < m->n && rc == 0; i++)
        (*sum)[i] += (double)w[i] / (double)o->members;
    if (rc == 0 && k + 1 == (uint32_t)o->members)
        *ret = m;
    else
        model_free(m);
    return rc;
}

static int set_weights(struct model *m, const double *w) {
    CAI_AUTO(mem) float *narrow = cai_realloc(NULL, (size_t)m->n + 1, sizeof *narrow);
    for (int64_t i = 0; i < m->n; i++)
        narrow[i] = (float)w[i];
    ct_scope *s = ct_scope_open();
    ct_tensor *from = ct_from_f32(s, narrow, m->n);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_copy_(m->flat, from);
    ct_scope_close(s);
    return rc;
}

/* The one model of all members' mean weights, measured as they were, in output/0. */
static int average_members(const struct learn_task *t, const struct pm_options *o,
                           const struct pairs *p, struct metrics *figures,
                           Cai__V1__Trained *out) {
    CAI_AUTO(mem) char *dir = cai_format("%s/0", t->train->output);
    CAI_AUTO(mem) double *sum = NULL;
    struct model *m = NULL;
    struct calibration c;
    struct reward_norm norm = {.steps = (int64_t)out->steps, .loss = NAN};
    int rc = 0;
    for (uint32_t k = 0; k < (uint32_t)o->members && rc == 0; k++)
        rc = add_member(t, o, k, &sum, &m);
    if (rc == 0)
        rc = set_weights(m, sum);
    if (rc == 0)
        rc = measure(t, o, m, p, &c, &norm);
    if (rc == 0)
        rc = train_save(t, m, dir);
    if (rc == 0 && learn_rank(t) == 0)
        rc = reward_norm_save(dir, m, &norm);
    if (rc == 0)
        rc = trained_add_output(t, out, dir);
    model_free(m);
    CAI_TRY(rc);
    metrics_add(figures, norm.mean, "average.score_mean");
    metrics_add(figures, norm.std, "average.score_std");
    calibration_report(&c, "average.", figures);
    return 0;
}

/* Which member a checkpoint was written in: its folder's number counts over all members. */
static uint32_t member_of(const struct learn_task *t, const struct pairs *p,
                          const struct pm_options *o) {
    struct supervise s = {.optimizer = &o->optimizer, .epochs = o->epochs, .n = p->n_train};
    const char *dash = t->resume != NULL ? strrchr(t->resume, '-') : NULL;
    long long step = dash != NULL ? strtoll(dash + 1, NULL, 10) : 0;
    return (uint32_t)(step / supervise_steps(&s));
}

static int run(const struct learn_task *t, const struct pm_options *o, const struct dataset *d,
               const struct pairs *p, Cai__V1__Trained *out) {
    struct metrics figures = {0};
    if (p->n_train == 0)
        return cai_fail(CAI_EINPUT, "%s: no pair with split \"train\"", t->train->dataset->path);
    uint32_t from = member_of(t, p, o);
    if (o->shared)
        CAI_TRY(shared_members(t, o, p, &figures, out));
    for (uint32_t k = 0; k < (uint32_t)o->members && !o->shared; k++)
        CAI_TRY(one_member(t, o, p, k, from, &figures, out));
    if (o->average)
        CAI_TRY(average_members(t, o, p, &figures, out));
    metrics_add(&figures, (double)d->n, "rows");
    metrics_add(&figures, (double)d->skipped, "skipped");
    Cai__V1__Trained *named = trained_new(out->steps, &figures, "");
    out->metrics = named->metrics;
    out->n_metrics = named->n_metrics;
    named->metrics = NULL;
    named->n_metrics = 0;
    cai__v1__trained__free_unpacked(named, NULL);
    return 0;
}

/* Rows are encoded for the trunk's tokenizer and its number of positions. */
int learn_pm(const struct learn_task *t, Cai__V1__Trained **ret) {
    struct pm_options o;
    struct hf_config config;
    struct dataset d = {0};
    CAI_TRY(options_pm(t->train->options, &o));
    CAI_TRY(hf_config_load(t->train->init->path, &config));
    struct model shape = {.config = config};
    CAI_TRY(train_load_rows(t, t->train->init->path, &shape, DATASET_PM, &d));
    struct pairs p = pairs_of(&d);
    struct metrics none = {0};
    *ret = trained_new(0, &none, "");
    int rc = run(t, &o, &d, &p, *ret);
    if (rc < 0) {
        cai__v1__trained__free_unpacked(*ret, NULL);
        *ret = NULL;
    }
    free(p.train);
    free(p.held_out);
    dataset_free(&d);
    return rc;
}
