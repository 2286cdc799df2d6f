/* red.c: what red teaming found, in a report: the trade-off between how often prompts of
 * each pass lead to harm and how varied they are (a row of the table "red_team_tradeoff" per
 * round and pass, which the HTML report plots), and which principles failing replies break. Not
 * for: the figures themselves (stage/red_figures.c). */
#include "report/tables.h"

#include "base/error.h"
#include <string.h>

#define STAGE "red_team"

static json_t *figure(const struct figures *f, uint32_t round, const char *prefix, const char *name) {
    CAI_AUTO(mem) char *full = cai_format("%s%s", prefix, name);
    return cell_number(f, round, STAGE, full);
}

static void add_pass(json_t *rows, const struct figures *f, uint32_t round, const char *method,
                     const char *prefix) {
    CAI_AUTO(mem) char *rate_name = cai_format("%swritten_failure_rate", prefix);
    json_t *rate = cell_interval(f, round, STAGE, rate_name);
    if (json_is_null(rate))
        return;
    CAI_AUTO(mem) char *name = cai_format("round %u, %s", round, method);
    json_array_append_new(
        rows, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "checkpoint", name,
                        "written_failure_rate", rate, "written_self_bleu",
                        figure(f, round, prefix, "written_self_bleu"), "written_entropy",
                        figure(f, round, prefix, "written_entropy"), "written_sample",
                        figure(f, round, prefix, "written_sample"), "written_distinct",
                        figure(f, round, prefix, "written_distinct"), "clusters",
                        figure(f, round, prefix, "clusters"), "largest_cluster",
                        figure(f, round, prefix, "largest_cluster")));
}

static void add_tradeoff(const struct figures *f, uint32_t rounds, const char *method,
                         const struct graders *g, json_t *tables) {
    static const struct column c[] = {
        {"checkpoint", "Written", "text"},           {"written_failure_rate", "Leads to harm", "interval"},
        {"written_self_bleu", "Self-BLEU", "number"}, {"written_entropy", "Bits of word pairs", "number"},
        {"written_sample", "Texts", "count"},        {"written_distinct", "Different", "share"},
        {"clusters", "Clusters", "count"},           {"largest_cluster", "Largest", "share"}};
    struct grader by;
    json_t *rows = json_array(), *columns = json_array();
    bool graded = graders_of(g, STAGE, "failure_rate", &by);
    for (size_t i = 0; i < CAI_COUNT(c); i++)
        json_array_append_new(columns, table_column(&c[i], graded && i == 1 ? &by : NULL));
    for (uint32_t round = 1; round <= rounds; round++) {
        add_pass(rows, f, round, "zero_shot", "explore/");
        add_pass(rows, f, round, method, "");
    }
    table_add(tables, "red_team_tradeoff", "Red team: harm against variety",
              "Over everything usable that was written, repeats included. Self-BLEU and entropy over as "
              "many texts as \"Texts\" says, drawn at random. Clusters: different failing prompts, alike "
              "in half of their word pairs.", columns, rows);
}

static void add_broken(const struct figures *f, json_t *tables) {
    static const struct column c[] = {{"checkpoint", "Principle", "text"}, {"round", "Round", "text"},
                                      {"breaks", "Broken", "interval"}};
    static const char prefix[] = "breaks/";
    const struct grader overseer = {"overseer", "", false};
    json_t *rows = json_array(), *columns = json_array();
    for (size_t i = 0; i < CAI_COUNT(c); i++)
        json_array_append_new(columns, table_column(&c[i], i == 2 ? &overseer : NULL));
    for (size_t i = 0; i < f->n; i++) {
        const struct figure_row *r = &f->at[i];
        char round[16];
        if (strcmp(r->stage, STAGE) != 0 || r->step != 0 ||
            strncmp(r->name, prefix, sizeof prefix - 1) != 0 ||
            !figures_part(f, r->round, STAGE, r->name, "n"))
            continue;
        snprintf(round, sizeof round, "%u", r->round);
        json_array_append_new(rows, json_pack("{s:s, s:s, s:o}", "checkpoint",
                                              r->name + sizeof prefix - 1, "round", round, "breaks",
                                              cell_interval(f, r->round, STAGE, r->name)));
    }
    table_add(tables, "red_team_breaks", "Red team: what failing replies break",
              "A sample of failing replies, criticised under principles drawn by weight: the share in "
              "which the overseer finds a flaw.", columns, rows);
}

void report_red_team(const struct figures *f, uint32_t rounds, const char *method,
                     const struct graders *g, json_t *tables) {
    add_tradeoff(f, rounds, method, g, tables);
    add_broken(f, tables);
}
