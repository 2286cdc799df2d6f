/* cost_look.c: the stages that look at what was done, and learn nothing: evaluate with its guards,
 * audit; and the classifier that grades for them. Numbers of items as in these stages' files. */
#include "stage/cost_build.h"

#include <math.h>
#include <string.h>

void cost_add_classifier(struct build *b, const char *stage) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = cost_find(b, stage, "classifier");
    double rows = b->data->classifier * (1 - j->prefer.held_out);
    double batch = (double)j->prefer.optimizer.batch;
    double tried = s ? s->rows * (1 - p->prefer.held_out) : batch;
    if (b->data->classifier > 0)
        cost_add_training(b, (struct trained){stage, "classifier", b->data->classifier,
                                              (double)j->prefer.epochs * cost_ceil(rows, batch),
                                              cost_least(rows, batch), cost_least(tried, batch),
                                              NULL, NULL});
}

struct cost_data cost_data_drawn(const struct cost_data *d, double rows) {
    struct cost_data o = *d;
    double all = d->evaluate[0] + d->evaluate[1] + d->evaluate[2];
    double *const counts[] = {&o.harmful,   &o.helpful, &o.human, &o.classifier,
                              &o.questions, &o.probes,  &o.graded};
    for (size_t i = 0; i < sizeof counts / sizeof *counts && rows > 0; i++)
        *counts[i] = cost_least(*counts[i], rows);
    for (size_t i = 0; i < 3 && rows > 0 && all > rows; i++)
        o.evaluate[i] = d->evaluate[i] * rows / all;
    return o;
}

/* Held-out prompts, of files so large. */
static double held_out(const struct build *b, const struct cost_data *d, double prompts) {
    double n = 0;
    if (!b->job->data.evaluate)
        return cost_least(prompts, d->harmful * COST_HELD_OUT) +
               cost_least(prompts, d->helpful * COST_HELD_OUT);
    for (size_t i = 0; i < 3; i++)
        n += cost_least(prompts, d->evaluate[i]);
    return n;
}

/* How often the job has what the rehearsal had once. */
static double times(double full, double seen) { return seen > 0 ? full / seen : 1; }

/* What a guard asks in each round is a function of the data files and of two settings: as many as
 * the rehearsal was asked, so often as there is more of what they are drawn from. */
static double guard_times(const struct build *b, const struct cost_seen *s) {
    enum { ENTROPY = 100, PEOPLE = 200 }; /* guard_style.c, guard_proxy.c */
    const struct job_spec *j = b->job;
    struct cost_data drawn = cost_data_drawn(b->data, s->drawn);
    double full = held_out(b, b->data, (double)j->evaluate.prompts);
    double seen = held_out(b, &drawn, s->prompts);
    if (strncmp(s->phase, "skill/", 6) == 0)
        return times(b->data->probes, drawn.probes);
    if (strncmp(s->phase, "watched/", 8) == 0)
        return times(b->data->probes, drawn.probes) *
               times(cost_least((double)j->evaluate.marked, (double)j->evaluate.prompts),
                     cost_least(s->marked, s->prompts));
    if (strncmp(s->phase, "entropy/", 8) == 0)
        return times(cost_least(full, ENTROPY), cost_least(seen, ENTROPY));
    if (strcmp(s->phase, "people/score") == 0)
        return times(cost_least(full, PEOPLE), cost_least(seen, PEOPLE));
    return strcmp(s->phase, "verdicts") == 0 ? times(b->data->graded, drawn.graded) : 0;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The start is asked but once. */
static void add_guards(struct build *b, bool first) {
    const struct cost_probe *p = b->probe;
    const struct job_sampling *full = &b->job->evaluate.reply, *tried = &p->job->evaluate.reply;
    for (size_t i = 0; i < p->n; i++) {
        const struct cost_seen *s = &p->seen[i];
        if (strcmp(s->stage, "evaluate") != 0 || s->looks <= 0 || s->generated + s->read <= 0 ||
            (!first && ends_with(s->phase, "-base")))
            continue;
        bool writes = s->generated > 0;
        cost_add_items(b, (struct asked){"evaluate", s->phase,
                                              guard_times(b, s) * s->items / s->looks, NULL, NULL,
                                              writes ? full : NULL, writes ? tried : NULL});
    }
}

static void add_wins(struct build *b, double n) {
    const struct job_spec *j = b->job;
    const struct cost_seen *w = cost_find(b, "evaluate", "win");
    double wins = 2;
    if (w && w->looks > 0) {
        struct cost_data drawn = cost_data_drawn(b->data, w->drawn);
        double tried = cost_least((double)b->probe->job->evaluate.win_pairs,
                                  held_out(b, &drawn, w->prompts));
        wins = tried > 0 ? cost_least(2, w->items / w->looks / tried) : 2;
    }
    cost_add_items(b, (struct asked){"evaluate", "win",
                                          wins * cost_least((double)j->evaluate.win_pairs, n),
                                          "label", "score", NULL, NULL});
}

void cost_evaluate_row(struct build *b, uint32_t round, bool first) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    double n = held_out(b, b->data, (double)j->evaluate.prompts);
    double scores = cost_ratio(b, "evaluate", "score", "reply", j->data.classifier ? 1 : 2);
    const struct job_sampling *full = &j->evaluate.reply, *tried = &p->evaluate.reply;
    if (first && !(j->red_team.enabled && j->rounds > 0))
        cost_add_classifier(b, "evaluate");
    for (int base = first ? 0 : 1; base < 2; base++) {
        cost_add_items(b, (struct asked){"evaluate", base ? "reply" : "base", n, "revise",
                                              "reply", full, tried});
        cost_add_items(b, (struct asked){"evaluate", base ? "score" : "score-base",
                                              n * scores, "evaluate", "reply", NULL, NULL});
    }
    double taken = j->sft.enabled && round <= j->rounds
                       ? cost_least(b->sft_rows * (1 + j->sft.helpful), (double)j->evaluate.prompts)
                       : 0;
    cost_add_items(b, (struct asked){"evaluate", "score-taken", taken * scores, "evaluate",
                                          "score", NULL, NULL});
    add_wins(b, n);
    add_guards(b, first);
}

/* So many canaries of each class as in the rehearsal, or as many more as the job asks. */
void cost_audit_row(struct build *b) {
    static const char *const phases[] = {"critique", "revision", "choice", "choice-reason", "ask",
                                         "critique-second", "choice-second", "choice-second-reason",
                                         "passed-second", "word", "word-again"};
    const struct job_audit *full = &b->job->audit, *rehearsed = &b->probe->job->audit;
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        const struct cost_seen *s = cost_find(b, "audit", phases[i]);
        bool word = strncmp(phases[i], "word", 4) == 0,
             passed = strncmp(phases[i], "passed", 6) == 0;
        double more =
            word     ? (double)full->words / (double)(rehearsed->words ? rehearsed->words : 1)
            : passed ? (double)full->passed / (double)(rehearsed->passed ? rehearsed->passed : 1)
                     : (double)full->pairs / (double)rehearsed->pairs;
        if (s && s->looks > 0)
            cost_add_items(b, (struct asked){"audit", phases[i], s->items / s->looks * more, NULL,
                                                  NULL, NULL, NULL});
    }
}

