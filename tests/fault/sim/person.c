/* person.c: who submits the one job, asks again when no answer comes (with the same key), looks
 * how it stands, and lets it go on when a fault has ended it. */
#include "base/check.h"
#include "base/error.h"
#include "sim.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { LOOK_MS = 250, REQUEUES_MAX = 40 };

struct person person;
const char *person_folder; /* a real one, with model/ and red.jsonl */
static int64_t next_us;
static enum { ASKED_NOTHING, ASKED_SUBMIT, ASKED_PROGRESS, ASKED_REQUEUE } asked;

static const char constitution[] =
    "{\"constitution\": 1, \"name\": \"house\", \"principles\": [{\"id\": \"kind\","
    " \"critique\": \"Say what is unkind in the last reply.\","
    " \"revision\": \"Rewrite it kindly.\", \"choice\": \"Which reply is kinder?\"}]}";

void person_init(void) {
    person = (struct person){.expects_errors = person.expects_errors,
                             .expects_loss = person.expects_loss,
                             .expects_wakes = person.expects_wakes};
    next_us = 20 * SIM_MS;
    asked = ASKED_NOTHING;
}

int64_t person_next_us(void) { return person.ended ? SIM_NEVER : next_us; }

static void submit(void) {
    json_t *o = json_pack(
        "{s:{s:i, s:s, s:i, s:{s:o}, s:s, s:{s:o}, s:i, s:i}, s:s}", "spec", "job", 1, "name",
        "toy", "seed", 1, "models", "start", json_sprintf("%s/model", person_folder),
        "constitution", "house", "data", "harmful", json_sprintf("%s/red.jsonl", person_folder),
        "workers", 2, "rounds", 2, "canonical", constitution);
    CAI_CHECK(o);
    char *text = json_dumps(o, 0);
    net_request("submit", text, "the-one-job");
    free(text);
    json_decref(o);
    asked = ASKED_SUBMIT;
}

void person_act(void) {
    if (person.ended || world.now_us < next_us)
        return;
    next_us = world.now_us + LOOK_MS * SIM_MS;
    char json[64], key[32];
    snprintf(json, sizeof json, "{\"id\": %lld}", (long long)person.job);
    if (!person.job) {
        submit();
    } else if (strcmp(person.state, "FAILED") == 0) {
        snprintf(key, sizeof key, "requeue-%d", person.requeues);
        net_request("requeue", json, key);
        asked = ASKED_REQUEUE;
    } else {
        net_request("progress", json, "");
        asked = ASKED_PROGRESS;
    }
}

/* A job may fail where a person must act: a disk that fails, workers that die again and again. */
static bool may_fail(const char *reason) {
    return person.expects_errors || strstr(reason, "times in a row") ||
           (strstr(reason, "failed 3 times") && !strstr(reason, "frozen"));
}

static void look(const json_t *o) {
    const char *state = json_string_value(json_object_get(o, "state"));
    const char *reason = json_string_value(json_object_get(o, "reason"));
    const char *stage = json_string_value(json_object_get(o, "stage"));
    bool known = strcmp(person.state, "FAILED") == 0; /* answers to what was asked before */
    snprintf(person.state, sizeof person.state, "%s", state ? state : "?");
    snprintf(person.reason, sizeof person.reason, "%s", reason ? reason : "");
    snprintf(person.stage, sizeof person.stage, "%s", stage ? stage : "");
    if (strcmp(person.state, "COMPLETED") == 0)
        person.ended = true;
    if (known || strcmp(person.state, "FAILED") != 0)
        return;
    told("the job failed: %s", person.reason);
    if (!may_fail(person.reason))
        broken("the job failed: %s", person.reason);
    if (++person.requeues > REQUEUES_MAX)
        broken("the job fails again and again: %s", person.reason);
}

void person_reply(const Cai__V1__Reply *m) {
    json_t *o = m->exit == 0 ? json_loads(m->json, 0, NULL) : NULL;
    if (asked == ASKED_SUBMIT && o) {
        person.job = json_integer_value(json_object_get(o, "id"));
        check_job_exists(person.job);
    } else if (asked == ASKED_SUBMIT && !person.expects_errors) {
        broken("submit is refused: %s", m->error);
    } else if (asked == ASKED_PROGRESS && o) {
        look(o);
    } else if (asked == ASKED_PROGRESS && !person.expects_errors) {
        broken("the job cannot be looked at: %s", m->error);
    } else if (asked == ASKED_REQUEUE) {
        snprintf(person.state, sizeof person.state, "?");
    }
    json_decref(o);
}
