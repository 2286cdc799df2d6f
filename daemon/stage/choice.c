/* choice.c: one comparison by the overseer, asked and read. */
#include "stage/label.h"

#include "stage/debate.h"
#include "stage/draw.h"
#include <math.h>

static const double SHRUG = 0.1; /* an answer within 0.5 ± this is none */

static double first_shown(const Cai__V1__Scored *s) {
    return 1 / (1 + exp(s->logprobs[1] - s->logprobs[0]));
}

static double mass(const Cai__V1__Scored *s) {
    return fmin(1, exp(s->logprobs[0]) + exp(s->logprobs[1]));
}

void choice_weigh(struct choice *io) {
    double ab = io->p_ab - 0.5, ba = io->p_ba - 0.5;
    io->decided = fmax(fabs(ab), fabs(ba)) >= SHRUG;
    io->flipped = io->decided && ab * ba > 0;
}

double label_entropy(double p) {
    return p <= 0 || p >= 1 ? 0 : -(p * log2(p) + (1 - p) * log2(1 - p));
}

struct choice choice_read(const Cai__V1__Scored *ab, const Cai__V1__Scored *ba) {
    if (ab->too_long || (ba && ba->too_long))
        return (struct choice){.p = 0.5, .lost = true};
    struct choice o = {.p_ab = first_shown(ab), .mass_ab = mass(ab)};
    if (!ba) {
        o.p = o.p_ab;
        o.p_ba = 1 - o.p_ab;
        o.mass_ba = o.mass_ab;
        choice_weigh(&o);
        return o;
    }
    o.p_ba = first_shown(ba);
    o.mass_ba = mass(ba);
    o.p = 0.5 * (o.p_ab + (1 - o.p_ba));
    choice_weigh(&o);
    return o;
}

int choice_ask(struct builder *b, const struct stage_context *c, const struct principle *p,
               const struct turn *turns, size_t n, const char *reply_a, const char *reply_b,
               uint64_t item, uint32_t pair, bool swap) {
    if (debate_builds(b))
        return debate_ask(b, c, p, turns, n, reply_a, reply_b, item, pair, swap);
    bool reasons = b->task.work_case == CAI__V1__TASK__WORK_GENERATE;
    for (uint32_t order = 0; order < (swap ? 2u : 1u); order++) {
        struct rendering r;
        (reasons ? render_reasoned_choice : render_choice)(
            c->constitution, p, turns, n, order ? reply_b : reply_a, order ? reply_a : reply_b, &r);
        int rc = (reasons ? build_generate_rendered : build_score_rendered)(
            b, item, 2 * pair + order, &r);
        rendering_free(&r);
        CAI_TRY(rc);
    }
    return 0;
}

void choice_count(struct choice_figures *f, const struct choice *o, bool swap) {
    if (o->lost) {
        f->lost++;
        return;
    }
    f->n++;
    f->decided += o->decided;
    f->flipped += swap && o->flipped;
    f->mass += 0.5 * (o->mass_ab + o->mass_ba);
    f->bias += swap ? fabs(o->p_ab + o->p_ba - 1) : 0;
}

double choice_mass(const struct choice_figures *f) { return f->n ? f->mass / (double)f->n : 0; }
double choice_flipped(const struct choice_figures *f) {
    return f->decided ? (double)f->flipped / (double)f->decided : 0;
}

uint32_t label_principles(const struct stage_context *c, size_t want) {
    size_t usable = 0;
    for (size_t i = 0; i < c->constitution->n_principles; i++)
        usable += draw_usable(&c->constitution->principles[i], DRAW_CHOICE);
    return (uint32_t)(want < usable ? want : usable);
}
