/* skill_gaps.c: what the trained overseer can: its answers to held-out verdicts, and the gaps of
 * Saunders et al. 2022 §5. Of N replies to a prompt one is taken: any (G), the one that it holds
 * least flawed (D), the one against which its critique convinces the judge least (C). GD = D − G:
 * it tells better than it writes; GC = C − G: critiques help; CD = D − C: it knows more than it
 * says. Quality and conviction are the judge's: the preference model's score, and by how much it
 * likes the refinement that follows the critique more than the reply (never less than 0); or, from
 * people alone, the share without a flaw among their verdicts on held-out replies, and the
 * probability that the critique is helpful. A critique that names no flaw convinces of nothing. */
#include "base/error.h"
#include "stage/data.h"
#include "stage/extract.h"
#include "stage/rates.h"
#include "stage/skill.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 2000 };

struct constitution skill_bare(const struct constitution *of) {
    struct constitution bare = *of;
    bare.n_critique_examples = 0;
    return bare;
}

static bool by_pm(const struct stage_context *c) {
    return strcmp(c->job->skill.judge, "pm") == 0;
}

static double yes_of(const Cai__V1__Scored *s) {
    return 1 / (1 + exp(s->logprobs[1] - s->logprobs[0]));
}

static int put_number(const struct stage_context *c, uint64_t item, uint32_t k, const char *kind,
                      const char *name, double value, const char *model) {
    return example_put(c, item, k, kind, "", NULL, model, json_pack("{s:f}", name, value));
}

/* ---- held-out verdicts -------------------------------------------------------------------------- */
static int plan_check(const struct stage_context *c, const struct model_ref *overseer) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    const struct constitution bare = skill_bare(c->constitution);
    struct items held;
    CAI_TRY(verified_items(c, true, &a, &held));
    build_score(&b, c, "check", 0, overseer);
    for (size_t i = 0; i < held.n; i++) {
        struct verified v;
        bool known;
        CAI_TRY(verified_load(c, held.at[i], &a, &v, &known));
        for (uint32_t k = 0; known && k < 2; k++) {
            struct rendering r;
            if (k == 0 ? v.flaw < 0 : !v.critique || v.helpful < 0)
                continue;
            if (k == 0)
                render_critiqueable(&bare, &v.principle, v.turns, v.n, &r);
            else
                render_helpful(&bare, &v.principle, v.turns, v.n, v.critique, &r);
            int rc = build_score_rendered(&b, v.item, k, &r);
            rendering_free(&r);
            CAI_TRY(rc);
        }
    }
    return build_flush(&b);
}

static int absorb_check(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Scored **s, size_t n, struct cai_arena *a) {
    for (size_t i = 0; i < n; i++) {
        struct verified v;
        bool known;
        if (s[i]->too_long)
            continue;
        CAI_TRY(verified_load(c, s[i]->item, a, &v, &known));
        CAI_TRY(example_put(c, s[i]->item, s[i]->k, "checked", "", NULL, task->score->model->hash,
                            json_pack("{s:f, s:b}", "p", yes_of(s[i]), "truth",
                                      (s[i]->k ? v.helpful : v.flaw) == 1)));
    }
    return 0;
}

static int check_figures(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct examples e;
    CAI_TRY(examples_load(c, c->round, "skill", "checked", &a, &e));
    for (uint32_t k = 0; k < 2; k++) {
        uint64_t n = 0, right = 0, yes = 0;
        for (size_t i = 0; i < e.n; i++) {
            if (e.at[i].k != k)
                continue;
            bool truth = example_flag(&e.at[i], "truth");
            n++;
            yes += truth;
            right += (example_number(&e.at[i], "p", 0.5) > 0.5) == truth;
        }
        if (n == 0)
            continue;
        CAI_TRY(rates_metric(c, c->round, "skill", k ? "helpful_accuracy" : "flaw_accuracy", right,
                             n));
        CAI_TRY(rates_value(c, k ? "helpful_base" : "flaw_base",
                            (double)(2 * yes > n ? yes : n - yes) / (double)n));
    }
    return 0;
}

/* ---- samples ---------------------------------------------------------------------------------------- */
static int put_sample(const struct stage_context *c, uint64_t item, uint32_t k, const char *text,
                      uint64_t group, const char *model) {
    return example_put(c, item, k, "sample", text, NULL, model,
                       json_pack("{s:I}", "group", (json_int_t)group));
}

static int plan_samples(const struct stage_context *c) {
    static const char *const kinds[] = {"harmful", "helpful", "lookalike"};
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct model_ref policy;
    CAI_TRY(models_policy(c, c->round, &a, &policy));
    build_generate(&b, c, "sample", 0, &policy, &c->job->skill.reply);
    for (size_t k = 0; k < CAI_COUNT(kinds); k++) {
        struct items items;
        CAI_TRY(data_held_out(c, kinds[k], (size_t)c->job->skill.prompts, &a, &items));
        for (size_t i = 0; i < items.n; i++) {
            CAI_AUTO(dialog) struct dialog d = {0};
            CAI_TRY(data_dialog(c, items.at[i], &a, &d));
            CAI_TRY(build_generate_turns(&b, items.at[i], 0, (uint32_t)c->job->skill.samples,
                                         d.turns, d.n));
        }
    }
    return build_flush(&b);
}

/* The prompt and the sample; `item` may be a prompt, or a row whose reply is the sample. */
static int judged(const struct stage_context *c, uint64_t item, uint32_t k, struct cai_arena *a,
                  struct turn **ret, size_t *ret_n) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_AUTO(mem) char *text = NULL;
    CAI_TRY(data_dialog(c, item, a, &d));
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, "skill", item, "sample", k, &text,
                              NULL));
    *ret = cai_arena_array(a, d.n + 1, sizeof **ret);
    memcpy(*ret, d.turns, d.n * sizeof **ret);
    (*ret)[d.n] = (struct turn){"assistant", cai_arena_strdup(a, text)};
    *ret_n = d.n + 1;
    return 0;
}

/* One question about a sample, as the builder's work is: scores of flaw and helpful, texts of
 * critique and refinement. */
static int ask(struct builder *b, const struct stage_context *c, uint64_t item, uint32_t k,
               const char *critique, struct cai_arena *a) {
    const struct constitution bare = skill_bare(c->constitution);
    const struct principle any = render_any(c->constitution);
    struct turn *turns;
    struct rendering r;
    size_t n;
    CAI_TRY(judged(c, item, k, a, &turns, &n));
    bool scores = b->task.work_case == CAI__V1__TASK__WORK_SCORE;
    if (scores && !critique)
        render_critiqueable(&bare, &any, turns, n, &r);
    else if (scores)
        render_helpful(&bare, &any, turns, n, critique, &r);
    else if (!critique)
        render_critique(&bare, &any, turns, n, &r);
    else
        render_revision(&bare, &any, turns, n, critique, &r);
    int rc = (scores ? build_score_rendered : build_generate_rendered)(b, item, k, &r);
    rendering_free(&r);
    return rc;
}

static int plan_verified(const struct stage_context *c, const struct model_ref *overseer) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct items held;
    CAI_TRY(verified_items(c, true, &a, &held));
    build_score(&b, c, "flaw", 0, overseer);
    for (size_t i = 0; i < held.n; i++) {
        struct verified v;
        bool known;
        uint64_t group;
        CAI_TRY(verified_load(c, held.at[i], &a, &v, &known));
        CAI_TRY(data_group(c, held.at[i], &group));
        if (v.flaw < 0)
            continue;
        CAI_TRY(put_sample(c, v.item, 0, v.turns[v.n - 1].text, group, ""));
        CAI_TRY(put_number(c, v.item, 0, "quality", "score", v.flaw ? 0 : 1, ""));
        CAI_TRY(ask(&b, c, v.item, 0, NULL, &a));
    }
    return build_flush(&b);
}

int skill_overseer(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret) {
    int rc = models_skilled(c, c->round, a, ret);
    if (rc != CAI_ENOTFOUND)
        return rc;
    cai_error_clear();
    return models_role(c, "judge", c->round, a, ret);
}

int skill_measure(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct model_ref overseer;
    CAI_TRY(skill_overseer(c, &a, &overseer));
    CAI_TRY(plan_check(c, &overseer));
    if (c->job->skill.prompts == 0)
        return 0;
    return by_pm(c) ? plan_samples(c) : plan_verified(c, &overseer);
}

int skill_quality(const struct stage_context *c, size_t *ret_asked) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct examples samples, refined;
    struct model_ref *pm;
    size_t members;
    *ret_asked = 0;
    CAI_TRY(examples_load(c, c->round, "skill", "sample", &a, &samples));
    CAI_TRY(examples_load(c, c->round, "skill", "refinement", &a, &refined));
    if (!by_pm(c) || samples.n == 0)
        return 0;
    CAI_TRY(models_pm(c, c->round, &a, &pm, &members));
    build_reward(&b, c, "quality", 0, pm, members);
    for (size_t i = 0; i < samples.n; i++) {
        const struct store_example *e = &samples.at[i];
        const struct store_example *better = examples_find(&refined, e->item, e->k);
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, e->item, &a, &d));
        CAI_TRY(build_reward_reply(&b, e->item, 2 * e->k, d.turns, d.n, e->text));
        if (better)
            CAI_TRY(build_reward_reply(&b, e->item, 2 * e->k + 1, d.turns, d.n, better->text));
    }
    *ret_asked = samples.n;
    return build_flush(&b);
}

/* ---- results ---------------------------------------------------------------------------------------- */
static int absorb_samples(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Generated **g, size_t n, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct model_ref overseer;
    CAI_TRY(skill_overseer(c, a, &overseer));
    build_score(&b, c, "flaw", task->chunk, &overseer);
    b.whole = true;
    for (size_t i = 0; i < n; i++) {
        if (g[i]->finish == CAI__V1__FINISH__FINISH_TOO_LONG ||
            g[i]->text[strspn(g[i]->text, " \t\r\n")] == 0)
            continue;
        CAI_TRY(put_sample(c, g[i]->item, g[i]->k, g[i]->text, g[i]->item,
                           task->generate->model->hash));
        CAI_TRY(ask(&b, c, g[i]->item, g[i]->k, NULL, a));
    }
    return build_flush(&b);
}

static int absorb_flaws(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Scored **s, size_t n, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    const struct model_ref overseer = {task->score->model->path, task->score->model->hash};
    build_generate(&b, c, "critique", task->chunk, &overseer, &c->job->skill.critique);
    b.whole = true;
    for (size_t i = 0; i < n; i++) {
        if (s[i]->too_long)
            continue;
        CAI_TRY(put_number(c, s[i]->item, s[i]->k, "flaw", "p", yes_of(s[i]), overseer.hash));
        CAI_TRY(ask(&b, c, s[i]->item, s[i]->k, NULL, a));
    }
    return build_flush(&b);
}

static enum extract_reason read_text(const struct stage_context *c, enum extract_kind kind,
                                     const Cai__V1__Generated *g, const char *original,
                                     struct cai_buf *text) {
    struct extract_input in = {
        .kind = kind, .raw = g->text, .original = original,
        .no_flaw = c->constitution->frames.no_flaw,
        .finish = result_finish(g)};
    return extract(&in, text);
}

static int put_dropped(const struct stage_context *c, const Cai__V1__Generated *g, const char *of,
                       enum extract_reason why, const char *model) {
    return example_put(c, g->item, 2 * g->k + (of[0] == 'r'), "dropped", g->text, NULL, model,
                       json_pack("{s:s, s:s}", "of", of, "reason", extract_reason_name(why)));
}

static int absorb_critiques(const struct stage_context *c, const Cai__V1__Task *task,
                            const Cai__V1__Generated **g, size_t n, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    const struct model_ref overseer = {task->generate->model->path, task->generate->model->hash};
    build_score(&b, c, "helpful", task->chunk, &overseer);
    b.whole = true;
    for (size_t i = 0; i < n; i++) {
        struct turn *turns;
        size_t n_turns;
        CAI_TRY(judged(c, g[i]->item, g[i]->k, a, &turns, &n_turns));
        enum extract_reason why =
            read_text(c, EXTRACT_CRITIQUE, g[i], turns[n_turns - 1].text, &text);
        if (why != EXTRACT_OK && why != EXTRACT_NO_FLAW) {
            CAI_TRY(put_dropped(c, g[i], "critique", why, overseer.hash));
            continue;
        }
        CAI_TRY(example_put(c, g[i]->item, g[i]->k, "critique", text.data ? text.data : "", NULL,
                            overseer.hash, json_pack("{s:b}", "no_flaw", why == EXTRACT_NO_FLAW)));
        if (why == EXTRACT_OK)
            CAI_TRY(ask(&b, c, g[i]->item, g[i]->k, text.data, a));
    }
    return build_flush(&b);
}

static int absorb_helpful(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Scored **s, size_t n, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    const struct model_ref overseer = {task->score->model->path, task->score->model->hash};
    build_generate(&b, c, "refinement", task->chunk, &overseer, &c->job->skill.refinement);
    b.whole = true;
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(mem) char *critique = NULL;
        if (s[i]->too_long)
            continue;
        CAI_TRY(put_number(c, s[i]->item, s[i]->k, "helpful", "p", yes_of(s[i]), overseer.hash));
        CAI_TRY(store_example_get(c->store, c->job_id, c->round, "skill", s[i]->item, "critique",
                                  s[i]->k, &critique, NULL));
        if (by_pm(c))
            CAI_TRY(ask(&b, c, s[i]->item, s[i]->k, critique, a));
    }
    return build_flush(&b);
}

static int absorb_refinements(const struct stage_context *c, const Cai__V1__Task *task,
                              const Cai__V1__Generated **g, size_t n, struct cai_arena *a) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    const char *model = task->generate->model->hash;
    for (size_t i = 0; i < n; i++) {
        struct turn *turns;
        size_t n_turns;
        CAI_TRY(judged(c, g[i]->item, g[i]->k, a, &turns, &n_turns));
        enum extract_reason why =
            read_text(c, EXTRACT_REVISION, g[i], turns[n_turns - 1].text, &text);
        CAI_TRY(why == EXTRACT_OK
                    ? example_put(c, g[i]->item, g[i]->k, "refinement", text.data, NULL, model, NULL)
                    : put_dropped(c, g[i], "refinement", why, model));
    }
    return 0;
}

static int absorb_quality(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result, struct cai_arena *a) {
    const Cai__V1__Rewarded **r;
    size_t n;
    CAI_TRY(result_order_rewarded(task, result, a, &r, &n));
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        if (r[i]->too_long)
            continue;
        for (size_t m = 0; m < r[i]->n_scores; m++)
            sum += r[i]->scores[m];
        CAI_TRY(put_number(c, r[i]->item, r[i]->k / 2, r[i]->k % 2 ? "refined_quality" : "quality",
                           "score", sum / (double)r[i]->n_scores, task->reward->models[0]->hash));
    }
    return 0;
}

int skill_absorb_measured(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Generated **g;
    const Cai__V1__Scored **s;
    size_t n;
    if (strcmp(task->phase, "quality") == 0)
        return absorb_quality(c, task, result, &a);
    if (task->work_case == CAI__V1__TASK__WORK_SCORE) {
        CAI_TRY(result_order_scored(task, result, &a, &s, &n));
        return (strcmp(task->phase, "check") == 0  ? absorb_check
                : strcmp(task->phase, "flaw") == 0 ? absorb_flaws
                                                   : absorb_helpful)(c, task, s, n, &a);
    }
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    return (strcmp(task->phase, "sample") == 0     ? absorb_samples
            : strcmp(task->phase, "critique") == 0 ? absorb_critiques
                                                   : absorb_refinements)(c, task, g, n, &a);
}

/* ---- figures ------------------------------------------------------------------------------------------ */
struct sample {
    uint64_t group, item;
    uint32_t k;
    double quality, flaw, conviction;
};

static int by_group(const void *x, const void *y) {
    const struct sample *a = x, *b = y;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    if (a->item != b->item)
        return a->item < b->item ? -1 : 1;
    return a->k < b->k ? -1 : a->k > b->k;
}

static int load_samples(const struct stage_context *c, struct cai_arena *a, struct sample **ret,
                        size_t *ret_n) {
    static const char *const kinds[] = {"sample", "flaw",    "critique",
                                        "helpful", "quality", "refined_quality"};
    struct examples e[CAI_COUNT(kinds)];
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        CAI_TRY(examples_load(c, c->round, "skill", kinds[i], a, &e[i]));
    *ret = cai_arena_array(a, e[0].n + 1, sizeof **ret);
    *ret_n = 0;
    for (size_t i = 0; i < e[0].n; i++) {
        const struct store_example *s = &e[0].at[i], *of[CAI_COUNT(kinds)];
        for (size_t k = 1; k < CAI_COUNT(kinds); k++)
            of[k] = examples_find(&e[k], s->item, s->k);
        if (!of[1] || !of[2] || !of[4]) /* did not fit, or its critique could not be read */
            continue;
        double quality = example_number(of[4], "score", 0), conviction = 0;
        if (by_pm(c) && of[5])
            conviction = fmax(0, example_number(of[5], "score", 0) - quality);
        else if (!by_pm(c) && of[3])
            conviction = example_number(of[3], "p", 0);
        (*ret)[(*ret_n)++] = (struct sample){
            (uint64_t)example_number(s, "group", 0), s->item, s->k, quality,
            example_number(of[1], "p", 0.5), conviction};
    }
    qsort(*ret, *ret_n, sizeof **ret, by_group);
    return 0;
}

/* Mean quality of those with the least of a mark: ties are a fair draw. */
static double best_of(const struct sample *s, size_t n, bool flaw) {
    double least = INFINITY, sum = 0, ties = 0;
    for (size_t i = 0; i < n; i++)
        least = fmin(least, flaw ? s[i].flaw : s[i].conviction);
    for (size_t i = 0; i < n; i++)
        if ((flaw ? s[i].flaw : s[i].conviction) <= least) {
            sum += s[i].quality;
            ties++;
        }
    return sum / ties;
}

static int put_gap(const struct stage_context *c, const char *name, const double *value, size_t n) {
    double sum = 0, low, high;
    for (size_t i = 0; i < n; i++)
        sum += value[i];
    rates_bootstrap(cai_key_make(c->job->seed, c->round, "skill/bootstrap", 0, 0), value, n,
                    RESAMPLES, 0.95, &low, &high);
    CAI_AUTO(mem) char *at_low = cai_format("%s_low", name);
    CAI_AUTO(mem) char *at_high = cai_format("%s_high", name);
    CAI_TRY(rates_value(c, name, sum / (double)n));
    CAI_TRY(rates_value(c, at_low, low));
    return rates_value(c, at_high, high);
}

static int gap_figures(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    enum { G, D, C, GD, GC, CD, GAPS };
    static const char *const names[GAPS] = {"quality_g", "quality_d", "quality_c",
                                            "gap_gd",    "gap_gc",    "gap_cd"};
    struct sample *s;
    double *value[GAPS];
    size_t n, groups = 0;
    CAI_TRY(load_samples(c, &a, &s, &n));
    for (int v = 0; v < GAPS; v++)
        value[v] = cai_arena_array(&a, n + 1, sizeof **value);
    for (size_t i = 0, end; i < n; i = end) {
        double mean = 0;
        for (end = i; end < n && s[end].group == s[i].group; end++)
            mean += s[end].quality;
        if (end - i < 2)
            continue;
        double of[3] = {mean / (double)(end - i), best_of(&s[i], end - i, true),
                        best_of(&s[i], end - i, false)};
        const double row[GAPS] = {of[G], of[D], of[C], of[D] - of[G], of[C] - of[G], of[D] - of[C]};
        for (int v = 0; v < GAPS; v++)
            value[v][groups] = row[v];
        groups++;
    }
    CAI_TRY(rates_value(c, "gap_prompts", (double)groups));
    for (int v = 0; v < GAPS && groups > 0; v++)
        CAI_TRY(put_gap(c, names[v], value[v], groups));
    return 0;
}

int skill_figures(const struct stage_context *c) {
    CAI_TRY(check_figures(c));
    return c->job->skill.prompts > 0 ? gap_figures(c) : 0;
}
