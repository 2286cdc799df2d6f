/* cost_part.c: time, tokens and memory of one phase: what the rehearsal saw, multiplied out. Not
 * for: how much work a phase has (cost.c, cost_look.c), what fills the memory (cost_held.c). */
#include "stage/cost_build.h"

#include "stage/build.h"
#include <math.h>
#include <string.h>

/* Relative errors, ours: of a clock on a machine that does other things too; of phases measured on
 * less than a full chunk; of replies cut short in the rehearsal; of sums over ranks; of work that
 * was not measured at all (a factor of three). */
static const double clock_error = 0.2, few_error = 0.25, cut_error = 0.4, ranks_error = 0.2,
                    guess_error = 2.0;
static const double rank_overhead = 1.1; /* of a step shared by several */

const struct cost_seen *cost_find(const struct build *b, const char *stage,
                                  const char *phase) {
    const struct cost_probe *p = b->probe;
    for (size_t i = 0; i < p->n; i++)
        if (p->seen[i].tasks > 0 && strcmp(p->seen[i].stage, stage) == 0 &&
            strcmp(p->seen[i].phase, phase) == 0)
            return &p->seen[i];
    return NULL;
}

double cost_ratio(const struct build *b, const char *stage, const char *phase, const char *to,
                  double otherwise) {
    const struct cost_seen *x = cost_find(b, stage, phase), *y = cost_find(b, stage, to);
    if (!y || y->items <= 0)
        return otherwise;
    return x ? x->items / y->items : b->probe->whole ? 0 : otherwise;
}

double cost_ceil(double a, double b) { return ceil(a / (b > 0 ? b : 1)); }
double cost_least(double a, double b) { return a < b ? a : b; }

/* ---- one phase ------------------------------------------------------------------------------ */
static void add_seconds(struct build *b, double seconds, double error) {
    double e = error + b->error;
    b->row->seconds += seconds;
    b->row->low += seconds / (1 + e);
    b->row->high += seconds * (1 + e);
}

static void hold(struct build *b, int64_t bytes) {
    b->row->memory = bytes > b->row->memory ? bytes : b->row->memory;
}

/* Those that were cut end, on average, half way to the job's own limit. */
double cost_longer(const struct cost_seen *s, double limit, double full) {
    if (s->cut <= 0 || s->generated <= 0 || full <= limit)
        return 1;
    return 1 + s->cut * 0.5 * (full - limit) / s->generated;
}

void cost_add_items(struct build *b, struct asked q) {
    const struct cost_seen *s = cost_find(b, q.stage, q.phase);
    double error = clock_error, more = 1;
    if (q.items <= 0)
        return;
    b->worked += q.items;
    if (!s && q.like_stage) {
        s = cost_find(b, q.like_stage, q.like_phase);
        error = guess_error;
        b->row->guessed = true;
    }
    if (!s || s->items <= 0) {
        b->row->guessed = true;
        return;
    }
    if (q.full)
        more = cost_longer(s, (double)q.rehearsed->max_tokens, (double)q.full->max_tokens);
    if (more > 1)
        error += cut_error;
    if (s->items < STAGE_CHUNK && q.items > s->items)
        error += few_error;
    double side = cost_least(b->workers, cost_ceil(q.items, STAGE_CHUNK));
    add_seconds(b, q.items * s->seconds / s->items * more / side, error);
    b->row->generated += q.items * s->generated / s->items * more;
    b->row->read += q.items * s->read / s->items;
    hold(b, cost_held_items(b, s, &q));
}

/* What is no step: a part that grows with the rows, and one that does not, if two sizes were
 * measured; else none of it is taken to grow. */
static double rest_of(const struct cost_seen *s, double rows) {
    double more = s->rows - s->small_rows;
    if (s->small_rows <= 0 || more <= 0)
        return s->rest_s;
    double slope = (s->rest_s - s->small_rest_s) / more;
    slope = slope > 0 ? slope : 0;
    return s->rest_s + slope * (rows > s->rows ? rows - s->rows : 0);
}

void cost_add_training(struct build *b, struct trained q) {
    const struct cost_seen *s = cost_find(b, q.stage, q.phase);
    if (q.steps <= 0)
        return;
    b->worked += q.rows;
    if (!s || s->steps <= 0) {
        /* A token learned from is read once and computed thrice; the replies are the nearest. */
        const struct cost_seen *like = cost_find(b, "revise", "reply");
        like = like ? like : cost_find(b, "label", "reply");
        b->row->guessed = true;
        if (like && like->items > 0)
            add_seconds(b, 3 * q.steps * q.per_step * like->seconds / like->items / b->ranks,
                        guess_error);
        return;
    }
    double bigger = q.seen_per_step > 0 ? q.per_step / q.seen_per_step : 1;
    double overhead = b->ranks > 1 ? rank_overhead : 1;
    double error = clock_error + (s->steps < 3 ? few_error : 0) + (b->ranks > 1 ? ranks_error : 0);
    if (q.full && q.full->max_tokens > q.rehearsed->max_tokens) {
        /* The replies of rollouts are not told one by one: those of the labels are like them. */
        const struct cost_seen *like = cost_find(b, "label", "reply");
        like = like ? like : cost_find(b, "revise", "reply");
        bigger *= like ? cost_longer(like, (double)q.rehearsed->max_tokens,
                                     (double)q.full->max_tokens)
                       : 1;
        error += cut_error;
    }
    add_seconds(b, q.steps * s->step_s * bigger * overhead / b->ranks + rest_of(s, q.rows), error);
    hold(b, cost_held_training(b, s, &q));
    b->row->disk += s->disk;
}

/* As of a training run, a part grows with the work and one does not. */
void cost_add_turns(struct build *b) {
    const struct cost_seen *s = cost_find(b, b->row->stage, COST_TURNS);
    if (s && s->looks > 0)
        add_seconds(b, rest_of(s, b->worked * s->looks) / s->looks, clock_error);
}
