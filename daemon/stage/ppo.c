/* ppo.c: reinforcement learning against the preference model, after all rounds: freezes
 * the prompts and names the models; the gang does the rest, by the algorithm that
 * stages.ppo.algorithm names. For dpo it freezes the labels of all rounds instead, and
 * names no preference model. With stages.ppo.ptx it names rows to be learned beside (mix.h).
 *
 * Phase: ppo (a gang). Rows of dpo: as prefer's. Rows otherwise: every harmful training prompt
 * and failing red-team case once, and helpful prompts (kind "helpful"), all in item order; the
 * trainer draws its rollouts from the two kinds in the share stages.ppo.helpful. A row names the
 * principles that critiques found broken at its prompt ("broke"), for the figures. Models: policy.
 * Metrics: pairs (dpo); prompts_harmful, prompts_helpful, and what the trainer names (reward, kl,
 *   entropy, length, clip_fraction … by step). */
#include "stage/build.h"
#include "stage/data.h"
#include "stage/dataset.h"
#include "stage/label.h"
#include "stage/mix.h"
#include "stage/pairs.h"
#include "stage/rates.h"
#include "stage/table.h"
#include <stdlib.h>
#include <string.h>

static bool enabled(const struct job_spec *job) {
    return job->ppo.enabled && job->ppo.steps > 0;
}

enum { PRINCIPLE_ID_MAX = 64 }; /* a longer one makes no name of a figure */

/* A principle that a critique of any round found broken at a prompt. */
struct flaw {
    uint64_t item;
    const char *principle;
};
struct flaws {
    struct flaw *at; /* by item, then principle */
    size_t n;
};

static int by_item(const void *a, const void *b) {
    const struct flaw *x = a, *y = b;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return strcmp(x->principle, y->principle);
}

static int load_flaws(const struct stage_context *c, struct cai_arena *a, struct flaws *ret) {
    struct examples critiques;
    CAI_TRY(examples_load(c, 0, "revise", "critique", a, &critiques));
    ret->at = cai_arena_array(a, critiques.n + 1, sizeof *ret->at);
    ret->n = 0;
    for (size_t i = 0; i < critiques.n; i++) {
        const struct store_example *e = &critiques.at[i];
        if (!example_flag(e, "no_flaw") && *e->principle &&
            strlen(e->principle) <= PRINCIPLE_ID_MAX)
            ret->at[ret->n++] = (struct flaw){e->item, e->principle};
    }
    qsort(ret->at, ret->n, sizeof *ret->at, by_item);
    return 0;
}

/* The item's, each once; the caller's. */
static json_t *broken_at(const struct flaws *f, uint64_t item) {
    json_t *list = json_array();
    size_t low = 0, high = f->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->at[middle].item < item)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i < f->n && f->at[i].item == item; i++)
        if (i == low || strcmp(f->at[i].principle, f->at[i - 1].principle) != 0)
            json_array_append_new(list, json_string(f->at[i].principle));
    return list;
}

static int add_rows(const struct stage_context *c, const struct items *items, const char *kind,
                    const struct flaws *flaws, struct dataset *d) {
    for (size_t i = 0; i < items->n; i++) {
        CAI_AUTO(arena) struct cai_arena a = {0};
        CAI_AUTO(dialog) struct dialog o = {0};
        CAI_TRY(data_dialog(c, items->at[i], &a, &o));
        json_t *row = json_pack("{s:I, s:o, s:s}", "item", (json_int_t)items->at[i], "messages",
                                data_messages(o.turns, o.n), "kind", kind);
        json_t *broke = broken_at(flaws, items->at[i]);
        if (json_array_size(broke) > 0)
            json_object_set(row, "broke", broke);
        json_decref(broke);
        dataset_row(d, row);
    }
    return 0;
}

static int freeze_prompts(const struct stage_context *c, struct cai_arena *a,
                          Cai__V1__Dataset *ret) {
    CAI_AUTO(dataset) struct dataset d = {0};
    struct items harmful, red, helpful;
    struct flaws flaws;
    CAI_TRY(load_flaws(c, a, &flaws));
    CAI_TRY(data_pool(c, JOB_DATA_HARMFUL, a, &harmful));
    CAI_TRY(data_red_pool(c, c->round, false, a, &red));
    CAI_TRY(data_pool(c, JOB_DATA_HELPFUL, a, &helpful));
    if (c->job->ppo.helpful <= 0)
        helpful.n = 0;
    CAI_TRY(add_rows(c, &harmful, "harmful", &flaws, &d));
    CAI_TRY(add_rows(c, &helpful, "helpful", &flaws, &d));
    CAI_TRY(add_rows(c, &red, "harmful", &flaws, &d));
    CAI_TRY(rates_value(c, "prompts_harmful", (double)(harmful.n + red.n)));
    CAI_TRY(rates_value(c, "prompts_helpful", (double)helpful.n));
    return dataset_freeze(c, &d, "there are no prompts; name a file as data.harmful", a, ret);
}

/* The last round's labels hold people's pairs too, unless neither stage ran to add them. */
static int ensure_people(const struct stage_context *c, uint32_t round) {
    if (stage_label.enabled(c->job) || stage_prefer.enabled(c->job))
        return 0;
    struct stage_context label = *c;
    label.stage = stage_label.name;
    label.round = round;
    return label_people(&label, 0);
}

static int freeze_pairs(const struct stage_context *c, struct cai_arena *a,
                        Cai__V1__Dataset *ret) {
    CAI_AUTO(dataset) struct dataset d = {0};
    struct pairs pairs;
    uint32_t last = (uint32_t)c->job->rounds;
    CAI_TRY(ensure_people(c, last));
    int rc = pairs_load(c, last, &pairs);
    for (size_t i = 0; i < pairs.n && rc == 0; i++)
        rc = pair_row(c, &pairs.at[i], &d);
    free(pairs.at);
    CAI_TRY(rc);
    CAI_TRY(rates_value(c, "pairs", (double)d.rows));
    return dataset_freeze(c, &d, "there are no labels; switch the stage label on, or name a file "
                          "as data.human", a, ret);
}

/* How far the last preference model's scores were borne out; 1 where nothing was measured. */
static double trust(const struct stage_context *c) {
    double seen;
    for (uint32_t r = c->round; r > 0; r--)
        if (store_metric_get(c->store, c->job_id, r, "prefer", 0, "pm_trust", &seen) == 0)
            return seen;
    return 1;
}

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    Cai__V1__Dataset frozen, rows, *mix;
    struct model_ref policy, *pm = NULL;
    size_t n_pm = 0;
    bool labels = job_ppo_from_labels(c->job);
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    CAI_TRY(labels ? freeze_pairs(c, &a, &frozen) : freeze_prompts(c, &a, &frozen));
    CAI_TRY(mix_freeze(c, &a, &rows, &mix));
    CAI_TRY(models_policy(c, c->round, &a, &policy));
    if (!labels)
        CAI_TRY(models_pm(c, c->round, &a, &pm, &n_pm));
    json_t *options = job_stage_json(c->job, "ppo");
    json_object_set_new(options, "kl_budget", json_real(c->job->guards.kl_budget));
    json_object_set_new(options, "trust", json_real(trust(c)));
    json_object_set_new(options, "clear", json_real(job_label_clear(c->job)));
    int rc = build_train_mixed(c, "ppo", "ppo", &policy, &policy, pm, n_pm, &frozen, mix, options);
    json_decref(options);
    return rc;
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_TRY(result_trained(c, task, result, "policy", 1));
    if (result->trained->stopped && result->trained->stopped[0]) {
        CAI_AUTO(mem) char *text = cai_format("ppo stopped early at step %llu: %s",
                                              (unsigned long long)result->trained->steps,
                                              result->trained->stopped);
        CAI_TRY(store_event_add(c->store, c->job_id, 4, text));
    }
    return 0;
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    (void)c;
    ret->next = STAGE_DONE;
    return 0;
}

const struct stage stage_ppo = {"ppo", "reinforcement learning", true, enabled, plan, absorb, done};
