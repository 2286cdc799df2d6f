/* audit.c: the report's table of what people found when they read again what the overseer had judged,
 * and a sentence of it. Not for its estimates (stage/audit_people.h), nor for canaries ('caictl
 * audit'). */
#include "base/error.h"
#include "report/tables.h"
#include <string.h>

/* The rest of a name that begins with `what` and has parts, so that it is none itself; or NULL. */
static const char *whose(const struct figures *f, const struct figure_row *r, const char *what) {
    return strcmp(r->stage, "audit") == 0 && strncmp(r->name, what, strlen(what)) == 0 &&
                   figures_part(f, r->round, "audit", r->name, "n")
               ? r->name + strlen(what)
               : NULL;
}

static void add_row(json_t *rows, const struct figures *f, uint32_t round, const char *of) {
    CAI_AUTO(mem) char *missed = cai_format("missed%s", of);
    CAI_AUTO(mem) char *wrong = cai_format("passed_wrong%s", of);
    json_array_append_new(rows, json_pack("{s:s, s:o, s:o}", "principle", *of ? of + 1 : "all",
                                          "missed", cell_interval(f, round, "audit", missed),
                                          "passed_wrong", cell_interval(f, round, "audit", wrong)));
}

/* By name: all first, then principles; those of which only one of the two is known, last. */
static json_t *rows_of(const struct figures *f, uint32_t round) {
    json_t *rows = json_array();
    for (int both = 1; both >= 0; both--)
        for (size_t i = 0; i < f->n; i++) {
            const char *of = f->at[i].round == round
                                 ? whose(f, &f->at[i], both ? "missed" : "passed_wrong") : NULL;
            CAI_AUTO(mem) char *missed = cai_format("missed%s", of ? of : "");
            if (of && (both || !figures_find(f, round, "audit", missed)))
                add_row(rows, f, round, of);
        }
    return rows;
}

static void say(const struct figures *f, uint32_t round, json_t *headline) {
    const double *missed = figures_find(f, round, "audit", "missed");
    const double *low = figures_part(f, round, "audit", "missed", "low");
    const double *high = figures_part(f, round, "audit", "missed", "high");
    const double *n = figures_part(f, round, "audit", "missed", "n");
    if (!missed || !low || !high || !n)
        return;
    CAI_AUTO(mem) char *text = cai_format(
        "People read again %.0f replies that the overseer had judged (round %u): of what they find "
        "flawed it passes %.1f %% (%.1f to %.1f).", *n, round, 100 * *missed, 100 * *low,
        100 * *high);
    json_array_append_new(headline, json_string(text));
}

void report_audit(const struct figures *f, uint32_t rounds, json_t *tables, json_t *headline) {
    static const struct column c[] = {
        {"principle", "Principle", "text"},
        {"missed", "Misses", "interval"},
        {"passed_wrong", "Flawed among passed", "interval"},
    };
    char title[96];
    uint32_t round = rounds;
    while (round > 0 && !figures_find(f, round, "audit", "reaudits"))
        round--;
    if (round == 0)
        return;
    snprintf(title, sizeof title, "What the overseer misses (round %u)", round);
    table_add(tables, "reaudit", title,
              "People's verdicts on replies that the overseer had judged, mostly such as it passed; "
              "each counts by the inverse of its chance of being drawn. Misses: of what people find "
              "flawed, the share that it passed. Intervals are exact (Clopper and Pearson).",
              table_all_columns(c, CAI_COUNT(c)), rows_of(f, round));
    say(f, round, headline);
}
