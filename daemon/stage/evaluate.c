/* evaluate.c: what the present policy replies to held-out prompts, stored by checkpoint,
 * with rates. Nothing here is trained on.
 *
 * Phases: base (once per job: the start model, recorded as round 0), reply, classifier
 * (when red_team did not train it) → (done) score-base, score, score-taken (what the round
 * trained on: guard.h), win.
 * Examples: reply (round 0 = base; {"kind", "cut"}), score ({"p"}), win ({"p"}: P(the
 *   policy's reply is better than the base's); identical replies are ties and not asked),
 *   again, again_score (further replies: guard_tolerance.c),
 *   grader (k = place; text = the rate's name, {"grader", "verified", "check"}), taken and
 *   taken_score (guard.h).
 * Metrics, for round 0 and this one: the rates of probes.c, each with _low _high _n (Wilson,
 *   95 %); mean_words; replies; and what guard.h names. For this round only: win_rate (_low _high _n,
 *   bootstrap), win_ties, win_flipped, win_option_mass.
 * Whether a rate's grader was ever checked: graders.h. */
#include "base/rng.h"
#include "stage/classifier.h"
#include "stage/data.h"
#include "stage/draw.h"
#include "stage/graders.h"
#include "stage/guard.h"
#include "stage/label.h"
#include "stage/probes.h"
#include "stage/rates.h"
#include "stage/review.h"
#include "stage/table.h"
#include <string.h>

enum { RESAMPLES = 1000 };
static const char *const kinds[] = {"harmful", "helpful", "lookalike"};

static bool enabled(const struct job_spec *job) {
    return job->evaluate.enabled && job->evaluate.prompts > 0;
}

/* Texts of the base are round 0's. */
static struct stage_context as_round(const struct stage_context *c, uint32_t round) {
    struct stage_context o = *c;
    o.round = round;
    return o;
}

/* ---- plan ------------------------------------------------------------------------------------ */
static int held_out_items(const struct stage_context *c, struct cai_arena *a, struct items *ret) {
    *ret = (struct items){0};
    for (size_t k = 0; k < CAI_COUNT(kinds); k++) {
        struct items part;
        CAI_TRY(data_held_out(c, kinds[k], (size_t)c->job->evaluate.prompts, a, &part));
        uint64_t *all = cai_arena_array(a, ret->n + part.n + 1, sizeof *all);
        if (ret->n)
            memcpy(all, ret->at, ret->n * sizeof *all);
        if (part.n)
            memcpy(all + ret->n, part.at, part.n * sizeof *all);
        ret->at = all;
        ret->n += part.n;
    }
    items_sort(ret);
    return 0;
}

static int plan_replies(const struct stage_context *c, const char *phase,
                        const struct model_ref *model, const struct items *items) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    build_generate(&b, c, phase, 0, model, &c->job->evaluate.reply);
    build_common_draws(&b, "evaluate");
    for (size_t i = 0; i < items->n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, items->at[i], &a, &d));
        CAI_TRY(build_generate_turns(&b, items->at[i], 0, 1, d.turns, d.n));
    }
    return build_flush(&b);
}

static bool base_known(const struct stage_context *c) {
    struct stage_context base = as_round(c, 0);
    return rates_known(&base, "replies");
}

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct items items;
    struct model_ref start, policy;
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    CAI_TRY(classifier_plan(c));
    CAI_TRY(held_out_items(c, &a, &items));
    CAI_TRY(models_start(c, &a, &start));
    CAI_TRY(models_policy(c, c->round, &a, &policy));
    if (!base_known(c))
        CAI_TRY(plan_replies(c, "base", &start, &items));
    CAI_TRY(plan_replies(c, "reply", &policy, &items));
    return guard_plan(c, !base_known(c));
}

/* ---- results --------------------------------------------------------------------------------- */
static int absorb_replies(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result) {
    struct stage_context own = as_round(c, strcmp(task->phase, "base") == 0 ? 0 : c->round);
    return probes_keep_replies(&own, task, result, "reply", false);
}

static int absorb_scores(const struct stage_context *c, const Cai__V1__Task *task,
                         const Cai__V1__Result *result) {
    struct stage_context own = as_round(c, strcmp(task->phase, "score-base") == 0 ? 0 : c->round);
    const char *kind = strcmp(task->phase, "score-taken") == 0 ? "taken_score" : "score";
    const char *judge = task->work_case == CAI__V1__TASK__WORK_REWARD
                            ? task->reward->models[0]->hash
                            : task->score->model->hash;
    return probes_keep_scores(&own, task, result, kind, judge);
}

static const struct principle *win_principle(const struct stage_context *c, uint64_t item) {
    struct stage_context fixed = as_round(c, 0);
    return draw_principle(&fixed, DRAW_CHOICE, "evaluate/win", item, 0);
}

static int absorb_wins(const struct stage_context *c, const Cai__V1__Task *task,
                       const Cai__V1__Result *result, struct cai_arena *a) {
    const Cai__V1__Scored **s;
    size_t n;
    CAI_TRY(result_order_scored(task, result, a, &s, &n));
    for (size_t i = 0; i + 1 < n; i += 2) {
        struct choice o = choice_read(s[i], s[i + 1]);
        if (o.lost)
            continue;
        CAI_TRY(example_put(c, s[i]->item, 0, "win", "", win_principle(c, s[i]->item)->id,
                            task->score->model->hash,
                            json_pack("{s:f, s:f, s:b, s:b}", "p", o.p, "mass",
                                      0.5 * (o.mass_ab + o.mass_ba), "decided", o.decided,
                                      "flipped", o.flipped)));
    }
    return 0;
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    if (classifier_trains(task))
        return classifier_trained(c, task, result);
    if (guard_asked(task))
        return guard_absorb(c, task, result);
    if (strcmp(task->phase, "base") == 0 || strcmp(task->phase, "reply") == 0)
        return absorb_replies(c, task, result);
    if (strcmp(task->phase, "win") == 0)
        return absorb_wins(c, task, result, &a);
    return absorb_scores(c, task, result);
}

/* ---- judging -------------------------------------------------------------------------------- */
static int plan_scores(const struct stage_context *c, const char *phase,
                       const struct examples *replies) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    CAI_TRY(classifier_build(&b, c, phase, 0, &a));
    for (size_t i = 0; i < replies->n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, replies->at[i].item, &a, &d));
        CAI_TRY(classifier_reply(&b, replies->at[i].item, replies->at[i].k, d.turns, d.n,
                                 replies->at[i].text));
    }
    return build_flush(&b);
}

/* The prompts of the win rate: the same in every round. */
static int win_items(const struct stage_context *c, const struct examples *base,
                     struct cai_arena *a, struct items *ret) {
    *ret = (struct items){cai_arena_array(a, base->n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < base->n; i++)
        ret->at[ret->n++] = base->at[i].item;
    if (c->job->evaluate.win_pairs == 0)
        ret->n = 0;
    items_take(c, 0, "evaluate/win", (size_t)c->job->evaluate.win_pairs, ret);
    return 0;
}

static int plan_wins(const struct stage_context *c, const struct examples *base,
                     const struct examples *replies) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct items items;
    struct model_ref overseer;
    CAI_TRY(win_items(c, base, &a, &items));
    CAI_TRY(models_role(c, "judge", c->round, &a, &overseer));
    build_score(&b, c, "win", 0, &overseer);
    for (size_t i = 0; i < items.n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        const struct store_example *x = examples_find(replies, items.at[i], 0);
        const struct store_example *y = examples_find(base, items.at[i], 0);
        const struct principle *p = win_principle(c, items.at[i]);
        if (!x || !y || !p || strcmp(x->text, y->text) == 0)
            continue;
        CAI_TRY(data_dialog(c, items.at[i], &a, &d));
        CAI_TRY(choice_ask(&b, c, p, d.turns, d.n, x->text, y->text, items.at[i], 0, true));
    }
    return build_flush(&b);
}

/* Which rate was given by whom, with the model that gave it. */
static int name_graders(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct model_ref overseer, classifier;
    struct graders g;
    CAI_TRY(graders_load(c->store, c->job_id, &g));
    CAI_TRY(models_role(c, "judge", c->round, &a, &overseer));
    if (models_classifier(c, &a, &classifier) < 0)
        classifier = overseer;
    const struct {
        const char *rate, *model;
    } rows[] = {{"harmful_rate", classifier.hash}, {"refusal_rate", ""},
                {"evasion_rate_helpful", ""}, {"win_rate", overseer.hash}};
    for (size_t i = 0; i < CAI_COUNT(rows); i++) {
        struct grader by;
        CAI_CHECK(graders_of(&g, "evaluate", rows[i].rate, &by));
        CAI_TRY(example_put(c, 0, (uint32_t)i, "grader", rows[i].rate, NULL, rows[i].model,
                            json_pack("{s:s, s:b, s:s}", "grader", by.name, "verified",
                                      by.verified, "check", by.check)));
    }
    return 0;
}

static int plan_judging(const struct stage_context *c, bool base_is_new, size_t *ret_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct probes base, now;
    struct examples taken;
    CAI_TRY(probes_load(c, 0, &a, &base));
    CAI_TRY(probes_load(c, c->round, &a, &now));
    CAI_TRY(guard_take(c, &a, &taken));
    if (base_is_new)
        CAI_TRY(plan_scores(c, "score-base", &base.replies));
    CAI_TRY(plan_scores(c, "score", &now.replies));
    CAI_TRY(plan_scores(c, "score-taken", &taken));
    CAI_TRY(plan_wins(c, &base.replies, &now.replies));
    CAI_TRY(guard_plan_scores(c, base_is_new));
    CAI_TRY(rates_value(c, "replies", (double)now.replies.n));
    if (base_is_new)
        CAI_TRY(store_metric_add(c->store, c->job_id, 0, c->stage, 0, "replies",
                                 (double)base.replies.n));
    *ret_n = now.replies.n + base.replies.n;
    return name_graders(c);
}

/* ---- figures -------------------------------------------------------------------------------- */
static int win_figures(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct probes base, now;
    struct examples wins;
    struct items items;
    CAI_TRY(probes_load(c, 0, &a, &base));
    CAI_TRY(probes_load(c, c->round, &a, &now));
    CAI_TRY(examples_load(c, c->round, "evaluate", "win", &a, &wins));
    CAI_TRY(win_items(c, &base.replies, &a, &items));
    double *value = cai_arena_array(&a, items.n + 1, sizeof *value), sum = 0, low, high;
    double ties = 0, decided = 0, flipped = 0, mass = 0;
    size_t n = 0;
    for (size_t i = 0; i < items.n; i++) {
        const struct store_example *w = examples_find(&wins, items.at[i], 0);
        const struct store_example *x = examples_find(&now.replies, items.at[i], 0);
        const struct store_example *y = examples_find(&base.replies, items.at[i], 0);
        bool same = x && y && strcmp(x->text, y->text) == 0;
        if (!w && !same)
            continue;
        double p = w ? example_number(w, "p", 0.5) : 0.5;
        value[n] = p > 0.5 ? 1 : p < 0.5 ? 0 : 0.5;
        ties += p == 0.5;
        decided += w && example_flag(w, "decided");
        flipped += w && example_flag(w, "flipped");
        mass += w ? example_number(w, "mass", 0) : 0;
        sum += value[n++];
    }
    if (n == 0)
        return 0;
    rates_bootstrap(cai_key_make(c->job->seed, c->round, "evaluate/bootstrap", 0, 0), value, n,
                    RESAMPLES, 0.95, &low, &high);
    CAI_TRY(rates_value(c, "win_rate", sum / (double)n));
    CAI_TRY(rates_value(c, "win_rate_low", low));
    CAI_TRY(rates_value(c, "win_rate_high", high));
    CAI_TRY(rates_value(c, "win_rate_n", (double)n));
    CAI_TRY(rates_value(c, "win_ties", ties / (double)n));
    CAI_TRY(rates_value(c, "win_flipped", decided > 0 ? flipped / decided : 0));
    return rates_value(c, "win_option_mass", wins.n ? mass / (double)wins.n : 0);
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    size_t n;
    ret->next = STAGE_DONE;
    if (!rates_known(c, "replies")) {
        CAI_TRY(plan_judging(c, !base_known(c), &n));
        if (n > 0) {
            ret->next = STAGE_MORE;
            return 0;
        }
    }
    CAI_TRY(probes_figures(c, 0));
    CAI_TRY(probes_figures(c, c->round));
    CAI_TRY(win_figures(c));
    CAI_TRY(review_grades(c, ret));
    if (ret->next == STAGE_WAIT)
        return 0;
    CAI_TRY(guard_more(c, &n)); /* how much to ask depends on how good people found the graders */
    if (n > 0) {
        ret->next = STAGE_MORE;
        return 0;
    }
    return guard_judge(c, ret);
}

const struct stage stage_evaluate = {"evaluate", "evaluation", false, enabled,
                                     plan,       absorb,       done};
