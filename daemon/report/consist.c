/* consist.c: what the report says of self-consistency: shares of votes and accuracy over the
 * rounds, how often votes of some share are right, and whether it stopped. The figures are the
 * stage's (stage/consist.c). */
#include "base/error.h"
#include "report/tables.h"
#include <stdio.h>

enum { BINS = 10 };
#define STAGE "consist"

static const double *figure(const struct figures *f, uint32_t round, const char *name) {
    return figures_find(f, round, STAGE, name);
}

static bool stopped(const struct figures *f, uint32_t round) {
    const double *v = figure(f, round, "stopped");
    return v && *v > 0;
}

/* A share from which votes are kept, that none is, or that votes wait until labels have taught. */
static json_t *threshold(const struct figures *f, uint32_t round) {
    const double *t = figure(f, round, "threshold"), *taught = figure(f, round, "taught");
    if (!t)
        return json_null();
    bool waits = *t > 1 && round == 1 && taught && *taught > 0 && !stopped(f, round);
    CAI_AUTO(mem) char *text = *t <= 1 ? cai_format("%.0f %%", 100 * *t)
                               : cai_strdup(waits ? "answers first" : "none is kept");
    return json_string(text);
}

static void add_rounds(const struct figures *f, uint32_t rounds, json_t *tables) {
    static const struct column c[] = {
        {"checkpoint", "Round", "text"},        {"share", "Share of the vote", "share"},
        {"accuracy", "Right, by vote", "interval"}, {"path_accuracy", "Right, one path", "share"},
        {"unread", "No answer", "share"},       {"threshold", "Kept from", "text"},
        {"kept_questions", "Questions kept", "count"}, {"taught", "Known answers taught", "count"},
        {"taught_ways", "by ways", "count"}, {"share_rise", "Share rose by", "text"},
        {"accuracy_rise", "Accuracy rose by", "text"}, {"stops", "", "text"}};
    json_t *rows = json_array();
    for (uint32_t r = 1; r <= rounds; r++) {
        char place[16];
        if (!figure(f, r, "share") && !figure(f, r, "questions"))
            continue;
        snprintf(place, sizeof place, "%u", r);
        json_array_append_new(
            rows, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "checkpoint",
                            place, "share", cell_number(f, r, STAGE, "share"), "accuracy",
                            cell_interval(f, r, STAGE, "accuracy"), "path_accuracy",
                            cell_number(f, r, STAGE, "path_accuracy"), "unread",
                            cell_number(f, r, STAGE, "unread"), "threshold", threshold(f, r),
                            "kept_questions", cell_number(f, r, STAGE, "kept_questions"),
                            "taught", cell_number(f, r, STAGE, "taught"), "taught_ways",
                            cell_number(f, r, STAGE, "taught_ways"), "share_rise",
                            cell_points(f, r, STAGE, "share_rise"), "accuracy_rise",
                            cell_points(f, r, STAGE, "accuracy_rise"), "stops",
                            stopped(f, r) ? "stops here" : ""));
    }
    table_add(tables, STAGE, "Self-consistency",
        "Each round asks the model that the round before left. Share of the vote: how many of the "
        "paths to a question's answer agree with the most given one. Right: of labelled questions "
        "that are never trained on; those that teach (stages.consist.teach) are counted beside. When "
        "the share rises and accuracy does not, the model grows "
        "surer of its errors: there it stops. Rises are since the round before, in points, with "
        "one-sided bounds.", table_all_columns(c, CAI_COUNT(c)), rows);
}

/* Of the last round that has votes. */
static void add_calibration(const struct figures *f, uint32_t rounds, json_t *tables) {
    static const struct column c[] = {{"votes", "Votes of", "text"},   {"share", "Mean share", "share"},
                                      {"right", "Right", "share"},     {"fit", "Fitted", "share"},
                                      {"questions", "Questions", "count"}};
    json_t *rows = json_array();
    uint32_t r = rounds;
    char title[96];
    while (r > 1 && !figure(f, r, "questions"))
        r--;
    snprintf(title, sizeof title, "How often votes are right, by their share (round %u)", r);
    for (uint64_t b = 0; b < BINS; b++) {
        char place[32];
        const double *n = figures_at(f, r, STAGE, b, "bin_count");
        const double *share = figures_at(f, r, STAGE, b, "bin_share");
        const double *right = figures_at(f, r, STAGE, b, "bin_accuracy");
        const double *fit = figures_at(f, r, STAGE, b, "bin_fit");
        if (!n || !share || !right || !fit)
            continue;
        snprintf(place, sizeof place, "%u to %u %%", (unsigned)b * 10, (unsigned)b * 10 + 10);
        json_array_append_new(rows, json_pack("{s:s, s:f, s:f, s:f, s:f}", "votes", place, "share",
                                              *share, "right", *right, "fit", *fit, "questions", *n));
    }
    table_add(tables, "consist_calibration", title,
              "Labelled questions. Fitted: isotonic regression, from which the threshold is taken.",
              table_all_columns(c, CAI_COUNT(c)), rows);
}

static void say(const struct figures *f, uint32_t rounds, json_t *headline) {
    uint32_t at = rounds;
    while (at > 1 && !figure(f, at, "accuracy"))
        at--;
    const double *first = figure(f, 1, "accuracy"), *last = figure(f, at, "accuracy");
    const double *n = figure(f, at, "accuracy_n");
    if (!first || !last || !n)
        return;
    CAI_AUTO(mem) char *text =
        cai_format("Self-consistency: votes are right on %.1f %% of %.0f labelled questions in round "
                   "1, on %.1f %% in round %u%s.",
                   100 * *first, *n, 100 * *last, at, stopped(f, at) ? "; there it stopped" : "");
    json_array_append_new(headline, json_string(text));
}

void report_consist(const struct figures *f, uint32_t rounds, json_t *tables, json_t *headline) {
    add_rounds(f, rounds, tables);
    add_calibration(f, rounds, tables);
    say(f, rounds, headline);
}
