/* report_red.c: what red teaming found, in a report: the trade-off between how often prompts of
 * each pass lead to harm and how varied they are (a row of the table "red_team_tradeoff" per
 * round and pass, which the HTML report plots), and which principles failing replies break. Not
 * for: the figures themselves (stage/red_figures.c). */
#include "run/report.h"

#include "base/error.h"
#include <string.h>

struct seen {
    json_t *by_round; /* {"1": {NAME: value}} */
    char round[16];
};

static int collect(void *context, const struct store_metric *m) {
    struct seen *s = context;
    if (strcmp(m->stage, "red_team") != 0 || m->step != 0)
        return 0;
    snprintf(s->round, sizeof s->round, "%u", m->round);
    json_t *names = json_object_get(s->by_round, s->round);
    if (!names) {
        names = json_object();
        json_object_set_new(s->by_round, s->round, names);
    }
    json_object_set_new(names, m->name, json_real(m->value));
    return 0;
}

static json_t *figure(const json_t *names, const char *prefix, const char *name) {
    CAI_AUTO(mem) char *full = cai_format("%s%s", prefix, name);
    json_t *v = json_object_get(names, full);
    return v ? json_incref(v) : json_null();
}

static json_t *interval(const json_t *names, const char *prefix, const char *name) {
    CAI_AUTO(mem) char *full = cai_format("%s%s", prefix, name);
    json_t *value = json_object_get(names, full);
    if (!value)
        return json_null();
    return json_pack("{s:O, s:o, s:o, s:o}", "value", value, "low", figure(names, full, "_low"),
                     "high", figure(names, full, "_high"), "n", figure(names, full, "_n"));
}

static json_t *column(const char *key, const char *title, const char *kind,
                      const struct grader *by) {
    json_t *o = json_pack("{s:s, s:s, s:s}", "key", key, "title", title, "kind", kind);
    if (by)
        json_object_update_new(o, grader_json(by));
    return o;
}

static void add_pass(json_t *rows, const char *round, const char *method, const json_t *names,
                     const char *prefix) {
    json_t *rate = interval(names, prefix, "written_failure_rate");
    if (json_is_null(rate)) {
        json_decref(rate);
        return;
    }
    CAI_AUTO(mem) char *name = cai_format("round %s, %s", round, method);
    json_array_append_new(
        rows, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "checkpoint", name,
                        "written_failure_rate", rate, "written_self_bleu",
                        figure(names, prefix, "written_self_bleu"), "written_entropy",
                        figure(names, prefix, "written_entropy"), "written_sample",
                        figure(names, prefix, "written_sample"), "clusters",
                        figure(names, prefix, "clusters"), "largest_cluster",
                        figure(names, prefix, "largest_cluster")));
}

static void add_tradeoff(const struct seen *s, const char *method, const struct graders *g,
                         json_t *tables) {
    struct grader by;
    json_t *rows = json_array(), *names;
    const char *round;
    bool graded = graders_of(g, "red_team", "failure_rate", &by);
    json_object_foreach(s->by_round, round, names) {
        add_pass(rows, round, "zero_shot", names, "explore/");
        add_pass(rows, round, method, names, "");
    }
    if (json_array_size(rows) > 0)
        json_array_append_new(
            tables,
            json_pack("{s:s, s:s, s:s, s:[o, o, o, o, o, o, o], s:O}", "name", "red_team_tradeoff",
                      "title", "Red team: harm against variety", "note",
                      "Over everything usable that was written, repeats included. Self-BLEU and "
                      "entropy over as many texts as \"Texts\" says, drawn at random. Clusters: "
                      "different failing prompts, alike in half of their word pairs.",
                      "columns", column("checkpoint", "Written", "text", NULL),
                      column("written_failure_rate", "Leads to harm", "interval",
                             graded ? &by : NULL),
                      column("written_self_bleu", "Self-BLEU", "number", NULL),
                      column("written_entropy", "Bits of word pairs", "number", NULL),
                      column("written_sample", "Texts", "count", NULL),
                      column("clusters", "Clusters", "count", NULL),
                      column("largest_cluster", "Largest", "share", NULL), "rows", rows));
    json_decref(rows);
}

static void add_broken(const struct seen *s, json_t *tables) {
    const struct grader overseer = {"overseer", "", false};
    json_t *rows = json_array(), *names, *value;
    const char *round, *name;
    json_object_foreach(s->by_round, round, names) {
        json_object_foreach(names, name, value) {
            CAI_AUTO(mem) char *n = cai_format("%s_n", name);
            if (strncmp(name, "breaks/", 7) == 0 && json_object_get(names, n))
                json_array_append_new(
                    rows, json_pack("{s:s, s:s, s:o}", "checkpoint", name + 7, "round", round,
                                    "breaks", interval(names, "", name)));
        }
    }
    if (json_array_size(rows) > 0)
        json_array_append_new(
            tables, json_pack("{s:s, s:s, s:s, s:[o, o, o], s:O}", "name", "red_team_breaks",
                              "title", "Red team: what failing replies break", "note",
                              "A sample of failing replies, criticised under principles drawn by "
                              "weight: the share in which the overseer finds a flaw.", "columns",
                              column("checkpoint", "Principle", "text", NULL),
                              column("round", "Round", "text", NULL),
                              column("breaks", "Broken", "interval", &overseer), "rows", rows));
    json_decref(rows);
}

int report_red_team(struct run *r, int64_t job, const char *method, const struct graders *g,
                    json_t *tables) {
    struct seen s = {.by_round = json_object()};
    int rc = store_metrics_each(r->store, job, collect, &s);
    if (rc == 0) {
        add_tradeoff(&s, method, g, tables);
        add_broken(&s, tables);
    }
    json_decref(s.by_round);
    return rc;
}
