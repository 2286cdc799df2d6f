/* cost_note.c: what a rehearsal's results say of their phases. Not for: what follows from it
 * for the whole job (cost.c). */
#include "stage/cost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cost_seen *seen_of(struct cost_probe *p, const char *stage, const char *phase) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->seen[i].stage, stage) == 0 && strcmp(p->seen[i].phase, phase) == 0)
            return &p->seen[i];
    if (p->n == COST_SEEN_MAX)
        return NULL;
    struct cost_seen *s = &p->seen[p->n++];
    *s = (struct cost_seen){0};
    snprintf(s->stage, sizeof s->stage, "%s", stage);
    snprintf(s->phase, sizeof s->phase, "%s", phase);
    return s;
}

static double most(double a, double b) {
    return a > b ? a : b;
}

static void note_held(struct cost_probe *p, struct cost_seen *s, const Cai__V1__Task *task,
                      const Cai__V1__Result *result, double items) {
    const Cai__V1__Held *h = result->held;
    int64_t bytes = (int64_t)result->memory;
    bool after = p->job && task->round > p->job->rounds;
    int64_t *at = after ? &s->memory_after : &s->memory;
    *at = bytes > *at ? bytes : *at;
    if (!h)
        return;
    /* A training run begins with nothing loaded: what is resident then is the program itself. */
    if (task->work_case == CAI__V1__TASK__WORK_TRAIN && h->rest &&
        (p->rest == 0 || (int64_t)h->rest < p->rest))
        p->rest = (int64_t)h->rest;
    s->held = (struct cost_held){most(s->held.items, items),
                                 most(s->held.cache, (double)h->cache),
                                 most(s->held.slots, (double)h->slots),
                                 most(s->held.positions, (double)h->positions),
                                 most(s->held.rows, (double)h->rows),
                                 most(s->held.micro, (double)h->micro),
                                 most(s->held.data, (double)h->data)};
}

static void note_look(const struct cost_probe *p, struct cost_seen *s, uint32_t round) {
    s->looks += s->last != round;
    s->last = round;
    s->drawn = p->drawn;
    s->prompts = p->job ? (double)p->job->evaluate.prompts : 0;
    s->marked = p->job ? (double)p->job->evaluate.marked : 0;
}

static int by_size(const void *x, const void *y) {
    const double *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

/* The first step is often slower: memory is fetched, kernels are chosen. It counts as a step
 * only when there is no other. */
static void note_steps(struct cost_seen *s, const struct cost_steps *steps, double seconds) {
    double apart[COST_STEPS_MAX];
    size_t n = steps->n > 1 ? steps->n - 1 : 0;
    for (size_t i = 0; i < n; i++)
        apart[i] = steps->at[i + 1] - steps->at[i];
    qsort(apart, n, sizeof *apart, by_size);
    double first = steps->n ? steps->at[0] : seconds;
    s->step_s = n ? (n % 2 ? apart[n / 2] : 0.5 * (apart[n / 2 - 1] + apart[n / 2])) : first;
    double last = steps->n ? steps->at[steps->n - 1] : seconds;
    double rest = seconds - (last - first) - s->step_s;
    s->rest_s += rest > 0 ? rest : 0;
}

static void note_training(struct cost_seen *s, const Cai__V1__Task *task,
                          const struct cost_steps *steps, double seconds) {
    s->rows += (double)task->train->dataset->rows;
    s->steps += (double)steps->done;
    note_steps(s, steps, seconds);
}

static void note_generated(struct cost_seen *s, const Cai__V1__Result *result) {
    for (size_t i = 0; i < result->n_generated; i++) {
        const Cai__V1__Generated *g = result->generated[i];
        s->items++;
        s->generated += g->tokens;
        s->read += g->prompt_tokens;
        s->cut += g->finish == CAI__V1__FINISH__FINISH_LENGTH;
    }
}

static void note_items(struct cost_seen *s, const Cai__V1__Result *result) {
    note_generated(s, result);
    s->items += (double)(result->n_scored + result->n_rewarded);
    if (result->n_generated == 0)
        s->read += (double)result->tokens;
}

void cost_note(struct cost_probe *p, const Cai__V1__Task *task, const Cai__V1__Result *result,
               double seconds, const struct cost_steps *steps) {
    struct cost_seen *s = seen_of(p, task->stage, task->phase);
    if (!s)
        return;
    double before = s->items;
    s->tasks++;
    s->seconds += seconds;
    note_look(p, s, task->round);
    if (task->work_case == CAI__V1__TASK__WORK_TRAIN)
        note_training(s, task, steps, seconds);
    else
        note_items(s, result);
    note_held(p, s, task, result, s->items - before);
}

/* Grows with what the stage's tasks have worked on: rows and items of all phases. */
void cost_note_turn(struct cost_probe *p, const char *stage, uint32_t round, double seconds) {
    struct cost_seen *s = seen_of(p, stage, COST_TURNS);
    if (!s)
        return;
    s->tasks++;
    note_look(p, s, round);
    s->rest_s += seconds;
    s->rows = 0;
    for (size_t i = 0; i < p->n; i++)
        if (&p->seen[i] != s && strcmp(p->seen[i].stage, stage) == 0)
            s->rows += p->seen[i].items + p->seen[i].rows;
}

/* What the larger one did not reach, is taken as the smaller saw it. */
static void take_over(struct cost_probe *p, const struct cost_probe *smaller,
                      const struct cost_seen *o) {
    struct cost_seen *s = seen_of(p, o->stage, o->phase);
    if (!s || s->tasks > 0)
        return;
    *s = *o;
    if (strcmp(o->stage, "ppo") == 0 && smaller->job->ppo.rollouts > 0)
        s->step_s *= (double)p->job->ppo.rollouts / (double)smaller->job->ppo.rollouts;
}

/* Whether both sizes differ in nothing but rows: with more rollouts the first step, which is none
 * of the measured ones, is longer too, and what it takes is no row's. */
static bool alike(const struct cost_probe *p, const struct cost_probe *smaller,
                  const struct cost_seen *o) {
    if (strcmp(o->stage, "ppo") == 0)
        return p->job->ppo.rollouts == smaller->job->ppo.rollouts;
    return strcmp(o->phase, "rl") != 0 ||
           p->job->red_team.rl.rollouts == smaller->job->red_team.rl.rollouts;
}

void cost_note_smaller(struct cost_probe *p, const struct cost_probe *smaller) {
    for (size_t i = 0; i < smaller->n; i++) {
        const struct cost_seen *o = &smaller->seen[i];
        if (!p->whole)
            take_over(p, smaller, o);
        bool same = o->rows > 0 && alike(p, smaller, o);
        struct cost_seen *s = same ? seen_of(p, o->stage, o->phase) : NULL;
        if (!s)
            continue;
        s->small_rows = o->rows;
        s->small_rest_s = o->rest_s;
    }
    p->failing = p->failing > 0 ? p->failing : smaller->failing;
    p->sft_rows = p->sft_rows > 0 ? p->sft_rows : smaller->sft_rows;
    p->pairs = p->pairs > 0 ? p->pairs : smaller->pairs;
    p->rest = p->rest > 0 ? p->rest : smaller->rest;
}
