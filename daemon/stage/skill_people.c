/* skill_people.c: what readers decided about a round's critiques and rewrites, as things that people
 * verified. A critique that readers let stand is right and of use; one that they rejected is not. A
 * rewrite that they took is the better reply; their own in its place where they wrote one.
 *
 * Reads examples of the stage review_texts, kind "decision" (text: a reader's own rewrite or "",
 * {"verdict": 1 … 7, below 4 = the rewrite is worse, "rejected": [step, …]}), by (round, item); and of
 * the stage review, kind "judged" (review.h): critiques of replies that readers compared. Not for:
 * what fine-tuning makes of them. */
#include "stage/data.h"
#include "stage/skill.h"
#include <string.h>

enum { STEPS_MAX = 64 };

struct round_texts {
    struct examples replies, critiques, revisions;
};

static int load_round(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                      struct round_texts *ret) {
    CAI_TRY(examples_load(c, round, "revise", "reply", a, &ret->replies));
    CAI_TRY(examples_load(c, round, "revise", "critique", a, &ret->critiques));
    return examples_load(c, round, "revise", "revision", a, &ret->revisions);
}

/* The text that a step's critique is about; NULL when there is none. */
static const char *before(const struct round_texts *t, uint64_t item, uint32_t step) {
    for (uint32_t k = step; k-- > 1;) {
        const struct store_example *r = examples_find(&t->revisions, item, k);
        if (r)
            return r->text;
    }
    const struct store_example *reply = examples_find(&t->replies, item, 0);
    return reply ? reply->text : NULL;
}

/* The step whose revision was the last to change something; 0 when none did. */
static uint32_t last_change(const struct round_texts *t, uint64_t item) {
    uint32_t last = 0;
    for (uint32_t k = 1; k < STEPS_MAX; k++) {
        const struct store_example *r = examples_find(&t->revisions, item, k);
        if (r && !example_flag(r, "unchanged"))
            last = k;
    }
    return last;
}

static bool is_rejected(const struct store_example *decision, uint32_t step) {
    json_auto_t *o = json_loads(decision->detail, 0, NULL);
    json_t *x;
    size_t i;
    bool found = false;
    json_array_foreach(json_object_get(o, "rejected"), i, x)
        found = found || json_integer_value(x) == step;
    return found;
}

/* One step's critique in the light of the decision. */
static int read_step(const struct stage_context *c, const struct round_texts *t,
                     const struct store_example *decision, uint32_t step, struct cai_arena *a,
                     struct verified *ret, bool *ret_known) {
    CAI_AUTO(dialog) struct dialog d = {0};
    const struct store_example *e = examples_find(&t->critiques, decision->item, step);
    const char *reply = e ? before(t, e->item, step) : NULL;
    const struct principle *p = e ? constitution_find(c->constitution, e->principle) : NULL;
    *ret_known = reply && p && p->critique && p->revision;
    if (!*ret_known)
        return 0;
    bool rejected = is_rejected(decision, step), none = example_flag(e, "no_flaw");
    *ret = (struct verified){.item = e->item, .principle = *p, .critique = e->text,
                             .helpful = !rejected, .flaw = rejected ? -1 : !none};
    const struct store_example *better = examples_find(&t->revisions, e->item, step);
    bool taken = example_number(decision, "verdict", 4) >= 4 || *decision->text;
    if (!rejected && !none && taken && better && !example_flag(better, "unchanged"))
        ret->refinement = *decision->text && step == last_change(t, e->item) ? decision->text
                                                                            : better->text;
    CAI_TRY(data_dialog(c, e->item, a, &d));
    ret->turns = cai_arena_array(a, d.n + 1, sizeof *ret->turns);
    memcpy(ret->turns, d.turns, d.n * sizeof *ret->turns);
    ret->turns[d.n] = (struct turn){"assistant", reply};
    ret->n = d.n + 1;
    return 0;
}

static int read_round(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                      int (*f)(void *context, const struct verified *v), void *context) {
    struct examples decisions;
    struct round_texts t;
    CAI_TRY(examples_load(c, round, "review_texts", "decision", a, &decisions));
    if (decisions.n == 0)
        return 0;
    CAI_TRY(load_round(c, round, a, &t));
    for (size_t i = 0; i < decisions.n; i++)
        for (uint32_t step = 1; step < STEPS_MAX; step++) {
            struct verified v;
            bool known;
            CAI_TRY(read_step(c, &t, &decisions.at[i], step, a, &v, &known));
            if (known)
                CAI_TRY(f(context, &v));
        }
    return 0;
}

/* A critique of a compared reply: that it was written says that it found a flaw. */
static int read_judged(const struct stage_context *c, const struct store_example *e,
                       struct cai_arena *a, struct verified *ret, bool *ret_known) {
    CAI_AUTO(dialog) struct dialog d = {0};
    const struct principle *p = constitution_find(c->constitution, e->principle);
    json_auto_t *o = json_loads(e->detail, 0, NULL);
    const char *reply = json_string_value(json_object_get(o, "reply"));
    *ret_known = reply && p && p->critique && p->revision;
    if (!*ret_known)
        return 0;
    bool helpful = example_flag(e, "helpful");
    *ret = (struct verified){.item = e->item, .principle = *p, .critique = e->text,
                             .helpful = helpful, .flaw = helpful ? 1 : -1};
    CAI_TRY(data_dialog(c, e->item, a, &d));
    ret->turns = cai_arena_array(a, d.n + 1, sizeof *ret->turns);
    memcpy(ret->turns, d.turns, d.n * sizeof *ret->turns);
    ret->turns[d.n] = (struct turn){"assistant", cai_arena_strdup(a, reply)};
    ret->n = d.n + 1;
    return 0;
}

static int read_compared(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                         int (*f)(void *context, const struct verified *v), void *context) {
    struct examples judged;
    CAI_TRY(examples_load(c, round, "review", "judged", a, &judged));
    for (size_t i = 0; i < judged.n; i++) {
        struct verified v;
        bool known;
        CAI_TRY(read_judged(c, &judged.at[i], a, &v, &known));
        if (known)
            CAI_TRY(f(context, &v));
    }
    return 0;
}

int skill_reviewed(const struct stage_context *c, struct cai_arena *a,
                   int (*f)(void *context, const struct verified *v), void *context) {
    for (uint32_t r = 1; r <= c->round; r++) {
        CAI_TRY(read_round(c, r, a, f, context));
        CAI_TRY(read_compared(c, r, a, f, context));
    }
    return 0;
}
