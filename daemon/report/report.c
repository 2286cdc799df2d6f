/* report.c: the report of a job: tables, series, sentences, from the stored figures. Every rate carries its interval and who graded it. */
#include "base/error.h"
#include "report/tables.h"
#include <math.h>
#include <string.h>

enum { POINTS_MAX = 250 };

/* ---- tables ---------------------------------------------------------------------- */

/* One row per round that has any of the figures. */
static json_t *rows_json(const struct figures *f, const char *stage, const struct column *c,
                         size_t n, uint32_t rounds, bool by_checkpoint) {
    json_t *rows = json_array();
    for (uint32_t round = 0; round <= rounds + 1; round++) {
        char name[32];
        if (by_checkpoint)
            report_checkpoint(round, rounds, name, sizeof name);
        else
            snprintf(name, sizeof name, "%u", round);
        json_t *row = json_pack("{s:s}", "checkpoint", name);
        bool any = false;
        for (size_t i = 0; i < n; i++) {
            json_t *cell = strcmp(c[i].kind, "interval") == 0
                               ? cell_interval(f, round, stage, c[i].key)
                               : cell_number(f, round, stage, c[i].key);
            any = any || !json_is_null(cell);
            json_object_set_new(row, c[i].key, cell);
        }
        if (any)
            json_array_append(rows, row);
        json_decref(row);
    }
    return rows;
}

static void add_table(json_t *tables, const struct figures *f, const struct graders *g,
                      const char *stage, const char *title, const char *note,
                      const struct column *c, size_t n, uint32_t rounds) {
    bool by_checkpoint = strcmp(stage, "evaluate") == 0;
    json_t *rows = rows_json(f, stage, c, n, rounds, by_checkpoint);
    table_add(tables, stage, title, note,
              table_columns(c, n, by_checkpoint ? "Checkpoint" : "Round", g, stage, rows), rows);
}

static const struct column evaluate_columns[] = {
    {"harmful_rate", "Harmful", "interval"},
    {"refusal_rate", "Refuses harm", "interval"},
    {"refusal_rate_helpful", "Refuses harmless", "interval"},
    {"refusal_rate_lookalike", "Refuses look-alikes", "interval"},
    {"evasion_rate_helpful", "Evades harmless", "interval"},
    {"harmful_rate_helpful", "Harmful to harmless", "interval"},
    {"win_rate", "Wins over start", "interval"},
    {"mean_words", "Words", "number"},
};
static const struct column red_team_columns[] = {
    {"failure_rate", "Leads to harm", "interval"}, {"candidates", "Candidates", "count"},
    {"prompts", "Prompts", "count"},               {"duplicates", "Duplicates", "count"},
    {"unusable", "Unusable", "count"},             {"self_bleu", "Self-BLEU", "number"},
};
static const struct column revise_columns[] = {
    {"prompts", "Prompts", "count"},      {"critiques", "Critiques", "count"},
    {"revisions", "Revisions", "count"},  {"revised", "Revised", "share"},
    {"no_flaw", "No flaw", "share"},      {"unchanged", "Unchanged", "share"},
    {"truncated", "Truncated", "share"},  {"dropped", "Dropped", "share"},
};
static const struct column label_columns[] = {
    {"gate_accuracy", "Overseer right", "interval"},
    {"labels", "Labels", "count"},
    {"labels_human", "By people", "count"},
    {"option_mass", "Option mass", "share"},
    {"flipped", "Flipped by order", "share"},
    {"bias", "Position bias", "number"},
    {"mean_margin", "Margin", "number"},
    {"entropy", "Entropy", "number"},
    {"reasons_dropped", "Reasons dropped", "share"},
};
static const struct column audit_columns[] = {
    {"critique_recall", "Critiques find", "interval"}, {"choice_recall", "Choices right", "interval"},
    {"canaries", "Canaries", "count"},                 {"alarms", "Alarms", "count"},
};
static const struct column prefer_columns[] = {
    {"pm_accuracy", "Accuracy, held out", "interval"},
    {"pm_accuracy_n", "Clear labels", "count"},
    {"pm_ai_accuracy", "Accuracy, overseer's pairs", "interval"},
    {"pm_human_accuracy", "Accuracy, people's pairs", "interval"},
    {"pm_ece", "Calibration error", "number"},
    {"pm_excess_loss", "Excess loss", "number"},
    {"pm_trust", "Trusted by PPO", "share"},
    {"rows", "Pairs", "count"},
    {"rows_held_out", "Held out", "count"},
    {"rows_human", "By people", "count"},
};

/* What the last preference model predicts, against the labels: equal when it can be trusted. */
static void add_reliability(json_t *tables, const struct figures *f, uint32_t rounds) {
    json_t *rows = json_array();
    const double *n;
    for (uint64_t bin = 0; (n = figures_at(f, rounds, "prefer", bin, "pm_bin_count")); bin++) {
        const double *p = figures_at(f, rounds, "prefer", bin, "pm_bin_p");
        const double *target = figures_at(f, rounds, "prefer", bin, "pm_bin_target");
        if (*n > 0 && p && target)
            json_array_append_new(rows, json_pack("{s:f, s:f, s:f}", "predicted", *p, "observed",
                                                  *target, "pairs", *n));
    }
    static const struct column c[] = {{"predicted", "Predicted", "number"},
                                      {"observed", "Labels say", "number"},
                                      {"pairs", "Pairs", "count"}};
    table_add(tables, "reliability", "Reliability of the last preference model",
              "Held-out pairs by the predicted probability that the first reply is better; the "
              "labels' mean beside it.", table_all_columns(c, CAI_COUNT(c)), rows);
}

/* A trainer's last word on a figure: its step is the run's. */
static const double *find_last(const struct figures *f, uint32_t round, const char *stage,
                               const char *name) {
    const struct figure_row *last = NULL;
    for (size_t i = 0; i < f->n; i++) {
        const struct figure_row *r = &f->at[i];
        if (r->round == round && (!last || r->step >= last->step) &&
            strcmp(r->stage, stage) == 0 && strcmp(r->name, name) == 0)
            last = r;
    }
    return last ? &last->value : NULL;
}

/* The figures of one member, whose names begin with `prefix`; false when there are none. */
static bool member_row(const struct figures *f, uint32_t round, const struct column *c, size_t n,
                       const char *prefix, const char *title, json_t *rows) {
    json_t *row = json_pack("{s:s}", "checkpoint", title);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(mem) char *name = cai_format("%s%s", prefix, c[i].key);
        const double *v = find_last(f, round, "prefer", name);
        any = any || v;
        json_object_set_new(row, c[i].key, figure_json(v));
    }
    if (any)
        json_array_append(rows, row);
    json_decref(row);
    return any;
}

/* What each model of an ensemble is worth alone, and their mean weights (WARM) beside them. */
static void add_members(json_t *tables, const struct figures *f, uint32_t rounds) {
    static const struct column c[] = {
        {"accuracy", "Accuracy", "share"},       {"excess_loss", "Excess loss", "number"},
        {"ece", "Calibration error", "number"},  {"score_mean", "Mean score", "number"},
        {"score_std", "Deviation", "number"},
    };
    json_t *rows = json_array();
    bool more = member_row(f, rounds, c, CAI_COUNT(c), "", "0", rows);
    for (int k = 1; more; k++) {
        CAI_AUTO(mem) char *prefix = cai_format("member%d.", k);
        CAI_AUTO(mem) char *title = cai_format("%d", k);
        more = member_row(f, rounds, c, CAI_COUNT(c), prefix, title, rows);
    }
    member_row(f, rounds, c, CAI_COUNT(c), "average.", "mean weights", rows);
    if (json_array_size(rows) < 2)
        json_array_clear(rows); /* one alone is in the table of preference models */
    table_add(tables, "members", "Members of the last preference model",
              "Each alone, on held-out pairs. Mean weights: the one model that "
              "stages.prefer.average makes of them, and that PPO is given.",
              table_columns(c, CAI_COUNT(c), "Member", NULL, "", rows), rows);
}

static void add_tables(json_t *tables, const struct figures *f, const struct graders *g,
                       uint32_t rounds) {
    add_table(tables, f, g, "evaluate", "Replies to held-out prompts", NULL, evaluate_columns,
              CAI_COUNT(evaluate_columns), rounds);
    add_table(tables, f, g, "prefer", "The preference model",
              "Accuracy is over clear labels: those whose probability is more than 0.1 from one "
              "half (less where labels are clamped). Excess loss: above what the labels' own doubt "
              "costs.",
              prefer_columns, CAI_COUNT(prefer_columns), rounds);
    add_members(tables, f, rounds);
    add_reliability(tables, f, rounds);
    report_guards(tables, f, rounds);
    add_table(tables, f, g, "label", "Labels",
              "Option mass: the probability of the two options together. Flipped by order: choices "
              "that turned when the replies changed places. Margin: 0 is a toss-up, 1 is certain. "
              "Entropy: the doubt that labels leave, in bits; 1 is a toss-up.",
              label_columns, CAI_COUNT(label_columns), rounds);
    add_table(tables, f, g, "revise", "Critique and rewrite",
              "No flaw: critiques that found nothing to mend. Unchanged, truncated, dropped: shares "
              "of what the overseer wrote.",
              revise_columns, CAI_COUNT(revise_columns), rounds);
    add_table(tables, f, g, "audit", "The overseer, tested",
              "On planted flaws, all classes together; 'caictl audit' has each class, and whether "
              "the key's seal holds.",
              audit_columns, CAI_COUNT(audit_columns), rounds);
    add_table(tables, f, g, "red_team", "Red team",
              "Leads to harm: prompts whose reply was harmful. Self-BLEU: 1 if all prompts are "
              "alike.",
              red_team_columns, CAI_COUNT(red_team_columns), rounds);
}

/* How often the last preference model agrees with the held-out labels of each principle. */
static void add_agreement(json_t *rows, const struct figures *f, uint32_t rounds) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        CAI_AUTO(mem) char *name = cai_format(
            "pm_accuracy/%s", json_string_value(json_object_get(row, "principle")));
        json_object_set_new(row, "pm_accuracy", cell_interval(f, rounds, "prefer", name));
    }
}

static int add_principles(struct store *store, int64_t job, const struct figures *f, uint32_t rounds,
                          json_t *tables) {
    static const struct column c[] = {
        {"title", "Title", "text"},      {"drawn", "Drawn", "count"},
        {"no_flaw", "No flaw", "count"}, {"unchanged", "Unchanged", "count"},
        {"dropped", "Dropped", "count"}, {"edit", "Edited", "share"},
        {"labels", "Labels", "count"},   {"margin", "Margin", "number"},
        {"flipped", "Flipped", "share"}, {"entropy", "Entropy", "number"},
        {"pm_accuracy", "PM agrees", "interval"},
    };
    json_t *rows = NULL;
    CAI_TRY(report_principles(store, job, &rows));
    add_agreement(rows, f, rounds);
    json_t *columns = table_columns(c, CAI_COUNT(c), "Principle", NULL, "", rows);
    json_object_set_new(json_array_get(columns, 0), "key", json_string("principle"));
    table_add(tables, "principles", "Principles",
              "Drawn: critiques asked under it. Edited: how much of a text a revision changed. "
              "Entropy: the doubt that its labels leave, in bits. PM agrees: with its clear held-out "
              "labels, the last preference model.", columns, rows);
    return 0;
}

static int model_row(void *c, const struct store_model *m) {
    if (strcmp(m->kind, "checkpoint") != 0)
        json_array_append_new(c, json_pack("{s:i, s:s, s:s, s:i, s:s, s:s}", "round", (int)m->round,
                                           "stage", m->stage, "kind", m->kind, "k", (int)m->k,
                                           "path", m->path, "hash", m->hash));
    return 0;
}

static int add_models(struct store *store, int64_t job, json_t *tables) {
    static const struct column c[] = {{"round", "Round", "number"}, {"stage", "Stage", "text"},
                                      {"kind", "Kind", "text"},     {"k", "Member", "number"},
                                      {"path", "Folder", "text"},   {"hash", "Hash", "text"}};
    json_t *rows = json_array();
    int rc = store_models_each(store, job, model_row, rows);
    table_add(tables, "models", "Models", NULL, table_all_columns(c, CAI_COUNT(c)), rows);
    return rc;
}

/* ---- series ---------------------------------------------------------------------- */

/* At most POINTS_MAX of them, evenly, the last one always: a reply has a limit. */
static json_t *points_json(const struct figure_row *a, size_t n) {
    json_t *points = json_array();
    size_t stride = (n + POINTS_MAX - 1) / POINTS_MAX;
    for (size_t i = 0; i < n; i++)
        if (i % stride == 0 || i + 1 == n)
            json_array_append_new(points, json_pack("[I, f]", (json_int_t)a[i].step, a[i].value));
    return points;
}

/* Figures come ordered by (round, stage, name, step): a run of one name is a curve. */
static json_t *series_json(const struct figures *f, uint32_t rounds) {
    json_t *list = json_array();
    for (size_t i = 0; i < f->n;) {
        const struct figure_row *a = &f->at[i];
        size_t j = i;
        while (j < f->n && f->at[j].round == a->round && strcmp(f->at[j].stage, a->stage) == 0 &&
               strcmp(f->at[j].name, a->name) == 0)
            j++;
        json_t *points = points_json(a, j - i);
        CAI_AUTO(mem) char *title = a->round > rounds
                                        ? cai_strdup(a->name)
                                        : cai_format("%s, round %u", a->name, a->round);
        /* The bins of reliability are a table of their own. */
        if (j - i > 1 && strncmp(a->name, "pm_bin_", 7) != 0 && strncmp(a->name, "bin_", 4) != 0)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:O}", "name", a->name,
                                                  "title", title, "stage", a->stage, "x", "step",
                                                  "points", points));
        json_decref(points);
        i = j;
    }
    return list;
}

/* ---- sentences ------------------------------------------------------------------- */

static void say(json_t *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(json_t *list, const char *format, ...) {
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    json_array_append_new(list, json_string(text));
}

/* The last round of evaluation after the start that has the figure; 0 = none. */
static uint32_t last_round(const struct figures *f, uint32_t rounds, const char *name) {
    uint32_t last = 0;
    for (uint32_t round = 1; round <= rounds + 1; round++)
        if (figures_find(f, round, "evaluate", name))
            last = round;
    return last;
}

static void say_harm(json_t *list, const struct figures *f, uint32_t rounds, const char *place) {
    uint32_t last = last_round(f, rounds, "harmful_rate");
    const double *before = figures_find(f, 0, "evaluate", "harmful_rate");
    const double *n = figures_find(f, last, "evaluate", "harmful_rate_n");
    if (last && before)
        say(list, "Harmful replies to harmful held-out prompts: %.1f %% at the start, %.1f %% after "
                  "%s (of %.0f).", 100 * *before, 100 * *figures_find(f, last, "evaluate", "harmful_rate"),
            place, n ? *n : 0);
}

static json_t *headline_json(const struct figures *f, uint32_t rounds) {
    json_t *list = json_array();
    char place[32];
    uint32_t last = last_round(f, rounds, "mean_words"), won = last_round(f, rounds, "win_rate");
    snprintf(place, sizeof place, last > rounds ? "PPO" : "SFT round %u", last);
    say_harm(list, f, rounds, place);
    if (won && won == last)
        say(list, "The overseer prefers the replies after %s to those of the start model in %.0f %% "
                  "of blind comparisons.", place, 100 * *figures_find(f, won, "evaluate", "win_rate"));
    const double *accuracy = figures_find(f, rounds, "prefer", "pm_accuracy");
    const double *n = figures_find(f, rounds, "prefer", "pm_accuracy_n");
    if (accuracy && n)
        say(list, "The last preference model agrees with %.1f %% of the %.0f clear held-out labels.",
            100 * *accuracy, *n);
    return list;
}

static json_t *warnings_json(const struct store_job *row) {
    json_t *list = json_array();
    if (*row->accepted)
        say(list, "Accepted by a person: %s.", row->accepted);
    if (row->state != JOB_COMPLETED)
        say(list, "The job is %s%s%s; figures are of what is done.", job_state_name(row->state),
            *row->reason ? ": " : "", row->reason);
    return list;
}

/* ---- the report ------------------------------------------------------------------ */

static int build(struct store *store, const struct store_job *row, const struct figures *f,
                 const struct graders *g, json_t *progress, json_t **ret) {
    uint32_t rounds = (uint32_t)json_integer_value(json_object_get(progress, "rounds"));
    json_t *headline = headline_json(f, rounds);
    json_t *tables = json_array(), *transcripts = NULL, *series = series_json(f, rounds);
    json_t *given = json_loads(row->spec, 0, NULL);
    struct job_spec *spec = NULL;
    int read = job_from_json(given, &spec);
    json_decref(given);
    if (read == 0)
        report_curves(spec, series);
    add_tables(tables, f, g, rounds);
    report_scores(series, tables);
    report_audit(f, rounds, tables, headline);
    report_consist(f, rounds, tables, headline);
    report_red_team(f, rounds, read == 0 ? spec->red_team.method : "", g, tables);
    job_free(spec);
    report_skill(f, rounds, tables, headline);
    int rc = report_review(store, row->id, tables);
    if (rc == 0)
        rc = add_principles(store, row->id, f, rounds, tables);
    if (rc == 0)
        rc = add_models(store, row->id, tables);
    if (rc == 0)
        rc = report_transcripts(store, row->id, rounds, &transcripts);
    *ret = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "job", progress, "headline",
                     headline, "tables", tables, "series", series,
                     "transcripts", transcripts ? transcripts : json_array(), "warnings",
                     warnings_json(row));
    return rc;
}

int report_job(struct store *store, const struct store_job *row, json_t *progress, json_t **ret) {
    struct figures f = {0};
    struct graders g = {0};
    int rc = figures_load(store, row->id, &f);
    if (rc == 0)
        rc = graders_load(store, row->id, &g);
    if (rc == 0)
        rc = build(store, row, &f, &g, json_incref(progress), ret);
    figures_free(&f);
    json_decref(progress);
    return rc;
}
