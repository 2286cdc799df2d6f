/* prefer.c: the preference model: Bradley-Terry with soft targets on the labels of this
 * round and those before, split by prompt, then its accuracy and reliability on the
 * held-out pairs.
 *
 * Phases: pm (a gang) → (done) score. A pair compared under several principles is one row
 * whose p is the mean of theirs. Models: pm, k = member.
 * Examples: score (k = place of the pair within its prompt, {"p": P(A) of the members'
 *   mean score, "target", "a", "b"}).
 * Metrics: rows, rows_held_out, pm_accuracy (_low _high _n; pairs with |p − ½| > 0.1),
 *   pm_ai_accuracy and pm_human_accuracy (_low _high _n; those of the overseer and of people),
 *   rows_human (of rows and rows_held_out together), pm_accuracy/PRINCIPLE (_low
 *   _high _n; the overseer's labels under it, of held-out pairs), pm_ece, pm_excess_loss (mean
 *   cross-entropy less the targets' own entropy), pm_bin_count, pm_bin_p, pm_bin_target
 *   (step = bin, ten of them), held_out_asked, pm_score_mean, pm_score_std, pm_slope (the
 *   calibration slope of the members' mean), pm_trust (how far PPO follows the scores); and
 *   what the trainer names. */
#include "stage/build.h"
#include "stage/data.h"
#include "stage/dataset.h"
#include "stage/label.h"
#include "stage/pairs.h"
#include "stage/rates.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

enum { BINS = 10, GATE_PAIRS = 50 };

static bool enabled(const struct job_spec *job) { return job->prefer.enabled; }

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dataset) struct dataset d = {0};
    struct pairs pairs;
    struct model_ref init;
    Cai__V1__Dataset frozen;
    size_t held_out = 0, human = 0;
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    if (!stage_label.enabled(c->job)) { /* only people's then, all of them */
        struct stage_context label = *c;
        label.stage = stage_label.name;
        CAI_TRY(label_people(&label, 0));
    }
    int rc = pairs_load(c, c->round, &pairs);
    for (size_t i = 0; i < pairs.n && rc == 0; i++) {
        held_out += pairs.at[i].held_out;
        human += pairs.at[i].human;
        rc = pair_row(c, &pairs.at[i], &d);
    }
    free(pairs.at);
    CAI_TRY(rc);
    CAI_TRY(dataset_freeze(c, &d, "there are no labels; switch the stage label on, or name a file "
                           "as data.human", &a, &frozen));
    CAI_TRY(models_role(c, "pm", c->round, &a, &init));
    CAI_TRY(rates_value(c, "rows", (double)(d.rows - held_out)));
    CAI_TRY(rates_value(c, "rows_held_out", (double)held_out));
    CAI_TRY(rates_value(c, "rows_human", (double)human));
    json_t *options = job_stage_json(c->job, "prefer");
    json_object_set_new(options, "clear", json_real(job_label_clear(c->job)));
    rc = build_train(c, "pm", "pm", &init, NULL, NULL, 0, &frozen, options);
    json_decref(options);
    return rc;
}

/* ---- judging the held-out pairs ------------------------------------------------------------ */
/* k of a score: pairs of one prompt are told apart by round and pass. */
static uint32_t pair_key(const struct pair *p) { return p->round << 16 | p->pass; }

static int plan_scores(const struct stage_context *c, size_t *ret_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct pairs pairs;
    struct model_ref *pm;
    size_t n_pm;
    *ret_n = 0;
    CAI_TRY(models_pm(c, c->round, &a, &pm, &n_pm));
    int rc = pairs_load(c, c->round, &pairs);
    build_reward(&b, c, "score", 0, pm, n_pm);
    for (size_t i = 0; i < pairs.n && rc == 0; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        const struct pair *p = &pairs.at[i];
        const char *x, *y;
        if (!p->held_out)
            continue;
        rc = data_dialog(c, p->item, &a, &d);
        rc = rc < 0 ? rc : pair_replies(c, p, &a, &x, &y);
        rc = rc < 0 ? rc : build_reward_reply(&b, p->item, 2 * pair_key(p), d.turns, d.n, x);
        rc = rc < 0 ? rc : build_reward_reply(&b, p->item, 2 * pair_key(p) + 1, d.turns, d.n, y);
        ++*ret_n;
    }
    free(pairs.at);
    CAI_TRY(rc);
    return build_flush(&b);
}

static double mean_score(const Cai__V1__Rewarded *r) {
    double sum = 0;
    for (size_t i = 0; i < r->n_scores; i++)
        sum += r->scores[i];
    return sum / (double)r->n_scores;
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Rewarded **r;
    size_t n;
    if (task->work_case == CAI__V1__TASK__WORK_TRAIN)
        return result_trained(c, task, result, "pm",
                              c->job->prefer.average ? 1 : (size_t)c->job->prefer.members);
    CAI_TRY(result_order_rewarded(task, result, &a, &r, &n));
    for (size_t i = 0; i + 1 < n; i += 2) {
        if (r[i]->too_long || r[i + 1]->too_long)
            continue;
        double x = mean_score(r[i]), y = mean_score(r[i + 1]);
        CAI_TRY(example_put(c, r[i]->item, r[i]->k / 2, "score", "", NULL,
                            task->reward->models[0]->hash,
                            json_pack("{s:f, s:f, s:f}", "a", x, "b", y, "p",
                                      1 / (1 + exp(y - x)))));
    }
    return 0;
}

/* ---- figures -------------------------------------------------------------------------------- */
static double xlogx(double x) { return x > 0 ? x * log(x) : 0; }
static double log_sigmoid(double x) { return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x)); }

struct sums {
    double *p, *target, *gap;
    size_t n, right, clear, human_right, human;
    double excess, score, score2, margin;
};

static void add_pair(struct sums *s, const struct pair *pair, const struct store_example *e) {
    double x = example_number(e, "a", 0), y = example_number(e, "b", 0), d = x - y;
    double t = pair->p;
    s->p[s->n] = example_number(e, "p", 0.5);
    s->gap[s->n] = d;
    s->target[s->n++] = t;
    s->excess += -(t * log_sigmoid(d) + (1 - t) * log_sigmoid(-d)) + xlogx(t) + xlogx(1 - t);
    s->score += x + y;
    s->score2 += x * x + y * y;
    if (fabs(t - 0.5) <= s->margin)
        return;
    bool right = (t > 0.5) == (d > 0) && d != 0;
    s->clear++;
    s->right += right;
    s->human += pair->human;
    s->human_right += right && pair->human;
}

/* A preference model at chance gives PPO noise to climb. Too few held-out pairs say nothing
 * either way. */
static void gate(const struct stage_context *c, const struct sums *s, struct stage_verdict *ret) {
    double low, high, confidence = c->job->prefer.gate_confidence;
    if (s->clear < GATE_PAIRS || confidence == 0 || !c->job->ppo.enabled ||
        stage_accepted(c, "prefer"))
        return;
    if (rates_beat_chance(s->right, s->clear, confidence, &low, &high))
        return;
    ret->next = STAGE_WAIT;
    snprintf(ret->gate, sizeof ret->gate, "prefer");
    snprintf(ret->reason, sizeof ret->reason,
             "preference model at chance: accuracy %.3f on %zu held-out pairs, interval %.3f to "
             "%.3f; PPO would follow noise. Look at the labels (caictl samples %lld --stage "
             "label), give it more of them (stages.label.pairs) or another learning rate "
             "(stages.prefer.lr), or accept it with 'caictl resume %lld --accept prefer': its scores "
             "then count only as far as held-out labels bear them out (pm_trust)",
             (double)s->right / (double)s->clear, s->clear, low, high, (long long)c->job_id,
             (long long)c->job_id);
}

/* How far the scores hold on held-out labels, at the least: the lower bound of the calibration
 * slope, within 0 and 1. Scores that learnt noise would else be stretched to a deviation of 1
 * and climbed like any other. Few pairs say nothing either way, as in the gate. */
static int write_trust(const struct stage_context *c, const struct sums *s) {
    double slope, error, confidence = c->job->prefer.gate_confidence;
    if (s->clear < GATE_PAIRS || confidence == 0)
        return 0;
    rates_slope(s->gap, s->target, s->n, &slope, &error);
    double trust = fmin(fmax(slope - rates_quantile(confidence) * error, 0), 1);
    CAI_TRY(rates_value(c, "pm_slope", slope));
    return rates_value(c, "pm_trust", trust);
}

static int write_figures(const struct stage_context *c, const struct sums *s) {
    double count[BINS], p[BINS], y[BINS], n = s->n ? (double)s->n : 1;
    double mean = s->score / (2 * n);
    CAI_TRY(rates_metric(c, c->round, "prefer", "pm_accuracy", s->right, s->clear));
    CAI_TRY(rates_metric(c, c->round, "prefer", "pm_human_accuracy", s->human_right, s->human));
    CAI_TRY(rates_metric(c, c->round, "prefer", "pm_ai_accuracy", s->right - s->human_right,
                         s->clear - s->human));
    CAI_TRY(rates_value(c, "pm_ece", rates_ece(s->p, s->target, s->n, BINS, count, p, y)));
    CAI_TRY(rates_value(c, "pm_excess_loss", s->excess / n));
    CAI_TRY(rates_value(c, "pm_score_mean", mean));
    CAI_TRY(rates_value(c, "pm_score_std", sqrt(fmax(0, s->score2 / (2 * n) - mean * mean))));
    for (uint64_t b = 0; b < BINS; b++) {
        CAI_TRY(store_metric_add(c->store, c->job_id, c->round, c->stage, b, "pm_bin_count",
                                 count[b]));
        CAI_TRY(store_metric_add(c->store, c->job_id, c->round, c->stage, b, "pm_bin_p", p[b]));
        CAI_TRY(store_metric_add(c->store, c->job_id, c->round, c->stage, b, "pm_bin_target",
                                 y[b]));
    }
    return 0;
}

/* ---- accuracy by principle ------------------------------------------------------------------ */
/* Each label counts on its own, also where a pair's were averaged for training. */
enum { PRINCIPLES_MAX = 256 };
struct by_principle {
    const struct examples *scores;
    struct cai_arena *arena;
    uint32_t per_pair, last_round;
    double margin;
    struct tally {
        const char *id;
        size_t right, clear;
    } at[PRINCIPLES_MAX];
    size_t n;
};

/* In the order of their names; NULL when there are too many. */
static struct tally *tally_of(struct by_principle *o, const char *id) {
    size_t i = 0;
    while (i < o->n && strcmp(o->at[i].id, id) < 0)
        i++;
    if (i < o->n && strcmp(o->at[i].id, id) == 0)
        return &o->at[i];
    if (o->n == PRINCIPLES_MAX)
        return NULL;
    memmove(&o->at[i + 1], &o->at[i], (o->n - i) * sizeof o->at[0]);
    o->at[i] = (struct tally){.id = cai_arena_strdup(o->arena, id)};
    o->n++;
    return &o->at[i];
}

static int count_label(void *context, const struct store_label *l) {
    struct by_principle *o = context;
    bool asked = l->held_out && l->round <= o->last_round && strcmp(l->source, "human") != 0;
    if (!asked || !l->principle || !*l->principle || fabs(l->p - 0.5) <= o->margin)
        return 0;
    struct pair pair = {.round = l->round, .pass = l->k / o->per_pair};
    const struct store_example *e = examples_find(o->scores, l->item, pair_key(&pair));
    struct tally *t = e ? tally_of(o, l->principle) : NULL;
    if (!t)
        return 0;
    double d = example_number(e, "a", 0) - example_number(e, "b", 0);
    t->clear++;
    t->right += (l->p > 0.5) == (d > 0) && d != 0;
    return 0;
}

static int write_principles(const struct stage_context *c, const struct examples *scores,
                            const struct pairs *pairs, struct cai_arena *a) {
    struct by_principle *o = cai_arena_alloc(a, sizeof *o);
    *o = (struct by_principle){.scores = scores, .arena = a, .per_pair = pairs->per_pair,
                               .last_round = c->round, .margin = job_label_clear(c->job)};
    CAI_TRY(store_labels_each(c->store, c->job_id, 0, count_label, o));
    for (size_t i = 0; i < o->n; i++) {
        const char *name = cai_arena_printf(a, "pm_accuracy/%s", o->at[i].id);
        CAI_TRY(rates_metric(c, c->round, "prefer", name, o->at[i].right, o->at[i].clear));
    }
    return 0;
}

static int judge(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct examples scores;
    struct pairs pairs;
    struct sums s = {.margin = job_label_clear(c->job)};
    CAI_TRY(examples_load(c, c->round, "prefer", "score", &a, &scores));
    int rc = pairs_load(c, c->round, &pairs);
    s.p = cai_arena_array(&a, pairs.n + 1, sizeof *s.p);
    s.target = cai_arena_array(&a, pairs.n + 1, sizeof *s.target);
    s.gap = cai_arena_array(&a, pairs.n + 1, sizeof *s.gap);
    for (size_t i = 0; i < pairs.n && rc == 0; i++) {
        const struct store_example *e =
            examples_find(&scores, pairs.at[i].item, pair_key(&pairs.at[i]));
        if (pairs.at[i].held_out && e)
            add_pair(&s, &pairs.at[i], e);
    }
    free(pairs.at);
    CAI_TRY(rc);
    gate(c, &s, ret);
    CAI_TRY(write_principles(c, &scores, &pairs, &a));
    CAI_TRY(write_trust(c, &s));
    return write_figures(c, &s);
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    size_t n = 0;
    ret->next = STAGE_DONE;
    if (!rates_known(c, "held_out_asked")) {
        CAI_TRY(plan_scores(c, &n));
        CAI_TRY(rates_value(c, "held_out_asked", (double)n));
    }
    if (n == 0)
        return judge(c, ret);
    ret->next = STAGE_MORE;
    return 0;
}

const struct stage stage_prefer = {"prefer", "preference model", false, enabled,
                                   plan,     absorb,             done};
