/* curves.c: what a person needs beside the curves of reinforcement learning: units,
 * one sentence each on what it says and when to worry, marks where a guard acts. Not for
 * the figures themselves (report.c), nor for every figure's meaning (`caictl
 * metrics --explain`). */
#include "base/check.h"
#include "job/job.h"
#include "report/tables.h"
#include <math.h>
#include <string.h>

static const struct curve {
    const char *name, *title, *unit, *says;
} curves[] = {
    {"reward", "Reward", "deviations of the score",
     "What is learned for: the preference model's score less the KL penalty. It should rise, then "
     "level off; worry if it rises while the sampled replies read worse."},
    {"kl", "KL from the start", "nats per reply",
     "How far the policy has moved from where it began. Worry if it runs up steeply or nears the "
     "budget: what the preference model says so far away was never checked."},
    {"entropy", "Entropy", "nats per token",
     "How undecided the policy is at each token. A slow fall is learning; near zero it gives "
     "everybody the same reply."},
    {"length", "Length of a reply", "tokens",
     "Worry if it climbs along with the reward (length is being rewarded) or collapses to a few "
     "words."},
    {"reward_by_kl", "Reward against distance", "deviations of the score",
     "What each step away from the start buys. Worry where it bends down: more distance, less "
     "reward."},
    {"explained_variance", "Explained variance of the value model", "share",
     "How much of the coming reward the value model foresees; 1 is all of it. Low at first; worry "
     "if it stays below zero, for then advantages are mostly noise."},
    {"end_rate", "Replies that end by themselves", "share",
     "Worry if it falls: replies then run into the longest that is allowed, and are cut."},
    {"ratio_max", "Largest probability ratio", "new / old",
     "How much one update changed the likeliest changed token. Worry if it leaps above ten: the "
     "learning rate or the epochs are too many."},
    {"clip_fraction", "Clipped", "share of tokens",
     "How often the clip held an update back. Up to a fifth is usual; worry above."},
    {"sampler_gap_max", "Sampler against trainer", "nats, largest of a step",
     "Log-probabilities of the same tokens, when sampled and when trained. Rounding only; worry "
     "above 0.1 (bfloat16: 1), where the two disagree."},
    {"margin", "Margin", "nats",
     "By how much the better reply of a pair is preferred. It should rise and level off."},
    {"accuracy", "Pairs decided as labelled", "share", "It should rise above one half."},
    {"loss", "Loss", "nats", "It should fall and level off; worry if it rises or leaps."},
};

static const struct curve *curve_of(const char *name) {
    for (size_t i = 0; i < CAI_COUNT(curves); i++)
        if (strcmp(curves[i].name, name) == 0)
            return &curves[i];
    return NULL;
}

static json_t *mark(double value, const char *says) {
    return json_pack("[{s:f, s:s}]", "value", value, "says", says);
}

/* Where a guard or a limit of the job acts on the figure; an empty list where none does. */
static json_t *marks_of(const struct job_spec *j, const char *name) {
    const struct job_ppo *p = &j->ppo;
    if (strcmp(name, "kl") == 0 && j->guards.kl_budget > 0)
        return mark(j->guards.kl_budget, "KL budget, where training stops");
    if (strcmp(name, "length") == 0)
        return mark((double)p->rollout.max_tokens, "longest that is allowed");
    if (strcmp(name, "explained_variance") == 0)
        return mark(0, "no better than a constant");
    if (strcmp(name, "ratio_max") == 0)
        return mark(1 + (p->clip_high > 0 ? p->clip_high : p->clip), "clip begins");
    if (strcmp(name, "clip_fraction") == 0)
        return mark(0.2, "too often");
    return json_array();
}

static const json_t *series_of(const json_t *list, const char *name) {
    size_t i;
    json_t *s;
    json_array_foreach(list, i, s) {
        if (strcmp(json_string_value(json_object_get(s, "stage")), "ppo") == 0 &&
            strcmp(json_string_value(json_object_get(s, "name")), name) == 0)
            return s;
    }
    return NULL;
}

/* Reward over √KL, as over-optimisation is drawn (Gao et al. 2023). */
static void add_distance(json_t *list) {
    const json_t *reward = series_of(list, "reward"), *kl = series_of(list, "kl");
    const json_t *y = json_object_get(reward, "points"), *x = json_object_get(kl, "points");
    json_t *points = json_array();
    for (size_t i = 0; i < json_array_size(y) && json_array_size(x) == json_array_size(y); i++) {
        double d = json_number_value(json_array_get(json_array_get(x, i), 1));
        json_array_append_new(points, json_pack("[f, O]", sqrt(fmax(d, 0)),
                                                json_array_get(json_array_get(y, i), 1)));
    }
    if (json_array_size(points) > 1)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:O}", "name", "reward_by_kl",
                                          "title", "reward_by_kl", "stage", "ppo", "x",
                                          "√KL, √nats", "points", points));
    json_decref(points);
}

/* The mean of the first or the last tenth of a curve, at least one point. */
static double mean_of_end(const json_t *points, bool last) {
    size_t n = json_array_size(points), few = n / 10 ? n / 10 : 1;
    double sum = 0;
    for (size_t i = 0; i < few; i++)
        sum += json_number_value(json_array_get(json_array_get(points, last ? n - 1 - i : i), 1));
    return sum / (double)few;
}

static json_t *score_row(const json_t *s, const char *principle) {
    const json_t *points = json_object_get(s, "points");
    double first = mean_of_end(points, false), last = mean_of_end(points, true);
    return json_pack("{s:s, s:f, s:f, s:f}", "principle", principle, "first", first, "last", last,
                     "gain", last - first);
}

void report_scores(const json_t *series, json_t *tables) {
    static const char prefix[] = "score/";
    json_t *rows = json_array(), *s;
    size_t i;
    json_array_foreach(series, i, s) {
        const char *name = json_string_value(json_object_get(s, "name"));
        if (strcmp(json_string_value(json_object_get(s, "stage")), "ppo") == 0 &&
            strncmp(name, prefix, sizeof prefix - 1) == 0)
            json_array_append_new(rows, score_row(s, name + sizeof prefix - 1));
    }
    static const struct column c[] = {{"principle", "Principle", "text"}, {"first", "At first", "number"},
                                      {"last", "At last", "number"}, {"gain", "Gained", "number"}};
    table_add(tables, "scores", "Scores by principle, over reinforcement learning",
              "Deviations of the preference model's score: replies to prompts at which critiques found "
              "the principle broken, first and last tenth of the steps. Worry about one that fell while "
              "the others rose.", table_all_columns(c, CAI_COUNT(c)), rows);
}

void report_curves(const struct job_spec *job, json_t *series) {
    size_t i;
    json_t *s;
    add_distance(series);
    json_array_foreach(series, i, s) {
        const char *name = json_string_value(json_object_get(s, "name"));
        const struct curve *c = curve_of(name);
        if (!c || strcmp(json_string_value(json_object_get(s, "stage")), "ppo") != 0)
            continue;
        json_t *more = json_pack("{s:s, s:s, s:s, s:i, s:o}", "title", c->title, "unit", c->unit,
                                 "says", c->says, "place", (int)(c - curves) + 1, "marks",
                                 marks_of(job, name));
        CAI_CHECK(more);
        json_object_update(s, more);
        json_decref(more);
    }
}
