/* skill.c: the parts of a report on critique as a skill, and on whether debates are worth
 * their price: two tables and two sentences, from the stored figures. */
#include "base/error.h"
#include "report/tables.h"
#include <math.h>
#include <string.h>

struct place {
    const struct figures *f;
    uint32_t round;
    const char *stage;
};

static bool get(const struct place *p, const char *name, double *ret) {
    const double *v = figures_find(p->f, p->round, p->stage, name);
    *ret = v ? *v : NAN;
    return v != NULL;
}

static double part(const struct place *p, const char *name, const char *end) {
    const double *v = figures_part(p->f, p->round, p->stage, name, end);
    return v ? *v : NAN;
}

/* ---- critique as a skill --------------------------------------------------------------------- */
static const struct column skill_columns[] = {
    {"checkpoint", "Round", "text"},
    {"flaw_accuracy", "Is there a flaw?", "interval"},
    {"flaw_base", "Commoner answer", "share"},
    {"helpful_accuracy", "Is the critique right?", "interval"},
    {"helpful_base", "Commoner answer", "share"},
    {"quality_g", "G", "text"},
    {"quality_d", "D", "text"},
    {"quality_c", "C", "text"},
    {"gap_gd", "D − G", "text"},
    {"gap_gc", "C − G", "text"},
    {"gap_cd", "D − C", "text"},
};

static json_t *skill_rows(struct place *p, uint32_t rounds) {
    json_t *rows = json_array();
    for (p->round = 1; p->round <= rounds; p->round++) {
        double any;
        if (!get(p, "rows", &any))
            continue;
        char name[16];
        snprintf(name, sizeof name, "%u", p->round);
        json_t *row = json_pack("{s:s}", "checkpoint", name);
        for (size_t i = 1; i < CAI_COUNT(skill_columns); i++) {
            const struct column *c = &skill_columns[i];
            json_object_set_new(row, c->key,
                                strcmp(c->kind, "interval") == 0
                                    ? cell_interval(p->f, p->round, p->stage, c->key)
                                : strcmp(c->kind, "text") == 0 /* the judge's own units: no share */
                                    ? cell_spread(p->f, p->round, p->stage, c->key)
                                    : cell_number(p->f, p->round, p->stage, c->key));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

/* The last round's gap between knowing and saying, where its interval leaves out zero. */
static void say_gap(struct place *p, uint32_t rounds, json_t *headline) {
    double gap;
    p->round = rounds;
    if (!get(p, "gap_cd", &gap) || part(p, "gap_cd", "low") <= 0)
        return;
    CAI_AUTO(mem) char *text = cai_format(
        "The overseer tells flawed replies better than its critiques show: D − C is %.2f (%.2f to "
        "%.2f).", gap, part(p, "gap_cd", "low"), part(p, "gap_cd", "high"));
    json_array_append_new(headline, json_string(text));
}

/* ---- ways to label ------------------------------------------------------------------------------- */
static const struct column method_columns[] = {
    {"checkpoint", "Way", "text"},
    {"accuracy", "Right", "interval"},
    {"generated", "Tokens written", "number"},
    {"read", "Tokens read", "number"},
    {"gain", "Debate gains (points)", "text"},
};

static json_t *method_rows(struct place *p) {
    static const char *const ways[][2] = {
        {"debate", "debate"}, {"direct", "direct"}, {"cot", "after reasons"}};
    json_t *rows = json_array();
    for (size_t i = 0; i < CAI_COUNT(ways); i++) {
        char name[48];
        snprintf(name, sizeof name, "method_%s_accuracy", ways[i][0]);
        json_t *accuracy = cell_interval(p->f, p->round, p->stage, name);
        if (json_is_null(accuracy))
            continue;
        json_t *row = json_pack("{s:s, s:o}", "checkpoint", ways[i][1], "accuracy", accuracy);
        snprintf(name, sizeof name, "method_%s_generated", ways[i][0]);
        json_object_set_new(row, "generated", cell_number(p->f, p->round, p->stage, name));
        snprintf(name, sizeof name, "method_%s_read", ways[i][0]);
        json_object_set_new(row, "read", cell_number(p->f, p->round, p->stage, name));
        snprintf(name, sizeof name, "gain_%s", ways[i][0]);
        json_object_set_new(row, "gain", cell_points(p->f, p->round, p->stage, name));
        json_array_append_new(rows, row);
    }
    return rows;
}

static void say_debate(const struct place *p, json_t *headline) {
    double debate, direct, gain, more[2], less[2];
    if (!get(p, "method_debate_accuracy", &debate) || !get(p, "method_direct_accuracy", &direct) ||
        !get(p, "gain_direct", &gain))
        return;
    get(p, "method_debate_generated", &more[0]);
    get(p, "method_debate_read", &more[1]);
    get(p, "method_direct_generated", &less[0]);
    get(p, "method_direct_read", &less[1]);
    bool helps = part(p, "gain_direct", "low") > 0, harms = part(p, "gain_direct", "high") < 0;
    double tokens = less[0] + less[1] > 0 ? (more[0] + more[1]) / (less[0] + less[1]) : 0;
    CAI_AUTO(mem) char *text = cai_format(
        "Debates are right on %.1f %% of known pairs, direct answers on %.1f %%, at %.1f times the "
        "tokens: debate %s here.",
        100 * debate, 100 * direct, tokens,
        helps ? "helps" : harms ? "does harm" : "is not shown to help");
    json_array_append_new(headline, json_string(text));
}

/* The last round in which the gate was asked in all ways. */
static void find_methods(struct place *p, uint32_t rounds) {
    double any;
    for (p->round = rounds; p->round > 1 && !get(p, "method_debate_accuracy", &any); p->round--)
        ;
}

void report_skill(const struct figures *f, uint32_t rounds, json_t *tables, json_t *headline) {
    struct place skill = {f, 1, "skill"}, label = {f, 1, "label"};
    table_add(tables, "skill", "Critique as a skill",
              "Right: of verdicts by people that were held out. Of some replies to a prompt, the quality "
              "of any one (G), of that which the overseer holds least flawed (D), of that against which "
              "its critique convinces the judge least (C); the preference model's log-odds, or the share "
              "without a flaw where people judge. D − C: what it knows and does not say.",
              table_all_columns(skill_columns, CAI_COUNT(skill_columns)), skill_rows(&skill, rounds));
    say_gap(&skill, rounds, headline);
    find_methods(&label, rounds);
    table_add(tables, "methods", "Ways to label",
              "The same pairs, whose answers are known, asked in each way; both orders or seatings.",
              table_all_columns(method_columns, CAI_COUNT(method_columns)), method_rows(&label));
    say_debate(&label, headline);
}
