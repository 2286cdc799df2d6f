/* report_consist.c: what the report says of self-consistency: shares of votes and accuracy over the
 * rounds, how often votes of some share are right, and whether it stopped. The figures are the
 * stage's (stage/consist.c). */
#include "base/check.h"
#include "base/error.h"
#include "run/report.h"
#include <math.h>
#include <string.h>

enum { BINS = 10 };
#define STAGE "consist"

struct asked {
    struct store *s;
    int64_t job;
};

static const double *figure(const struct asked *a, uint32_t round, uint64_t step, const char *name,
                            double *at) {
    bool there = store_metric_get(a->s, a->job, round, STAGE, step, name, at) == 0;
    cai_error_clear();
    return there ? at : NULL;
}

static json_t *number(const struct asked *a, uint32_t round, const char *name) {
    double v;
    return figure(a, round, 0, name, &v) ? json_real(v) : json_null();
}

static json_t *part(const struct asked *a, uint32_t round, const char *name, const char *suffix) {
    CAI_AUTO(mem) char *full = cai_format("%s_%s", name, suffix);
    return number(a, round, full);
}

static json_t *interval(const struct asked *a, uint32_t round, const char *name) {
    json_t *v = number(a, round, name);
    if (json_is_null(v))
        return v;
    return json_pack("{s:o, s:o, s:o, s:o}", "value", v, "low", part(a, round, name, "low"), "high",
                     part(a, round, name, "high"), "n", part(a, round, name, "n"));
}

/* "+3.1 (+1.0 to +5.2)", points. */
static json_t *rise(const struct asked *a, uint32_t round, const char *name) {
    CAI_AUTO(mem) char *low_name = cai_format("%s_low", name);
    CAI_AUTO(mem) char *high_name = cai_format("%s_high", name);
    double v, low, high;
    if (!figure(a, round, 0, name, &v) || !figure(a, round, 0, low_name, &low) ||
        !figure(a, round, 0, high_name, &high))
        return json_null();
    CAI_AUTO(mem) char *text = cai_format("%+.1f (%+.1f to %+.1f)", 100 * v, 100 * low, 100 * high);
    return json_string(text);
}

/* A share from which votes are kept, or that none is. */
static json_t *threshold(const struct asked *a, uint32_t round) {
    double t;
    if (!figure(a, round, 0, "threshold", &t))
        return json_null();
    CAI_AUTO(mem) char *text = t > 1 ? cai_strdup("none is kept") : cai_format("%.0f %%", 100 * t);
    return json_string(text);
}

static json_t *column(const char *key, const char *title, const char *kind) {
    return json_pack("{s:s, s:s, s:s}", "key", key, "title", title, "kind", kind);
}

static void put(json_t *tables, const char *name, const char *title, const char *note,
                json_t *columns, json_t *rows) {
    if (json_array_size(rows))
        json_array_append_new(tables, json_pack("{s:s, s:s, s:s, s:O, s:O}", "name", name, "title",
                                                title, "note", note, "columns", columns, "rows",
                                                rows));
    json_decref(columns);
    json_decref(rows);
}

static void add_rounds(const struct asked *a, uint32_t rounds, json_t *tables) {
    json_t *rows = json_array(), *columns = json_array();
    static const char *const names[][3] = {
        {"checkpoint", "Round", "text"},        {"share", "Share of the vote", "share"},
        {"accuracy", "Right, by vote", "interval"}, {"path_accuracy", "Right, one path", "share"},
        {"unread", "No answer", "share"},       {"threshold", "Kept from", "text"},
        {"kept_questions", "Questions kept", "count"}, {"share_rise", "Share rose by", "text"},
        {"accuracy_rise", "Accuracy rose by", "text"}, {"stops", "", "text"}};
    for (size_t i = 0; i < CAI_COUNT(names); i++)
        json_array_append_new(columns, column(names[i][0], names[i][1], names[i][2]));
    for (uint32_t r = 1; r <= rounds; r++) {
        char place[16];
        double stopped;
        json_t *share = number(a, r, "share");
        if (json_is_null(share) && !figure(a, r, 0, "questions", &stopped)) {
            json_decref(share);
            continue;
        }
        bool stops = figure(a, r, 0, "stopped", &stopped) && stopped > 0;
        snprintf(place, sizeof place, "%u", r);
        json_array_append_new(
            rows, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "checkpoint",
                            place, "share", share, "accuracy", interval(a, r, "accuracy"),
                            "path_accuracy", number(a, r, "path_accuracy"), "unread",
                            number(a, r, "unread"), "threshold", threshold(a, r), "kept_questions",
                            number(a, r, "kept_questions"), "share_rise", rise(a, r, "share_rise"),
                            "accuracy_rise", rise(a, r, "accuracy_rise"), "stops",
                            stops ? "stops here" : ""));
    }
    put(tables, STAGE, "Self-consistency",
        "Each round asks the model that the round before left. Share of the vote: how many of the "
        "paths to a question's answer agree with the most given one. Right: of labelled questions, "
        "which are never trained on. When the share rises and accuracy does not, the model grows "
        "surer of its errors: there it stops. Rises are since the round before, in points, with "
        "one-sided bounds.",
        columns, rows);
}

/* Of the last round that has votes. */
static void add_calibration(const struct asked *a, uint32_t rounds, json_t *tables) {
    json_t *rows = json_array(), *columns = json_array();
    uint32_t r = rounds;
    double any, n, share, right, fit;
    char title[96];
    while (r > 1 && !figure(a, r, 0, "questions", &any))
        r--;
    snprintf(title, sizeof title, "How often votes are right, by their share (round %u)", r);
    json_array_append_new(columns, column("votes", "Votes of", "text"));
    json_array_append_new(columns, column("share", "Mean share", "share"));
    json_array_append_new(columns, column("right", "Right", "share"));
    json_array_append_new(columns, column("fit", "Fitted", "share"));
    json_array_append_new(columns, column("questions", "Questions", "count"));
    for (uint64_t b = 0; b < BINS; b++) {
        char place[32];
        if (!figure(a, r, b, "bin_count", &n) || !figure(a, r, b, "bin_share", &share) ||
            !figure(a, r, b, "bin_accuracy", &right) || !figure(a, r, b, "bin_fit", &fit))
            continue;
        snprintf(place, sizeof place, "%u to %u %%", (unsigned)b * 10, (unsigned)b * 10 + 10);
        json_array_append_new(rows, json_pack("{s:s, s:f, s:f, s:f, s:f}", "votes", place, "share",
                                              share, "right", right, "fit", fit, "questions", n));
    }
    put(tables, "consist_calibration", title,
        "Labelled questions. Fitted: isotonic regression, from which the threshold is taken.",
        columns, rows);
}

void report_consist(struct run *r, int64_t job, uint32_t rounds, json_t *tables) {
    const struct asked a = {r->store, job};
    add_rounds(&a, rounds, tables);
    add_calibration(&a, rounds, tables);
}

void report_consist_says(struct run *r, int64_t job, uint32_t rounds, json_t *headline) {
    const struct asked a = {r->store, job};
    double first, last, n, stopped;
    uint32_t at = rounds;
    while (at > 1 && !figure(&a, at, 0, "accuracy", &last))
        at--;
    if (!figure(&a, 1, 0, "accuracy", &first) || !figure(&a, at, 0, "accuracy", &last) ||
        !figure(&a, at, 0, "accuracy_n", &n))
        return;
    bool stops = figure(&a, at, 0, "stopped", &stopped) && stopped > 0;
    CAI_AUTO(mem) char *text =
        cai_format("Self-consistency: votes are right on %.1f %% of %.0f labelled questions in round "
                   "1, on %.1f %% in round %u%s.",
                   100 * first, n, 100 * last, at,
                   stops ? "; there it stopped" : "");
    json_array_append_new(headline, json_string(text));
}
