/* report_skill.c: the parts of a report on critique as a skill, and on whether debates are worth
 * their price: two tables and two sentences, from the stored figures. */
#include "base/error.h"
#include "run/report.h"
#include <math.h>
#include <string.h>

struct place {
    struct run *r;
    int64_t job;
    uint32_t round;
    const char *stage;
};

static bool get(const struct place *p, const char *name, double *ret) {
    *ret = NAN;
    bool there =
        store_metric_get(p->r->store, p->job, p->round, p->stage, 0, name, ret) == 0;
    if (!there)
        cai_error_clear();
    return there;
}

static double part(const struct place *p, const char *name, const char *end) {
    CAI_AUTO(mem) char *full = cai_format("%s_%s", name, end);
    double v;
    get(p, full, &v);
    return v;
}

/* {"value", "low", "high", "n"}, or null. */
static json_t *interval(const struct place *p, const char *name) {
    double v;
    if (!get(p, name, &v))
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:f}", "value", v, "low", part(p, name, "low"), "high",
                     part(p, name, "high"), "n", part(p, name, "n"));
}

/* In the judge's own units, so no share. */
static json_t *spread(const struct place *p, const char *name) {
    double v;
    if (!get(p, name, &v))
        return json_null();
    CAI_AUTO(mem) char *text =
        cai_format("%.2f (%.2f to %.2f)", v, part(p, name, "low"), part(p, name, "high"));
    return json_string(text);
}

static json_t *number(const struct place *p, const char *name) {
    double v;
    return get(p, name, &v) ? json_real(v) : json_null();
}

struct column {
    const char *key, *title, *kind;
};

static json_t *columns_json(const struct column *c, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "key", c[i].key, "title",
                                              c[i].title, "kind", c[i].kind));
    return list;
}

static void add(json_t *tables, const char *name, const char *title, const char *note,
                const struct column *c, size_t n, json_t *rows) {
    if (json_array_size(rows))
        json_array_append_new(tables, json_pack("{s:s, s:s, s:s, s:o, s:O}", "name", name, "title",
                                                title, "note", note, "columns", columns_json(c, n),
                                                "rows", rows));
    json_decref(rows);
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
                                strcmp(c->kind, "interval") == 0 ? interval(p, c->key)
                                : strcmp(c->kind, "text") == 0   ? spread(p, c->key)
                                                                 : number(p, c->key));
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

static json_t *points(const struct place *p, const char *name) {
    double v;
    if (!get(p, name, &v))
        return json_null();
    CAI_AUTO(mem) char *text = cai_format("%+.1f (%+.1f to %+.1f)", 100 * v,
                                          100 * part(p, name, "low"), 100 * part(p, name, "high"));
    return json_string(text);
}

static json_t *method_rows(struct place *p) {
    static const char *const ways[][2] = {
        {"debate", "debate"}, {"direct", "direct"}, {"cot", "after reasons"}};
    json_t *rows = json_array();
    for (size_t i = 0; i < CAI_COUNT(ways); i++) {
        char name[48];
        double any;
        snprintf(name, sizeof name, "method_%s_accuracy", ways[i][0]);
        json_t *accuracy = interval(p, name);
        if (!get(p, name, &any)) {
            json_decref(accuracy);
            continue;
        }
        json_t *row = json_pack("{s:s, s:o}", "checkpoint", ways[i][1], "accuracy", accuracy);
        snprintf(name, sizeof name, "method_%s_generated", ways[i][0]);
        json_object_set_new(row, "generated", number(p, name));
        snprintf(name, sizeof name, "method_%s_read", ways[i][0]);
        json_object_set_new(row, "read", number(p, name));
        snprintf(name, sizeof name, "gain_%s", ways[i][0]);
        json_object_set_new(row, "gain", points(p, name));
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

void report_skill(struct run *r, int64_t job, uint32_t rounds, json_t *tables, json_t *headline) {
    struct place skill = {r, job, 1, "skill"}, label = {r, job, 1, "label"};
    add(tables, "skill", "Critique as a skill",
        "Right: of verdicts by people that were held out. Of some replies to a prompt, the quality of "
        "any one (G), of that which the overseer holds least flawed (D), of that against which its "
        "critique convinces the judge least (C); the preference model's log-odds, or the share "
        "without a flaw where people judge. D − C: what it knows and does not say.",
        skill_columns, CAI_COUNT(skill_columns), skill_rows(&skill, rounds));
    say_gap(&skill, rounds, headline);
    find_methods(&label, rounds);
    add(tables, "methods", "Ways to label",
        "The same pairs, whose answers are known, asked in each way; both orders or seatings.",
        method_columns, CAI_COUNT(method_columns), method_rows(&label));
    say_debate(&label, headline);
}
