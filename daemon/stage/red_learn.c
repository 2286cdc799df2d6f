/* red_learn.c: sub-steps in which the red model learns: by maximum likelihood from the zero-shot
 * cases that failed, then by reinforcement against this round's target (learn/red.h).
 *
 * Models: red_supervised, red (the one that writes, where there is one). Not for: writing prompts. */
#include "stage/red.h"

#include "base/error.h"
#include "stage/build.h"
#include "stage/classifier.h"
#include "stage/dataset.h"
#include "stage/rates.h"
#include <math.h>
#include <string.h>

/* What learning begins with: models.red, or the last round's if there is one. */
static int first_model(const struct stage_context *c, struct cai_arena *a,
                       struct model_ref *ret) {
    if (strcmp(c->job->red_team.from, "latest") == 0 && c->round > 1) {
        int rc = models_red(c, c->round - 1, a, ret, NULL);
        if (rc != CAI_ENOTFOUND)
            return rc;
    }
    return models_role(c, "red", c->round - 1, a, ret);
}

int red_model(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret) {
    uint32_t round = 0;
    int rc = models_red(c, c->round, a, ret, &round);
    if (rc < 0 && rc != CAI_ENOTFOUND)
        return rc;
    return rc == 0 && round == c->round ? 0 : first_model(c, a, ret);
}

/* One row: the request, and a prompt as its answer, or without one. */
static json_t *row(const struct stage_context *c, uint64_t item, const char *prompt) {
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "text", red_request(c->job));
    if (prompt)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", "assistant", "text", prompt));
    return json_pack("{s:I, s:o}", "item", (json_int_t)item, "messages", messages);
}

static json_t *supervised_options(const struct job_spec *job) {
    const struct job_red_team *o = &job->red_team;
    json_t *options = job_stage_json(job, "sft");
    json_object_set_new(options, "epochs", json_integer(o->supervised.epochs));
    json_object_set_new(options, "batch", json_integer(o->supervised.batch));
    json_object_set_new(options, "batch_tokens", json_integer(0));
    json_object_set_new(options, "lr", json_real(o->supervised.lr));
    return options;
}

int red_supervise(const struct stage_context *c, bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dataset) struct dataset d = {0};
    struct red_pass pass = red_explore(c->job);
    struct examples failing;
    struct model_ref init;
    Cai__V1__Dataset frozen;
    CAI_TRY(examples_load(c, c->round, "red_team", "failing", &a, &failing));
    for (size_t i = 0; i < failing.n; i++)
        if (red_in_pass(c, &pass, failing.at[i].item))
            dataset_row(&d, row(c, failing.at[i].item, failing.at[i].text));
    CAI_TRY(rates_value(c, "supervised_cases", (double)d.rows));
    if (d.rows == 0)
        return store_event_add(c->store, c->job_id, 4,
                               "red_team: no zero-shot case failed, so there is nothing to learn "
                               "from; the red model stays as it is");
    CAI_TRY(dataset_freeze(c, &d, "", &a, &frozen));
    CAI_TRY(first_model(c, &a, &init));
    json_t *options = supervised_options(c->job);
    int rc = build_train(c, "supervised", "sft", &init, NULL, NULL, 0, &frozen, options);
    json_decref(options);
    *ret_added = rc == 0;
    return rc;
}

/* stages.ppo's, but by leave-one-out over all rollouts of the one request, and untruncated. */
static json_t *rl_options(const struct job_spec *job) {
    const struct job_red_team *o = &job->red_team;
    json_t *options = job_stage_json(job, "ppo");
    json_t *kl = json_object_get(options, "kl"), *reply;
    json_object_set_new(options, "algorithm", json_string("rloo"));
    json_object_set_new(options, "steps", json_integer(o->rl.steps));
    json_object_set_new(options, "rollouts", json_integer(o->rl.rollouts));
    json_object_set_new(options, "group", json_integer(o->rl.rollouts));
    json_object_set_new(options, "lr", json_real(o->rl.lr));
    json_object_set_new(options, "checkpoint_every", json_integer(o->rl.checkpoint_every));
    json_object_set_new(options, "helpful", json_real(0));
    json_object_set_new(options, "kl_budget", json_real(0));
    json_object_del(options, "ptx");
    json_object_set_new(kl, "coef", json_real(o->rl.alpha));
    json_object_set_new(kl, "target", json_real(0));
    json_object_set_new(options, "rollout",
                        json_pack("{s:f, s:f, s:I}", "temperature",
                                  fmax(o->sampling.temperature, 1e-3), "top_p", 1.0, "max_tokens",
                                  (json_int_t)o->sampling.max_tokens));
    reply = json_pack("{s:f, s:f, s:I}", "temperature", job->revise.reply.temperature, "top_p",
                      job->revise.reply.top_p, "max_tokens",
                      (json_int_t)job->revise.reply.max_tokens);
    json_object_set_new(options, "reply", reply);
    json_object_set_new(options, "red",
                        json_pack("{s:f, s:f, s:b}", "alpha", o->rl.alpha, "penalty",
                                  o->rl.penalty, "question", strcmp(o->form, "question") == 0));
    return options;
}

int red_reinforce(const struct stage_context *c, bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dataset) struct dataset d = {0};
    struct model_ref init, target, classifier;
    Cai__V1__Dataset frozen;
    int rc = models_classifier(c, &a, &classifier);
    if (rc == CAI_ENOTFOUND)
        return cai_fail(CAI_ESTATE, "stages.red_team.method: rl needs a classifier; name a file "
                        "as data.classifier");
    CAI_TRY(rc);
    CAI_TRY(red_model(c, &a, &init));
    CAI_TRY(models_role(c, "generator", c->round - 1, &a, &target));
    json_t *only = row(c, 1, NULL);
    json_object_set_new(only, "kind", json_string("harmful"));
    dataset_row(&d, only);
    CAI_TRY(dataset_freeze(c, &d, "", &a, &frozen));
    json_t *options = rl_options(c->job);
    rc = build_train_against(c, "rl", "red", &init, &target, &classifier, &frozen, options);
    json_decref(options);
    *ret_added = rc == 0;
    return rc;
}

bool red_learns(const Cai__V1__Task *task) {
    return task->work_case == CAI__V1__TASK__WORK_TRAIN && !classifier_trains(task);
}

int red_learned(const struct stage_context *c, const Cai__V1__Task *task,
                const Cai__V1__Result *result) {
    const char *kind = strcmp(task->phase, "rl") == 0 ? "red" : "red_supervised";
    return result_trained(c, task, result, kind, 1);
}
