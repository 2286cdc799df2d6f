/* graders.c: which grader gives which rate, by stage and figure. */
#include "stage/graders.h"

#include "base/check.h"
#include "base/error.h"
#include "stage/rates.h"
#include <stdio.h>
#include <string.h>

enum kind { HARM, PHRASES, OVERSEER, PEOPLE, KEY };

static const struct {
    const char *stage, *figure;
    enum kind kind;
} rates[] = {
    {"red_team", "failure_rate", HARM},
    {"label", "gate_accuracy", KEY},
    {"prefer", "pm_accuracy", OVERSEER},
    {"prefer", "pm_human_accuracy", PEOPLE},
    {"evaluate", "harmful_rate", HARM},
    {"evaluate", "harmful_rate_helpful", HARM},
    {"evaluate", "refusal_rate", PHRASES},
    {"evaluate", "refusal_rate_helpful", PHRASES},
    {"evaluate", "refusal_rate_lookalike", PHRASES},
    {"evaluate", "evasion_rate_helpful", PHRASES},
    {"evaluate", "evasion_rate_lookalike", PHRASES},
    {"evaluate", "unanswered_rate", PHRASES},
    {"evaluate", "win_rate", OVERSEER},
};

/* The classifier's own figures, from the stage that trained it. */
struct search {
    uint32_t round;
    char stage[32];
    double accuracy, n;
};

static int find_model(void *context, const struct store_model *m) {
    struct search *s = context;
    if (strcmp(m->kind, "classifier") != 0)
        return 0;
    s->round = m->round;
    snprintf(s->stage, sizeof s->stage, "%s", m->stage);
    return 1;
}

static int find_figures(void *context, const struct store_metric *m) {
    struct search *s = context;
    if (m->round != s->round || strcmp(m->stage, s->stage) != 0)
        return 0;
    if (strcmp(m->name, "accuracy") == 0)
        s->accuracy = m->value;
    if (strcmp(m->name, "held_out") == 0)
        s->n = m->value;
    return 0;
}

/* People's verdicts on what it graded (verdicts.h), at the last evaluation that has them. */
struct people {
    uint32_t round;
    double sees, passes, low; /* low: of Youden's index */
};

static int find_people(void *context, const struct store_metric *m) {
    static const char *const names[] = {"grader_sensitivity", "grader_sensitivity_low",
                                        "grader_specificity", "grader_specificity_low"};
    struct people *p = context;
    bool found[4] = {0};
    if (strcmp(m->stage, "evaluate") != 0)
        return 0;
    for (size_t i = 0; i < CAI_COUNT(names); i++)
        found[i] = strcmp(m->name, names[i]) == 0;
    if (!(found[0] || found[1] || found[2] || found[3]))
        return 0;
    if (m->round != p->round)
        *p = (struct people){.round = m->round, .sees = -1, .passes = -1, .low = -1};
    p->sees = found[0] ? m->value : p->sees;
    p->passes = found[2] ? m->value : p->passes;
    p->low += found[1] || found[3] ? m->value : 0;
    return 0;
}

/* Says so beside what is known already, where people saw failures and others. */
static int add_people(struct store *s, int64_t job, struct graders *io) {
    struct people p = {.sees = -1, .passes = -1};
    size_t n = strlen(io->check);
    int rc = store_metrics_each(s, job, find_people, &p);
    if (rc < 0 || p.sees < 0 || p.passes < 0)
        return rc < 0 ? rc : 0;
    io->better = io->better || p.low > 0;
    snprintf(io->check + n, sizeof io->check - n,
             "%sof what people call harmful it sees %.1f %%, of other replies it passes %.1f %%",
             n ? "; " : "", 100 * p.sees, 100 * p.passes);
    return 0;
}

int graders_load(struct store *s, int64_t job, struct graders *ret) {
    struct search found = {0};
    double low, high;
    int64_t rows;
    *ret = (struct graders){0};
    CAI_TRY(store_examples_count(s, job, 0, "data", "classifier", &rows));
    ret->classifier = rows > 0;
    int rc = store_models_each(s, job, find_model, &found);
    if (rc > 0)
        rc = store_metrics_each(s, job, find_figures, &found);
    if (rc < 0)
        return rc;
    if (found.n <= 0)
        return add_people(s, job, ret);
    rates_wilson((uint64_t)(found.accuracy * found.n + 0.5), (uint64_t)found.n, 0.95, &low, &high);
    ret->better = low > 0.5;
    snprintf(ret->check, sizeof ret->check, "right on %.1f %% of %.0f held-out rows of "
             "data.classifier%s", 100 * found.accuracy, found.n,
             ret->better ? "" : ", which may be chance");
    return add_people(s, job, ret);
}

static struct grader by_kind(const struct graders *g, enum kind kind) {
    switch (kind) {
    case HARM:
        if (g->classifier)
            return (struct grader){"classifier", g->check, g->better};
        return (struct grader){"overseer", g->check, g->better};
    case PHRASES: return (struct grader){"phrases", "", false};
    case OVERSEER: return (struct grader){"overseer", "", false};
    case PEOPLE: return (struct grader){"people", "their own choices", true};
    case KEY: break;
    }
    return (struct grader){"known answers", "pairs whose better reply is known beforehand", true};
}

bool graders_of(const struct graders *g, const char *stage, const char *figure,
                struct grader *ret) {
    if (strcmp(stage, "red_team") == 0 && strncmp(figure, "explore/", 8) == 0)
        figure += 8;
    if (strcmp(stage, "red_team") == 0 && strncmp(figure, "written_", 8) == 0)
        figure += 8;
    for (size_t i = 0; i < CAI_COUNT(rates); i++)
        if (strcmp(rates[i].stage, stage) == 0 && strcmp(rates[i].figure, figure) == 0) {
            *ret = by_kind(g, rates[i].kind);
            return true;
        }
    return false;
}
