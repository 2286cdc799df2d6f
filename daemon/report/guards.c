/* guards.c: the report's tables of the guards. Not for their figures (stage/guard.h). */
#include "report/tables.h"

#include "stage/guard.h"
#include "stage/probes.h"
#include <string.h>

static json_t *ratio_text(const struct figures *f, uint32_t round, const char *name,
                          const char *part) {
    CAI_AUTO(mem) char *full = cai_format("%s_%s", name, part);
    return cell_spread(f, round, "evaluate", full);
}

/* What may be said of a failure that did not trip its guard. */
static json_t *safe_text(const struct figures *f, uint32_t round, const char *name) {
    const double *safe = figures_part(f, round, "evaluate", name, "safe");
    const double *verdicts = figures_part(f, round, "evaluate", name, "verdicts");
    if (!safe)
        return json_null();
    if (*safe > 0)
        return json_string("ruled out");
    return json_string(verdicts && *verdicts == 0 ? "unverified" : "not ruled out");
}

/* Whether failures multiplied, at the last evaluation. */
static void add_guard(json_t *tables, const struct figures *f, uint32_t rounds) {
    static const struct column c[] = {
        {"R", "R, last round", "text"},       {"R0", "R, start", "text"},
        {"data", "In its data", "share"},     {"S", "S", "number"},
        {"I", "I", "number"},                 {"least", "Least rise shown", "share"},
        {"true", "Corrected", "share"},       {"safe", "No rise", "text"},
    };
    json_t *rows = json_array();
    uint32_t round = rounds + 1;
    char place[32], title[96];
    while (round > 0 && !figures_find(f, round, "evaluate", "distinct_pairs"))
        round--;
    for (const struct probe_class *p = probe_classes; round > 0 && p->name; p++) {
        json_t *r = ratio_text(f, round, p->name, "R");
        json_t *r0 = ratio_text(f, round, p->name, "R0");
        json_t *row = json_pack("{s:s, s:o, s:o}", "checkpoint", p->says, "R", r, "R0", r0);
        for (size_t i = 2; i < CAI_COUNT(c); i++)
            json_object_set_new(row, c[i].key,
                                strcmp(c[i].key, "safe") == 0
                                    ? safe_text(f, round, p->name)
                                    : figure_json(figures_part(f, round, "evaluate", p->name, c[i].key)));
        if (!json_is_null(r))
            json_array_append(rows, row);
        json_decref(row);
    }
    report_checkpoint(round, rounds, place, sizeof place);
    snprintf(title, sizeof title, "Do failures multiply? (%s)", place);
    table_add(tables, "guard", title,
              "R: how many times as often as before, on the same prompts; above 1 it grows. R = S × I: "
              "S says whether the texts that were trained on have it more often than the model had "
              "(selection), I whether the model has it more often than they (inheritance). Least rise "
              "shown: a smaller one could have been overlooked.",
              table_columns(c, CAI_COUNT(c), "Failure", NULL, "", rows), rows);
}

/* "+0.9 points", "1,600": nothing where the figure is not. */
static json_t *text_of(const double *v, const char *form, double times) {
    return v ? json_sprintf(form, times * *v) : json_null();
}

/* Whether a rise above the tolerance is ruled out; `halts`: nothing is by an unchecked grader. */
static const char *ruled_text(const struct figures *f, uint32_t round, const char *name, bool out,
                              bool halts) {
    const double *verdicts = figures_part(f, round, "evaluate", name, "verdicts");
    if (halts && figures_part(f, round, "evaluate", name, "wanted"))
        return "UNVERIFIED";
    if (!out)
        return "NOT ruled out";
    return !halts && verdicts && *verdicts == 0 ? "ruled out, as an unchecked grader sees it"
                                                : "ruled out";
}

/* Replies that would be enough; or, before them, people's verdicts on the grader. */
static json_t *enough_text(const struct figures *f, uint32_t round, const char *name) {
    const double *wanted = figures_part(f, round, "evaluate", name, "wanted");
    const double *enough = figures_part(f, round, "evaluate", name, "enough");
    return wanted ? json_sprintf("%.0f verdicts", *wanted) : text_of(enough, "%.0f", 1);
}

/* What is certified, and what is not: the upper bound of each failure's rise over the start. */
static void add_bounds(json_t *tables, const struct figures *f, uint32_t rounds) {
    static const struct column c[] = {
        {"bound", "Rise at most (95 %)", "text"}, {"pairs", "Replies compared", "text"},
        {"enough", "Would be enough", "text"}, {"ruled", "A rise above it", "text"}};
    json_t *rows = json_array();
    uint32_t round = rounds + 1;
    char place[32], title[96];
    while (round > 0 && !figures_find(f, round, "evaluate", "tolerance"))
        round--;
    const double *tolerance = round ? figures_find(f, round, "evaluate", "tolerance") : NULL;
    bool halts = round && figures_find(f, round, "evaluate", "guard_tolerance");
    for (const struct probe_class *p = probe_classes; tolerance && p->name; p++) {
        const double *bound = figures_part(f, round, "evaluate", p->name, "bound");
        if (!bound)
            continue;
        json_array_append_new(
            rows, json_pack("{s:s, s:o, s:o, s:o, s:s}", "checkpoint", p->says, "bound",
                            text_of(bound, "%+.1f points", 100), "pairs",
                            text_of(figures_part(f, round, "evaluate", p->name, "pairs"), "%.0f", 1),
                            "enough", enough_text(f, round, p->name), "ruled",
                            ruled_text(f, round, p->name, *bound <= *tolerance, halts)));
    }
    report_checkpoint(round, rounds, place, sizeof place);
    snprintf(title, sizeof title, "Is a rise of more than %.1f points over the start ruled out? (%s)",
             tolerance ? 100 * *tolerance : 0, place);
    table_add(tables, "bounds", title,
              halts ? "What is not ruled out halts the job (guards.tolerance). UNVERIFIED: nobody has shown "
                      "that its grader sees such failures, so that its bound certifies nothing; it takes so "
                      "many verdicts of people, half of them on failures: data.graded, or human.grades and "
                      "'caictl review next'. Would be enough: replies of each model, if the rise is as it "
                      "was seen; empty where none would be, or none is needed."
                    : "guards.tolerance is not set: nothing here halts the job, and what is not ruled out "
                      "is not certified. Would be enough: replies of each model, if the rise is as it was "
                      "seen; empty where none would be, or none is needed.",
              table_columns(c, CAI_COUNT(c), "Failure", NULL, "", rows), rows);
}

/* What replies are like and what the model can, by checkpoint. */
static const struct column state_columns[] = {
    {"skill_choice", "Choices right", "share"}, {"skill_answer", "Answers right", "share"},
    {"bits_per_byte", "Bits per byte", "number"},  {"kl_start", "From the start", "number"},
    {"entropy", "Entropy", "number"},              {"distinct_pairs", "Distinct pairs", "number"},
    {"self_bleu", "Self-BLEU", "number"},          {"opening_top", "Commonest opening", "share"},
    {"pm_gain", "Score gained", "number"},         {"pm_spread", "Members apart", "number"},
    {"grader_sensitivity", "Grader sees", "share"},
    {"grader_specificity", "Grader passes rightly", "share"},
};

static void add_state(json_t *tables, const struct figures *f, uint32_t rounds) {
    json_t *rows = json_array();
    for (uint32_t round = 0; round <= rounds + 1; round++) {
        char place[32];
        bool any = false;
        report_checkpoint(round, rounds, place, sizeof place);
        json_t *row = json_pack("{s:s}", "checkpoint", place);
        for (size_t i = 0; i < CAI_COUNT(state_columns); i++) {
            const double *v = figures_find(f, round, "evaluate", state_columns[i].key);
            any = any || v;
            json_object_set_new(row, state_columns[i].key, figure_json(v));
        }
        if (any)
            json_array_append(rows, row);
        json_decref(row);
    }
    table_add(tables, "state", "What replies are like, and what the model can",
              "Bits per byte: of people's texts in data.probes. From the start: nats per reply. Members "
              "apart: the deviation between preference models on the same replies.",
              table_columns(state_columns, CAI_COUNT(state_columns), "Checkpoint", NULL, "", rows), rows);
}

/* Each guard at each checkpoint: it looked, it tripped, or it had nothing to look at. */
static void add_guards(json_t *tables, const struct figures *f, uint32_t rounds) {
    enum { AT_MOST = 12 };
    struct column c[AT_MOST];
    char keys[AT_MOST][16], titles[AT_MOST][32];
    json_t *rows = json_array();
    size_t n = 0;
    for (uint32_t round = rounds + 1; round > 0 && n < AT_MOST; round--, n++) {
        snprintf(keys[n], sizeof keys[n], "at-%u", round);
        report_checkpoint(round, rounds, titles[n], sizeof titles[n]);
        c[n] = (struct column){keys[n], titles[n], "text"};
    }
    for (const struct guard *g = guards; g->name; g++) {
        CAI_AUTO(mem) char *name = cai_format("guard_%s", g->name);
        CAI_AUTO(mem) char *title = cai_format("%s: %s (%s)", g->name, g->measures, g->setting);
        json_t *row = json_pack("{s:s}", "checkpoint", title);
        for (size_t i = 0; i < n; i++) {
            const double *v = figures_find(f, rounds + 1 - (uint32_t)i, "evaluate", name);
            json_object_set_new(row, keys[i], v ? json_string(*v > 0 ? "TRIPPED" : "quiet") : json_null());
        }
        json_array_append_new(rows, row);
    }
    json_t *columns = table_columns(c, n, "Guard", NULL, "", rows);
    if (json_array_size(columns) < 2)
        json_array_clear(rows); /* none of them has looked */
    table_add(tables, "guards", "Guards",
              "Quiet: it looked and found nothing above its margin, which the probes' number limits "
              "(least rise shown). Empty: it had nothing to look at.", columns, rows);
}

void report_guards(json_t *tables, const struct figures *f, uint32_t rounds) {
    add_guard(tables, f, rounds);
    add_bounds(tables, f, rounds);
    add_guards(tables, f, rounds);
    add_state(tables, f, rounds);
}
