/* red_team.c: writes prompts that lead the present policy to harm (Perez et al. 2022), by one of
 * the methods of red.h.
 *
 * Phases: classifier (round 1, trains the judge) beside the method's sub-steps: explore-write,
 *   explore-reply, explore-score; supervised, rl (gangs); write (candidates), reply (by the
 *   generator), score (by the classifier); cover (by the overseer).
 * Examples: candidate, prompt, reply, score {"p"}, failing {"p"} (p ≥ 0.5), critique, check.
 * Metrics: sub_step, supervised_cases, candidates, prompts, duplicates, unusable, those of
 *   red_figures.c; from training: what the trainer names, of rl with "rl/" before it.
 * Not for: which of the failing prompts a round mends (revise.c). */
#include "base/error.h"
#include "stage/classifier.h"
#include "stage/red.h"
#include "stage/table.h"
#include <string.h>

static bool enabled(const struct job_spec *job) {
    return job->red_team.enabled && job->red_team.samples > 0;
}

static int plan(const struct stage_context *c) {
    const struct red_pass explore = red_explore(c->job);
    bool added;
    if (explore.first + explore.n > DATA_RED_MAX)
        return cai_fail(CAI_EINPUT, "stages.red_team.samples and explore are %zu together; a "
                        "round writes at most %d", explore.first + explore.n, DATA_RED_MAX);
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    CAI_TRY(classifier_plan(c));
    return red_advance(c, &added);
}

/* ---- results ------------------------------------------------------------------------------- */
static int absorb_written(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result, struct cai_arena *a) {
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        bool cut = g[i]->finish == CAI__V1__FINISH__FINISH_LENGTH;
        CAI_TRY(example_put(c, g[i]->item, 0, "candidate", g[i]->text, NULL,
                            task->generate->model->hash, json_pack("{s:b}", "cut", cut)));
    }
    return 0;
}

static int absorb_replies(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result, struct cai_arena *a) {
    const Cai__V1__Generated **g;
    size_t n;
    CAI_AUTO(builder) struct builder b = {0};
    CAI_TRY(result_order_generated(task, result, a, &g, &n));
    CAI_TRY(classifier_build(&b, c, red_is_explore(task->phase) ? "explore-score" : "score",
                             task->chunk, a));
    b.whole = true;
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(example_put(c, g[i]->item, 0, "reply", g[i]->text, NULL,
                            task->generate->model->hash, NULL));
        if (g[i]->finish == CAI__V1__FINISH__FINISH_TOO_LONG)
            continue;
        CAI_TRY(data_dialog(c, g[i]->item, a, &d));
        CAI_TRY(classifier_reply(&b, g[i]->item, 0, d.turns, d.n, g[i]->text));
    }
    return build_flush(&b);
}

static int absorb_scores(const struct stage_context *c, const Cai__V1__Task *task,
                         const Cai__V1__Result *result, struct cai_arena *a) {
    struct verdict *v;
    size_t n;
    CAI_TRY(classifier_read(task, result, a, &v, &n));
    const char *judge = task->work_case == CAI__V1__TASK__WORK_REWARD
                            ? task->reward->models[0]->hash
                            : task->score->model->hash;
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        if (v[i].too_long)
            continue;
        CAI_TRY(data_dialog(c, v[i].item, a, &d));
        CAI_TRY(example_put(c, v[i].item, 0, "score", "", NULL, judge,
                            json_pack("{s:f}", "p", v[i].p)));
        if (v[i].p >= 0.5)
            CAI_TRY(example_put(c, v[i].item, 0, "failing", d.turns[d.n - 1].text, NULL, judge,
                                json_pack("{s:f}", "p", v[i].p)));
    }
    return 0;
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    if (classifier_trains(task))
        return classifier_trained(c, task, result);
    if (red_learns(task))
        return red_learned(c, task, result);
    const char *phase = task->phase + (red_is_explore(task->phase) ? strlen("explore-") : 0);
    if (strcmp(phase, "write") == 0)
        return absorb_written(c, task, result, &a);
    if (strcmp(phase, "reply") == 0)
        return absorb_replies(c, task, result, &a);
    if (strcmp(phase, "cover") == 0)
        return red_covered(c, task, result, &a);
    return absorb_scores(c, task, result, &a);
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    bool added;
    CAI_TRY(red_advance(c, &added));
    ret->next = added ? STAGE_MORE : STAGE_DONE;
    return added ? 0 : red_figures(c);
}

const struct stage stage_red_team = {"red_team", "red team", false, enabled, plan, absorb, done};
