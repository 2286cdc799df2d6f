/* ppo_step.c: the updates of one PPO step, and the figures of it. Not for: how rollouts
 * get their numbers (ppo_batch.c), the run as a whole (ppo.c). */
#include "learn/ppo.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/loss.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- losses of one bin --------------------------------------------------------------- */

struct bin_loss {
    const struct ppo *p;
    const struct ppo_batch *b;
    size_t bin;
    double share;  /* normaliser of the policy's loss in the minibatch, all ranks */
    double count;  /* rows of the minibatch, all ranks */
    bool moved;    /* weights have changed since the old log-probabilities were taken */
    struct ppo_update_stats *stats;
};

static int check_ratio(const struct bin_loss *l, const double *out, const double *old, int64_t n) {
    for (int64_t i = 0; i < n && !l->moved; i++)
        if (out[i] != old[i])
            return cai_fail(CAI_ENUMERIC,
                            "the ratio is %.9g before any update (step %lld, row %lld: "
                            "log-probability %.9g, then %.9g): the forward pass is not "
                            "reproducible here", exp(out[i] - old[i]),
                            (long long)l->p->done, (long long)i, old[i], out[i]);
    return 0;
}

static size_t length_of(const struct ppo_batch *b, size_t i) {
    return (size_t)(b->rollouts->r[i].n - b->rollouts->r[i].n_prompt);
}

/* Reply i's part of the bin's loss; logprob and grad begin at its first row. */
static void reply_loss(struct bin_loss *l, size_t i, const double *logprob, double *grad,
                       struct loss_ppo_stats *s) {
    const struct ppo *p = l->p;
    const struct ppo_batch *b = l->b;
    size_t at = b->row_of[i], n = length_of(b, i);
    if (!b->used[i]) {
        memset(grad, 0, n * sizeof *grad);
        return;
    }
    struct policy_reply r = {&p->o, p->kl_coef, n, b->old + at, b->reference + at,
                             (b->white ? b->white : b->advantage) + at};
    double weight = policy_weight(p->algorithm, &p->o, n);
    l->stats->policy_loss += weight * p->algorithm->loss(&r, logprob, grad, s);
    l->stats->ratios += p->algorithm->sequence ? 1 : (double)n;
    for (size_t j = 0; j < n; j++)
        grad[j] *= weight / l->share;
}

static int policy_loss(void *context, const double *out, double *grad, int64_t n) {
    struct bin_loss *l = context;
    const struct ppo_batch *b = l->b;
    size_t at = b->bin_rows[l->bin];
    struct loss_ppo_stats s = {0};
    CAI_TRY(check_ratio(l, out, b->old + at, n));
    for (size_t i = b->p.starts[l->bin]; i < b->p.starts[l->bin + 1]; i++) {
        size_t u = b->p.units[i], from = b->row_of[u] - at;
        reply_loss(l, u, out + from, grad + from, &s);
    }
    l->stats->clipped += s.clipped;
    l->stats->approx_kl += s.kl;
    l->stats->ratio += s.ratio;
    l->stats->ratio_max = fmax(l->stats->ratio_max, s.ratio_max);
    return 0;
}

static int value_loss(void *context, const double *out, double *grad, int64_t n) {
    struct bin_loss *l = context;
    size_t at = l->b->bin_rows[l->bin];
    CAI_AUTO(mem) double *v = cai_realloc(NULL, (size_t)n + 1, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = ppo_value_of(&l->p->models, out[i]);
    l->stats->value_loss += loss_value(v, l->b->value + at, l->b->returns + at, NULL, (size_t)n,
                                       l->p->o.value_clip, grad);
    l->stats->value_clipped += loss_value_clipped(v, l->b->value + at, l->b->returns + at, NULL,
                                                  (size_t)n, l->p->o.value_clip);
    double scale = l->p->o.value_coef / (l->count * l->p->models.value_std);
    for (int64_t i = 0; i < n; i++)
        grad[i] *= scale;
    return 0;
}

/* ---- updates ---------------------------------------------------------------------------- */

/* Whether the policy is trained in this step: a value model may be given a start. */
static bool policy_trains(const struct ppo *p) {
    return p->models.value == NULL || p->done >= p->o.value_warmup;
}

static bool policy_learns(const struct ppo *p, const struct bin_loss *l) {
    return l->share > 0 && policy_trains(p);
}

/* One model's backward on the bin. In this rank's last of the minibatch the sums over ranks
 * begin, of the policy before those of the value model, whatever the bin holds. */
static int model_bin(struct ppo *p, struct ppo_batch *b, struct bin_loss *l, bool value,
                     bool last) {
    struct trainer *t = value ? p->models.value : p->models.policy;
    struct micro *micro;
    if (last)
        trainer_last(t);
    if (b->bin_rows[l->bin] < b->bin_rows[l->bin + 1]) {
        CAI_TRY(ppo_batch_micro(b, &p->models, l->bin, value, &micro));
        CAI_TRY(trainer_backward(t, micro, value ? value_loss : policy_loss, l));
    }
    return last ? trainer_reduce(t) : 0;
}

static int update_bin(struct ppo *p, struct ppo_batch *b, struct bin_loss *l, bool last) {
    if (policy_learns(p, l))
        CAI_TRY(model_bin(p, b, l, false, last));
    return p->models.value ? model_bin(p, b, l, true, last) : 0;
}

static int step_policy(struct ppo *p, struct ppo_update_stats *stats, bool *moved) {
    struct trainer_report r;
    double lr = train_rate(&p->o.optimizer, p->done, p->o.steps);
    CAI_TRY(trainer_step(p->models.policy, lr, &r));
    *moved = *moved || (lr > 0 && r.outcome == TRAINER_STEPPED);
    stats->skipped += r.outcome == TRAINER_SKIPPED;
    if (r.outcome == TRAINER_STEPPED)
        stats->grad_norm = fmax(stats->grad_norm, r.grad_norm);
    return 0;
}

static int step_value(struct ppo *p, struct ppo_update_stats *stats) {
    struct train_optimizer value = p->o.optimizer;
    struct trainer_report r;
    value.lr = p->o.value_lr;
    CAI_TRY(trainer_step(p->models.value, train_rate(&value, p->done, p->o.steps), &r));
    stats->skipped += r.outcome == TRAINER_SKIPPED;
    if (r.outcome == TRAINER_STEPPED)
        stats->value_grad_norm = fmax(stats->value_grad_norm, r.grad_norm);
    return 0;
}

/* Whether the minibatch went too far from the policy that wrote the replies to be learned
 * from: the mean ratio above max_ratio, or the mean KL above kl.stop; `now` is this rank's. */
static int went_too_far(const struct ppo *p, const struct ppo_update_stats *now, bool *ret,
                        bool *ret_ended) {
    double sums[] = {now->ratio, now->approx_kl, now->ratios};
    *ret = *ret_ended = false;
    if (p->o.max_ratio <= 0 && p->o.kl_stop <= 0)
        return 0;
    if (learn_world(p->task) > 1)
        CAI_TRY(comm_all_reduce_f64(p->task->comm, sums, 3));
    if (sums[2] == 0)
        return 0;
    *ret_ended = p->o.kl_stop > 0 && sums[1] / sums[2] > p->o.kl_stop;
    *ret = *ret_ended || (p->o.max_ratio > 0 && sums[0] / sums[2] > p->o.max_ratio);
    return 0;
}

static void add_stats(struct ppo_update_stats *to, const struct ppo_update_stats *from) {
    to->policy_loss += from->policy_loss;
    to->value_loss += from->value_loss;
    to->value_clipped += from->value_clipped;
    to->clipped += from->clipped;
    to->approx_kl += from->approx_kl;
    to->ratio += from->ratio;
    to->ratios += from->ratios;
    to->ratio_max = fmax(to->ratio_max, from->ratio_max);
    to->ptx_loss += from->ptx_loss;
    to->mixed += from->mixed;
}

static int leave_out(struct ppo *p, struct ppo_update_stats *stats) {
    stats->left_out++;
    CAI_TRY(trainer_discard(p->models.policy));
    return p->models.value != NULL ? trainer_discard(p->models.value) : 0;
}

int ppo_minibatch(struct ppo *p, struct ppo_batch *b, const uint32_t *bins, bool *moved,
                  struct ppo_update_stats *stats) {
    size_t rank = (size_t)learn_rank(p->task), world = (size_t)learn_world(p->task);
    struct ppo_update_stats now = {0};
    int64_t update = p->updates++;
    struct bin_loss l = {.p = p, .b = b, .moved = *moved, .stats = &now};
    bool far;
    for (size_t i = 0; i < b->per_minibatch; i++) {
        l.count += (double)(b->bin_rows[bins[i] + 1] - b->bin_rows[bins[i]]);
        for (size_t j = b->p.starts[bins[i]]; j < b->p.starts[bins[i] + 1]; j++)
            if (b->used[b->p.units[j]])
                l.share += policy_share(p->algorithm, &p->o, length_of(b, b->p.units[j]));
    }
    if (l.count == 0 || (p->models.value == NULL && l.share == 0))
        return 0;
    if (b->white)
        policy_whiten(b, &p->o, bins, b->per_minibatch);
    if (p->mix.n > 0 && policy_learns(p, &l)) {
        CAI_TRY(ppo_mix(p, p->done * p->o.epochs * p->o.minibatches + update, &now.ptx_loss));
        now.mixed++;
    }
    for (size_t i = rank; i < b->per_minibatch; i += world) {
        l.bin = bins[i];
        CAI_TRY(update_bin(p, b, &l, i + world >= b->per_minibatch));
    }
    CAI_TRY(went_too_far(p, &now, &far, &stats->ended));
    stats->rows += l.count;
    stats->share += policy_trains(p) ? l.share : 0;
    add_stats(stats, &now);
    if (far)
        return leave_out(p, stats);
    if (policy_learns(p, &l))
        CAI_TRY(step_policy(p, stats, moved));
    return p->models.value != NULL ? step_value(p, stats) : 0;
}

/* Sums and maxima of all ranks. */
static int gather_stats(const struct ppo *p, struct ppo_update_stats *s) {
    double *part[] = {&s->policy_loss, &s->value_loss, &s->clipped, &s->approx_kl, &s->ratio,
                      &s->ratios, &s->value_clipped, &s->leaving, &s->ptx_loss, &s->due};
    double sums[CAI_COUNT(part)];
    int64_t bits; /* of a double that is not negative: ordered as the double is */
    s->leaving = learn_wishes_to_leave(p->task);
    s->due = learn_rank(p->task) == 0 && saving_due(&p->saving, p->done + 1);
    if (learn_world(p->task) == 1)
        return 0;
    for (size_t i = 0; i < CAI_COUNT(part); i++)
        sums[i] = *part[i];
    memcpy(&bits, &s->ratio_max, sizeof bits);
    CAI_TRY(comm_all_reduce_f64(p->task->comm, sums, CAI_COUNT(part)));
    CAI_TRY(comm_all_reduce_max(p->task->comm, &bits, 1));
    for (size_t i = 0; i < CAI_COUNT(part); i++)
        *part[i] = sums[i];
    memcpy(&s->ratio_max, &bits, sizeof bits);
    return 0;
}

int ppo_update(struct ppo *p, struct ppo_batch *b, struct ppo_update_stats *ret) {
    bool moved = false;
    *ret = (struct ppo_update_stats){0};
    p->updates = 0;
    CAI_AUTO(mem) uint32_t *order = cai_realloc(NULL, b->p.n_bins, sizeof *order);
    for (int64_t epoch = 0; epoch < p->o.epochs; epoch++) {
        struct cai_key key = cai_key_make(p->task->seed, p->task->round, "ppo/epoch",
                                          (uint64_t)p->done, (uint32_t)epoch);
        cai_rng_permutation(key, b->p.n_bins, order);
        for (size_t from = 0; from < b->p.n_bins && !ret->ended; from += b->per_minibatch)
            CAI_TRY(ppo_minibatch(p, b, order + from, &moved, ret));
    }
    return gather_stats(p, ret);
}

/* ---- figures ------------------------------------------------------------------------------ */

static void score_figures(const struct ppo_batch *b, struct metrics *m) {
    const struct rollouts *r = b->rollouts;
    double sum[2] = {0}, count[2] = {0}, ended = 0, length = 0, kl2 = 0, kl3 = 0, used = 0;
    for (size_t i = 0; i < r->n; i++) {
        sum[r->r[i].row->helpful] += b->score[i];
        count[r->r[i].row->helpful]++;
        ended += r->r[i].ended;
        used += b->used[i];
        length += (double)(r->r[i].n - r->r[i].n_prompt);
    }
    for (size_t i = 0; i < b->n_rows; i++) {
        kl2 += loss_kl(LOSS_KL2, b->old[i], b->reference[i], 0);
        kl3 += loss_kl(LOSS_KL3, b->old[i], b->reference[i], 0);
    }
    metrics_add(m, loss_mean(b->score, NULL, r->n), "score_mean");
    metrics_add(m, sqrt(loss_variance(b->score, NULL, r->n)), "score_std");
    metrics_add(m, sum[0] / count[0], "score_harmful"); /* left out when there are none */
    metrics_add(m, sum[1] / count[1], "score_helpful");
    metrics_add(m, kl2 / (double)r->n, "kl2");
    metrics_add(m, kl3 / (double)r->n, "kl3");
    metrics_add(m, length / (double)r->n, "length");
    metrics_add(m, ended / (double)r->n, "end_rate");
    metrics_add(m, used / (double)r->n, "used_replies");
}

enum { PRINCIPLES_MAX = 64 };

struct by_principle {
    const char *id;
    double sum, n;
};

/* In the order of their names; NULL when there are too many. */
static struct by_principle *principle_of(struct by_principle *at, size_t *n, const char *id) {
    size_t i = 0;
    while (i < *n && strcmp(at[i].id, id) < 0)
        i++;
    if (i < *n && strcmp(at[i].id, id) == 0)
        return &at[i];
    if (*n == PRINCIPLES_MAX)
        return NULL;
    memmove(&at[i + 1], &at[i], (*n - i) * sizeof *at);
    at[i] = (struct by_principle){.id = id};
    ++*n;
    return &at[i];
}

/* Scores by the principles that were broken at the prompts before. */
static void principle_figures(const struct ppo_batch *b, struct metrics *m) {
    struct by_principle at[PRINCIPLES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < b->rollouts->n; i++) {
        const struct dataset_row *row = b->rollouts->r[i].row;
        for (size_t k = 0; k < row->n_broke; k++) {
            struct by_principle *p = principle_of(at, &n, row->broke[k]);
            if (p != NULL) {
                p->sum += b->score[i];
                p->n++;
            }
        }
    }
    for (size_t i = 0; i < n; i++)
        metrics_add(m, at[i].sum / at[i].n, "score/%s", at[i].id);
}

static void value_figure(const struct ppo_batch *b, struct metrics *m) {
    CAI_AUTO(mem) double *residual = cai_alloc((b->n_rows + 1) * sizeof *residual);
    for (size_t i = 0; i < b->n_rows; i++)
        residual[i] = b->returns[i] - b->value[i];
    metrics_add(m, 1 - loss_variance(residual, NULL, b->n_rows) /
                           loss_variance(b->returns, NULL, b->n_rows), "explained_variance");
}

static void row_figures(const struct ppo_batch *b, struct metrics *m) {
    double gap = 0, gap_max = 0, total = 0;
    for (size_t i = 0; i < b->n_rows; i++) {
        double d = fabs(b->sampled[i] - b->old[i]);
        gap += d;
        gap_max = fmax(gap_max, d);
        total += b->reward[i];
    }
    metrics_add(m, total / (double)b->rollouts->n, "reward");
    metrics_add(m, loss_mean(b->entropy, NULL, b->n_rows), "entropy");
    metrics_add(m, gap / (double)b->n_rows, "sampler_gap");
    metrics_add(m, gap_max, "sampler_gap_max");
}

static void raw_figure(const struct ppo *p, const struct ppo_batch *b, struct metrics *m) {
    if (p->models.n_pm > 0)
        metrics_add(m, loss_mean(b->raw, NULL, b->rollouts->n * p->models.n_pm), "raw_score");
}

static void figures(struct ppo *p, const struct ppo_batch *b, const struct ppo_update_stats *s,
                    double kl) {
    struct metrics *m = &p->last;
    *m = (struct metrics){0};
    score_figures(b, m);
    principle_figures(b, m);
    raw_figure(p, b, m);
    row_figures(b, m);
    metrics_add(m, kl, "kl");
    metrics_add(m, s->policy_loss / s->share, "policy_loss");
    metrics_add(m, s->ptx_loss / s->mixed, "ptx_loss"); /* left out when there is none */
    metrics_add(m, s->clipped / s->ratios, "clip_fraction");
    metrics_add(m, s->ratio / s->ratios, "ratio_mean");
    metrics_add(m, s->ratio_max, "ratio_max");
    metrics_add(m, s->approx_kl / s->ratios, "approx_kl");
    metrics_add(m, train_rate(&p->o.optimizer, p->done, p->o.steps), "lr");
    metrics_add(m, p->kl_coef, "kl_coef");
    metrics_add(m, s->grad_norm, "grad_norm");
    metrics_add(m, (double)s->skipped, "skipped_updates");
    metrics_add(m, (double)s->left_out, "left_out_updates");
    if (p->red != NULL)
        red_figures(p->red, m);
    if (p->models.value == NULL)
        return;
    metrics_add(m, s->value_loss / s->rows, "value_loss");
    metrics_add(m, s->value_clipped / s->rows, "value_clip_fraction");
    metrics_add(m, s->value_grad_norm, "value_grad_norm");
    value_figure(b, m);
}

/* ---- samples for people ---------------------------------------------------------------------- */

enum { SAMPLED_STEPS = 25 };

static Cai__V1__Message *message_new(const char *role, const char *text, const char *origin) {
    Cai__V1__Message *m = cai_alloc(sizeof *m);
    cai__v1__message__init(m);
    m->role = cai_strdup(role);
    m->text = cai_strdup(text);
    m->origin = cai_strdup(origin);
    return m;
}

static Cai__V1__Sample *sample_new(const struct ppo_batch *b, size_t i, uint64_t step) {
    const struct rollout *r = &b->rollouts->r[i];
    Cai__V1__Sample *s = cai_alloc(sizeof *s);
    Cai__V1__Conversation *c = cai_alloc(sizeof *c);
    cai__v1__sample__init(s);
    cai__v1__conversation__init(c);
    json_t *messages = json_loads(r->row->messages, 0, NULL), *x;
    size_t at;
    c->messages = cai_alloc((json_array_size(messages) + 1) * sizeof *c->messages);
    json_array_foreach(messages, at, x) {
        c->messages[c->n_messages++] =
            message_new(json_string_value(json_object_get(x, "role")),
                        json_string_value(json_object_get(x, "text")), "data");
    }
    c->messages[c->n_messages++] = message_new("assistant", r->text, "model");
    json_decref(messages);
    s->conversation = c;
    s->step = step;
    s->reward = b->score[i];
    s->kl = b->kl[i];
    return s;
}

/* The replies of this step that are kept: its first ones, which are as good as any. */
static size_t sampled(const struct ppo *p, const struct ppo_batch *b) {
    int64_t apart = p->o.steps / SAMPLED_STEPS > 0 ? p->o.steps / SAMPLED_STEPS : 1;
    int64_t every = p->o.sample_every > 0 ? p->o.sample_every : apart;
    size_t want = (size_t)p->o.samples;
    if (p->done % every != 0 && p->done + 1 != p->o.steps)
        return 0;
    return want < b->rollouts->n ? want : b->rollouts->n;
}

static void report(struct ppo *p, const struct ppo_batch *b) {
    size_t n = sampled(p, b);
    uint64_t step = (uint64_t)p->done + 1;
    CAI_AUTO(mem) Cai__V1__Sample **samples = cai_alloc((n + 1) * sizeof *samples);
    for (size_t i = 0; i < n; i++)
        samples[i] = sample_new(b, i, step);
    learn_report(p->task, step, (uint64_t)p->o.steps, step, &p->last, samples, n);
    while (n > 0)
        cai__v1__sample__free_unpacked(samples[--n], NULL);
}

/* ---- one step ---------------------------------------------------------------------------------- */

static int train_on(struct ppo *p, struct ppo_batch *b) {
    struct ppo_update_stats stats;
    CAI_TRY(ppo_batch_evaluate(b, &p->models, p->task, &p->o));
    if (p->red != NULL)
        CAI_TRY(red_score(p->red, b->rollouts, b->score));
    CAI_TRY(ppo_batch_advantages(b, &p->models, &p->o, p->done, p->kl_coef));
    CAI_TRY(learn_stopping(p->task));
    CAI_TRY(ppo_update(p, b, &stats));
    p->leaving = stats.leaving > 0;
    p->due = stats.due > 0;
    double kl = loss_mean(b->kl, NULL, b->rollouts->n);
    figures(p, b, &stats, kl);
    report(p, b);
    p->kl_window[p->done % PPO_KL_WINDOW] = kl;
    p->kl_coef = loss_kl_coef(p->kl_coef, kl, p->o.kl_target, p->o.kl_horizon,
                              (double)b->rollouts->n);
    p->done++;
    return 0;
}

int ppo_step(struct ppo *p) {
    struct sampler_of_rollouts s = {p->task, &p->prompts, p->engine, &p->o};
    struct rollouts r;
    struct ppo_batch b;
    CAI_TRY(rollouts_sample(&s, (uint64_t)p->done, &r));
    int rc = ppo_batch_new(&r, &p->o, learn_world(p->task), &b);
    if (rc == 0)
        rc = train_on(p, &b);
    ppo_batch_free(&b);
    rollouts_free(&r);
    return rc;
}

bool ppo_spent(const struct ppo *p) {
    if (p->o.kl_budget <= 0 || p->done < PPO_KL_WINDOW)
        return false;
    return loss_mean(p->kl_window, NULL, PPO_KL_WINDOW) > p->o.kl_budget;
}
