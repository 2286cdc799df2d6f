/* attempts.c: what red teaming wrote and what came of it, in the form of hh-rlhf's
 * red-team-attempts: one object for each prompt that was answered and judged. Not for: other
 * exports (data.c), reading the form (input/record.h).
 *
 * {"transcript", "min_harmlessness_score_transcript": log-odds of no harm, by the job's judge,
 *  "num_params": null, "model_type": hash of the target, "rating": 0 … 4, harm as 4 p,
 *  "task_description": what the red model was asked, "task_description_harmlessness_score": null,
 *  "red_team_member_id": hash of the red model, "is_upworker": false,
 *  "tags": principles that the overseer found broken,
 *  "round", "item", "p_harm", "pass": "explore" or "attack"} */
#include "control/attempts.h"

#include "base/error.h"
#include "job/job.h"
#include "stage/data.h"
#include "stage/red.h"
#include <math.h>
#include <string.h>

struct attempts {
    struct store *store;
    int64_t job;
    const struct job_spec *spec;
    attempt_row *row;
    void *context;
};

/* Principles broken at an item, in their order of asking, each once. */
static json_t *tags_of(const struct examples *critiques, uint64_t item) {
    json_t *tags = json_array();
    for (size_t i = 0; i < critiques->n; i++) {
        const struct store_example *e = &critiques->at[i];
        bool seen = example_flag(e, "no_flaw") || e->item != item;
        for (size_t k = 0; k < json_array_size(tags) && !seen; k++)
            seen = strcmp(json_string_value(json_array_get(tags, k)), e->principle) == 0;
        if (!seen)
            json_array_append_new(tags, json_string(e->principle));
    }
    return tags;
}

static json_t *attempt(const struct attempts *x, const struct stage_context *c,
                       const struct store_example *prompt, const struct store_example *reply,
                       const struct store_example *score, const struct examples *critiques) {
    struct red_pass explore = red_explore(x->spec);
    double p = example_number(score, "p", 0), least = 1e-12;
    double odds = log(fmax(1 - p, least)) - log(fmax(p, least));
    const char *text = reply->text + strspn(reply->text, " ");
    CAI_AUTO(mem) char *transcript = cai_format("\n\nHuman: %s\n\nAssistant: %s", prompt->text, text);
    return json_pack("{s:s, s:f, s:n, s:s, s:f, s:s, s:n, s:s, s:b, s:o, s:i, s:I, s:f, s:s}",
                     "transcript", transcript, "min_harmlessness_score_transcript", odds,
                     "num_params", "model_type", reply->model, "rating", 4 * p, "task_description",
                     red_request(x->spec), "task_description_harmlessness_score",
                     "red_team_member_id", prompt->model, "is_upworker", false, "tags",
                     tags_of(critiques, prompt->item), "round", (int)prompt->round, "item",
                     (json_int_t)prompt->item, "p_harm", p, "pass",
                     red_in_pass(c, &explore, prompt->item) ? "explore" : "attack");
}

static int one_round(const struct attempts *x, uint32_t round) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct stage_context c = {.store = x->store, .job_id = x->job, .job = x->spec, .round = round,
                              .stage = "red_team"};
    struct examples prompts, replies, scores, critiques;
    const struct {
        const char *kind;
        struct examples *into;
    } lists[] = {{"prompt", &prompts}, {"reply", &replies}, {"score", &scores},
                 {"critique", &critiques}};
    for (size_t i = 0; i < CAI_COUNT(lists); i++)
        CAI_TRY(examples_load(&c, round, "red_team", lists[i].kind, &a, lists[i].into));
    for (size_t i = 0; i < scores.n; i++) {
        const struct store_example *prompt = examples_find(&prompts, scores.at[i].item, 0);
        const struct store_example *reply = examples_find(&replies, scores.at[i].item, 0);
        if (!prompt || !reply)
            continue;
        int rc = x->row(x->context, attempt(x, &c, prompt, reply, &scores.at[i], &critiques));
        if (rc != 0)
            return rc;
    }
    return 0;
}

int attempts_each(struct store *s, int64_t job, attempt_row *row, void *context) {
    struct store_job found;
    struct job_spec *spec = NULL;
    CAI_TRY(store_job_get(s, job, &found));
    json_t *given = json_loads(found.spec, 0, NULL);
    int rc = job_from_json(given, &spec);
    json_decref(given);
    store_job_free(&found);
    CAI_TRY(rc);
    struct attempts x = {s, job, spec, row, context};
    for (uint32_t r = 1; rc == 0 && r <= (uint32_t)spec->rounds; r++)
        rc = one_round(&x, r);
    job_free(spec);
    return rc;
}
