/* skill.c: critique as a skill of the overseer (Saunders et al. 2022): five tasks learned together
 * from what people verified, as a checkpoint of its own, and the gaps between generating,
 * discriminating and critiquing.
 *
 * Phases: tamper (stages.skill.inserted: McAleese et al. 2024) → skill (a gang; left out when
 * nothing is new since the last round) → check, and sample → flaw → critique → helpful →
 * refinement → quality for the gaps, chained by absorb.
 * Examples: tampered (item, k = pass); sample, flaw, critique, helpful, refinement, quality,
 * refined_quality (item, k); checked (item; k = 0: is there a flaw, 1: is the critique helpful);
 * dropped.
 * Models: overseer. models.c says who uses it.
 * Metrics: rows, rows_critiqueable, rows_critique, rows_helpful, rows_conditional, rows_direct,
 *   rows_inserted, rows_reviewed (critiques that readers judged), rows_held_out, rows_unknown (a principle that the constitution lacks), what the
 *   trainer names; flaw_accuracy, flaw_base, helpful_accuracy, helpful_base (on held-out verdicts;
 *   base: always the commoner answer); quality_g, quality_d, quality_c, gap_gd, gap_gc, gap_cd,
 *   each of these with _low and _high, and gap_prompts. */
#include "base/error.h"
#include "base/log.h"
#include "stage/data.h"
#include "stage/rates.h"
#include "stage/skill.h"
#include "stage/table.h"
#include <string.h>

static bool enabled(const struct job_spec *job) { return job->skill.enabled; }

/* ---- training ------------------------------------------------------------------------------------ */
struct last {
    uint32_t round;
    char dataset[65], init[65];
};

static int take_last(void *context, const struct store_model *m) {
    struct last *o = context;
    if (strcmp(m->stage, "skill") != 0 || strcmp(m->kind, "overseer") != 0 || m->round < o->round)
        return 0;
    json_t *about = json_loads(m->provenance, 0, NULL);
    const char *dataset = json_string_value(json_object_get(about, "dataset"));
    const char *init = json_string_value(json_object_get(about, "init"));
    o->round = m->round;
    snprintf(o->dataset, sizeof o->dataset, "%s", dataset ? dataset : "");
    snprintf(o->init, sizeof o->init, "%s", init ? init : "");
    json_decref(about);
    return 0;
}

/* The same rows from the same weights would give the same overseer once more. */
static int known_already(const struct stage_context *c, const Cai__V1__Dataset *rows,
                         const struct model_ref *init, bool *ret) {
    struct last last = {0};
    CAI_TRY(store_models_each(c->store, c->job_id, take_last, &last));
    *ret = last.round > 0 && strcmp(last.dataset, rows->hash) == 0 &&
           strcmp(last.init, init->hash) == 0;
    return 0;
}

/* Learned from people's word alone, and they have given none yet: a later round has it. */
static int learn_nothing(const struct stage_context *c) {
    CAI_AUTO(mem) char *text =
        cai_format("skill of round %u: readers have let no critique stand and rejected none, and there "
                   "is no data.critiques: nothing is learned in this round", c->round);
    CAI_TRY(store_event_add(c->store, c->job_id, CAI_LOG_WARN, text));
    return rates_value(c, "rows", 0);
}

/* Adds the training; *ret_added is false when there is nothing new to learn. */
static int plan_training(const struct stage_context *c, bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dataset) struct dataset d = {0};
    Cai__V1__Dataset frozen;
    struct model_ref init;
    bool known;
    CAI_TRY(skill_rows(c, &d));
    *ret_added = false;
    if (d.rows == 0 && !c->job->data.critiques)
        return learn_nothing(c);
    CAI_TRY(dataset_freeze(c, &d, "no row of data.critiques could be used, and no critique that people "
                           "reviewed (human.critiques, human.required); caictl data check FILE --role "
                           "critiques says more", &a, &frozen));
    CAI_TRY(strcmp(c->job->skill.from, "latest") == 0 ? skill_overseer(c, &a, &init)
                                                      : models_role(c, "judge", c->round, &a, &init));
    CAI_TRY(known_already(c, &frozen, &init, &known));
    CAI_TRY(rates_value(c, "rows", (double)d.rows));
    *ret_added = !known;
    if (known)
        return 0;
    json_t *options = job_stage_json(c->job, "skill");
    int rc = build_train(c, "skill", "sft", &init, NULL, NULL, 0, &frozen, options);
    json_decref(options);
    return rc;
}

/* ---- the stage ------------------------------------------------------------------------------------ */
static int plan(const struct stage_context *c) {
    size_t asked = 0;
    bool added;
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    if (c->job->skill.inserted > 0)
        CAI_TRY(skill_tamper(c, &asked));
    return asked ? 0 : plan_training(c, &added);
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    if (task->work_case == CAI__V1__TASK__WORK_TRAIN)
        return result_trained(c, task, result, "overseer", 1);
    if (strcmp(task->phase, "tamper") == 0)
        return skill_absorb_tampered(c, task, result);
    return skill_absorb_measured(c, task, result);
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    bool added = false;
    ret->next = STAGE_MORE;
    if (!rates_known(c, "rows")) {
        CAI_TRY(plan_training(c, &added));
        if (added)
            return 0;
    }
    if (!rates_known(c, "gap_planned")) {
        CAI_TRY(rates_value(c, "gap_planned", 1));
        return skill_measure(c);
    }
    if (!rates_known(c, "quality_planned")) {
        size_t asked;
        CAI_TRY(rates_value(c, "quality_planned", 1));
        CAI_TRY(skill_quality(c, &asked));
        if (asked)
            return 0;
    }
    ret->next = STAGE_DONE;
    return skill_figures(c);
}

const struct stage stage_skill = {"skill", "critique as a skill", false, enabled,
                                  plan,    absorb,                done};
