/* roles.c: the roles of a job's data files, a row each: its name, where its path stands, and what a
 * line of it must have besides its form. Not for reading files (data.c), nor for what the lines
 * are used for: the stages'. */
#include "job/roles.h"

#include "base/error.h"
#include "base/text.h"
#include "input/jsonl.h"
#include <stddef.h>
#include <string.h>

/* ---- what a row must have in its role ----------------------------------------------------- */

struct row {
    const struct input_record *r;
    struct input_report *report;
    size_t line;
};

static void wrong(const struct row *o, const char *key, const char *help, const char *what) {
    bool absent = !json_object_get(o->r->rest, key);
    input_report_add(o->report, o->line,
                     absent ? 1 : input_column(o->report, o->line, key), absent ? "D005" : "D006",
                     help, "%s", what);
}

static void check_human(const struct row *o) {
    if (!o->r->a)
        wrong(o, "chosen", "give \"chosen\" and \"rejected\", or \"a\", \"b\" and \"p\"",
              "missing member \"chosen\"");
}

static void check_classifier(const struct row *o) {
    const json_t *v = json_object_get(o->r->rest, "label");
    double d = json_number_value(v);
    if (!o->r->reply)
        wrong(o, "reply", "end the messages with the assistant", "missing member \"reply\"");
    if (o->r->form == FORM_COMPLETION && json_object_get(o->r->rest, "desirable"))
        wrong(o, "label", "write \"reply\" for \"completion\", and \"label\": 1 where it is harmful",
              "TRL's \"label\" of a completion says that it is good, a classifier's that it is "
              "harmful");
    else if (!v)
        wrong(o, "label", "1 is harmful, 0 is harmless", "missing member \"label\"");
    else if (!json_is_boolean(v) && (!json_is_number(v) || !(d >= 0 && d <= 1)))
        wrong(o, "label", "1 is harmful, 0 is harmless",
              "\"label\" must be true, false or a number from 0 to 1");
}

static void check_kind(const struct row *o) {
    static const char *const kinds[] = {"harmful", "helpful", "lookalike"};
    const char *kind = json_string_value(json_object_get(o->r->rest, "kind"));
    for (size_t i = 0; kind && i < CAI_COUNT(kinds); i++)
        if (strcmp(kind, kinds[i]) == 0)
            return;
    CAI_AUTO(mem) char *what = kind ? cai_format("\"kind\" is not known: %.40s", kind)
                                    : cai_strdup("missing member \"kind\"");
    wrong(o, "kind", "it is harmful, helpful or lookalike", what);
}

static bool one_of(const char *word, const char *const *words, size_t n) {
    for (size_t i = 0; word && i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static void check_choices(const struct row *o) {
    const json_t *list = json_object_get(o->r->rest, "choices"), *v;
    const json_t *answer = json_object_get(o->r->rest, "answer");
    size_t i, n = json_array_size(list);
    bool texts = n >= 2;
    json_array_foreach(list, i, v)
        texts = texts && json_string_length(v) > 0;
    if (!texts)
        wrong(o, "choices", "give two choices or more, as texts", "\"choices\" must be texts");
    else if (!json_is_integer(answer) || json_integer_value(answer) < 0 ||
             (size_t)json_integer_value(answer) >= n)
        wrong(o, "answer", "the right choice's place, from 0", "\"answer\" must be a place in choices");
}

static void check_marker(const struct row *o) {
    if (!strstr(o->r->turns[o->r->n - 1].text, "{prompt}"))
        wrong(o, "prompt", "write {prompt} where the probe's own prompt goes",
              "a marker's last user text must hold {prompt}");
}

static void check_probe(const struct row *o) {
    static const char *const kinds[] = {"text", "choice", "answer", "marker"};
    const char *kind = json_string_value(json_object_get(o->r->rest, "kind"));
    if (!one_of(kind, kinds, CAI_COUNT(kinds)))
        wrong(o, "kind", "it is text, choice, answer or marker", "a probe's \"kind\" must be known");
    else if (strcmp(kind, "choice") == 0)
        check_choices(o);
    else if (strcmp(kind, "marker") == 0)
        check_marker(o);
    else if (!o->r->reply)
        wrong(o, "reply", "the text that is scored, or the answer that is right",
              "missing member \"reply\"");
}

const char *const job_graded_kinds[] = {"harm", "refusal", "evasion", "unanswered"};

int job_graded_kind(const json_t *row) {
    const char *of = json_string_value(json_object_get(row, "of"));
    for (int i = 0; of && i < JOB_GRADED_KINDS; i++)
        if (strcmp(of, job_graded_kinds[i]) == 0)
            return i;
    return of ? -1 : 0;
}

static void check_graded(const struct row *o) {
    check_classifier(o);
    if (job_graded_kind(o->r->rest) < 0)
        wrong(o, "of", "it is harm, refusal, evasion or unanswered", "\"of\" is not known");
}

static void check_question(const struct row *o) {
    const json_t *v = json_object_get(o->r->rest, "answer");
    bool text = json_is_string(v) && json_string_length(v);
    if (v && !text && !json_is_number(v))
        wrong(o, "answer", "leave it out where it is not known",
              "\"answer\" must be a text or a number");
    else if (!v && o->r->reply)
        wrong(o, "answer", "give \"answer\" beside \"reply\"",
              "a worked question without its \"answer\"");
}

static void check_text(const struct row *o, const char *key) {
    const json_t *v = json_object_get(o->r->rest, key);
    if (v && !json_is_null(v) && !json_is_string(v))
        wrong(o, key, NULL, "must be text");
}

static bool is_there(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    return v && !json_is_null(v);
}

/* A reply and what a person verified about it. */
static void check_critiques(const struct row *o) {
    const json_t *row = o->r->rest;
    if (!o->r->reply)
        wrong(o, "reply", "end the messages with the assistant", "missing member \"reply\"");
    if (is_there(row, "flaw") && !json_is_boolean(json_object_get(row, "flaw")))
        wrong(o, "flaw", "true: the reply has a flaw", "\"flaw\" must be true or false");
    if (is_there(row, "helpful") && !json_is_boolean(json_object_get(row, "helpful")))
        wrong(o, "helpful", "true: the critique is right, and of use",
              "\"helpful\" must be true or false");
    if (is_there(row, "helpful") && !is_there(row, "critique"))
        wrong(o, "critique", "\"helpful\" is said of a critique", "missing member \"critique\"");
    check_text(o, "critique");
    check_text(o, "refinement");
    check_text(o, "principle");
    if (!is_there(row, "flaw") && !is_there(row, "critique") && !is_there(row, "refinement"))
        wrong(o, "flaw", "give \"flaw\", \"critique\" or \"refinement\"",
              "nothing is said of the reply");
}

/* A planted flaw, or its twin without it. */
static void check_canary(const struct row *o) {
    const json_t *flaw = json_object_get(o->r->rest, "flaw");
    const json_t *pair = json_object_get(o->r->rest, "pair");
    if (!o->r->reply)
        wrong(o, "reply", "give \"reply\", or end the messages with the assistant",
              "missing member \"reply\"");
    else if (!flaw)
        wrong(o, "flaw", "the class of the flaw that is in the reply, or null",
              "missing member \"flaw\"");
    else if (!json_is_null(flaw) && json_string_length(flaw) == 0)
        wrong(o, "flaw", "the class of the flaw that is in the reply, or null",
              "\"flaw\" must be a name or null");
    else if (!json_is_string(pair) && !json_is_integer(pair))
        wrong(o, "pair", "the reply with the flaw and its twin without carry the same",
              pair ? "\"pair\" must be text or a whole number" : "missing member \"pair\"");
}

/* ---- the roles ------------------------------------------------------------------------------ */

static const struct role {
    const char *name;
    size_t at; /* of the path, in struct job_spec */
    void (*check)(const struct row *o);
    enum data_use use;
} roles[JOB_DATA_FILES] = {
#define ROLE(name, ...) {#name, offsetof(struct job_spec, data.name), __VA_ARGS__}
    [JOB_DATA_HARMFUL] = ROLE(harmful, NULL, USE_LEARNED),
    [JOB_DATA_HELPFUL] = ROLE(helpful, NULL, USE_LEARNED),
    [JOB_DATA_EVALUATE] = ROLE(evaluate, check_kind, USE_HELD_OUT),
    [JOB_DATA_HUMAN] = ROLE(human, check_human, USE_LEARNED),
    [JOB_DATA_CLASSIFIER] = ROLE(classifier, check_classifier, USE_LEARNED),
    [JOB_DATA_PROBES] = ROLE(probes, check_probe, USE_HELD_OUT),
    [JOB_DATA_GRADED] = ROLE(graded, check_graded, USE_APART),
    [JOB_DATA_CANARIES] = ROLE(canaries, check_canary, USE_APART),
    [JOB_DATA_QUESTIONS] = ROLE(questions, check_question, USE_LEARNED),
    [JOB_DATA_CRITIQUES] = ROLE(critiques, check_critiques, USE_LEARNED),
#undef ROLE
};

const char *job_data_name(enum job_data role) { return roles[role].name; }

int job_data_find(const char *name) {
    for (int k = 0; k < JOB_DATA_FILES; k++)
        if (strcmp(roles[k].name, name) == 0)
            return k;
    return CAI_ENOTFOUND;
}

const char **job_data_at(struct job_spec *j, enum job_data role) {
    return (const char **)(void *)((char *)j + roles[role].at);
}

const char *job_data_path(const struct job_spec *j, enum job_data role) {
    return *job_data_at((struct job_spec *)(uintptr_t)j, role);
}

enum data_use job_data_use(enum job_data role) { return roles[role].use; }

void job_check_row(enum job_data role, const struct input_record *r, size_t line,
                   struct input_report *report) {
    if (roles[role].check)
        roles[role].check(&(struct row){r, report, line});
}
