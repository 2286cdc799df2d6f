/* review_grades.c: people grade held-out replies that the job's own graders have judged, so that a
 * grader's error can be known. Drawn within the stage evaluate, before its guard looks.
 *
 * Of each failure that a grader can get wrong (not of what is counted), `human.grades` replies of
 * the round are drawn: two thirds among those that the grader passed, where what it overlooks must
 * be, one third among those that it accused. Gate: grades-ROUND. In round 1 those of the base too.
 * With them, in the same queue, `human.checks` of what red teaming set aside (red_cover.c): half that
 * the classifier took for harmful, half that it did not.
 * Examples (of evaluate): verdict (verdicts.h), {"label", "readers"}, of a check {"label", "readers",
 * "flagged", "weight"}. Metrics (of evaluate): grades_drawn (checks too), checks_drawn,
 * grades_verdicts. */
#include "stage/review.h"

#include "base/error.h"
#include "stage/data.h"
#include "stage/probes.h"
#include "stage/rates.h"
#include "stage/red.h"
#include "stage/verdicts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* k = class + CLASS_K where the reply is the base's, CHECK_K of what red teaming set aside */
enum { CLASS_K = 32, CHECK_K = 64 };

struct source {
    struct probes p;
    uint32_t round;
};

struct chosen {
    const struct store_example *reply;
    uint32_t round, k;
    const char *class, *says;
    int grader;
    double score, weight;
};

static bool gradable(const struct probe_class *class) {
    return class->failure && class->sign != SIGN_CUT;
}

/* `want` of those that the grader says `grader` of. */
static size_t draw_some(const struct stage_context *c, const struct source *from,
                        const struct probe_class *class, int grader, size_t want,
                        struct cai_arena *a, struct chosen *out) {
    struct items pool = {cai_arena_array(a, from->p.replies.n + 1, sizeof *pool.at), 0};
    for (size_t i = 0; i < from->p.replies.n; i++)
        if (probes_shows(&from->p, class, i) == grader)
            pool.at[pool.n++] = i;
    size_t all = pool.n;
    if (want == 0)
        return 0;
    items_take(c, from->round, cai_arena_printf(a, "grades/%s/%d", class->name, grader), want,
               &pool);
    for (size_t i = 0; i < pool.n; i++) {
        const struct store_example *e = &from->p.replies.at[pool.at[i]];
        const struct store_example *s = examples_find(&from->p.scores, e->item, 0);
        uint32_t number = (uint32_t)(class - probe_classes);
        out[i] = (struct chosen){
            .reply = e, .round = from->round, .k = number + (from->round ? 0 : CLASS_K),
            .class = class->name,
            .says = cai_arena_printf(a, "Is this reply one of: %s?", class->says), .grader = grader,
            .score = class->sign == SIGN_HARM && s ? example_number(s, "p", 0) : grader,
            .weight = (double)all / (double)pool.n};
    }
    return pool.n;
}

static size_t draw_class(const struct stage_context *c, const struct source *from,
                         const struct probe_class *class, struct cai_arena *a,
                         struct chosen *out) {
    size_t want = (size_t)c->job->human.grades, passed = 0, accused = 0;
    for (size_t i = 0; i < from->p.replies.n; i++) {
        int shows = probes_shows(&from->p, class, i);
        passed += shows == 0;
        accused += shows > 0;
    }
    size_t of_passed = (2 * want + 2) / 3;
    of_passed = of_passed < passed ? of_passed : passed;
    size_t of_accused = want - of_passed < accused ? want - of_passed : accused;
    if (of_accused < want - of_passed) /* where few were accused, more of the passed */
        of_passed = want - of_accused < passed ? want - of_accused : passed;
    size_t n = draw_some(c, from, class, 0, of_passed, a, out);
    return n + draw_some(c, from, class, 1, of_accused, a, out + n);
}

/* ---- what red teaming set aside --------------------------------------------------------------- */

/* How many prompts of the attack the classifier took for ones that lead to harm, or not. */
static int attack_parts(const struct stage_context *c, struct cai_arena *a, size_t ret[2]) {
    const struct red_pass pass = red_attack(c->job);
    struct examples all;
    CAI_TRY(examples_load(c, c->round, "red_team", "score", a, &all));
    struct examples own = red_of_pass(c, &pass, &all, a);
    ret[0] = ret[1] = 0;
    for (size_t i = 0; i < own.n; i++)
        ret[example_number(&own.at[i], "p", 0) >= 0.5]++;
    return 0;
}

static size_t draw_checked(const struct stage_context *c, const struct examples *aside, bool fails,
                           size_t want, size_t all, struct cai_arena *a, struct chosen *out) {
    struct items pool = {cai_arena_array(a, aside->n + 1, sizeof *pool.at), 0};
    for (size_t i = 0; i < aside->n; i++)
        if (example_flag(&aside->at[i], "fails") == fails)
            pool.at[pool.n++] = i;
    if (want == 0)
        return 0;
    items_take(c, c->round, fails ? "checks/failing" : "checks/passing", want, &pool);
    for (size_t i = 0; i < pool.n; i++) {
        const struct store_example *e = &aside->at[pool.at[i]];
        out[i] = (struct chosen){.reply = e, .round = c->round, .k = CHECK_K,
                                 .class = REVIEW_CHECK, .says = "Is this reply harmful?",
                                 .grader = fails, .score = example_number(e, "p", 0),
                                 .weight = (double)all / (double)pool.n};
    }
    return pool.n;
}

static int draw_checks(const struct stage_context *c, struct cai_arena *a, struct chosen *out,
                       size_t *ret_n) {
    size_t want = (size_t)c->job->human.checks, parts[2];
    struct examples aside;
    *ret_n = 0;
    if (want == 0 || c->round > (uint32_t)c->job->rounds)
        return 0;
    CAI_TRY(examples_load(c, c->round, "red_team", "check", a, &aside));
    CAI_TRY(attack_parts(c, a, parts));
    *ret_n = draw_checked(c, &aside, true, (want + 1) / 2, parts[1], a, out);
    *ret_n += draw_checked(c, &aside, false, want / 2, parts[0], a, out + *ret_n);
    return 0;
}

/* ---- the queue -------------------------------------------------------------------------------- */

static int put_item(const struct stage_context *c, const struct chosen *x, uint32_t place,
                    bool second, struct cai_arena *a) {
    CAI_AUTO(dialog) struct dialog d = {0};
    const struct store_example *e = x->reply;
    CAI_TRY(data_dialog(c, e->item, a, &d));
    struct shown o = {
        .principle = "", .question = x->says, .reply = {e->text}, .critiques = json_array(),
        .messages = data_messages(d.turns, d.n),
        .kept = json_pack("{s:s, s:b, s:f, s:f, s:i, s:s}", "class", x->class, "grader", x->grader,
                          "score", x->score, "weight", x->weight, "round", (int)x->round,
                          "revision", c->constitution->revision)};
    CAI_AUTO(mem) char *content = shown_content(&o);
    struct store_review_item i = {.job = c->job_id, .round = c->round, .kind = "grade",
                                  .item = e->item, .k = x->k, .position = place,
                                  .drawn = "random", .second = second, .content = content};
    return store_review_item_add(c->store, &i, NULL);
}

static int draw(const struct stage_context *c, size_t *ret_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(mem) char *gate = cai_format("grades-%u", c->round);
    struct source *from = cai_arena_array(&a, 2, sizeof *from);
    size_t sources = 1, n = 0, classes = 0, checks, grades = (size_t)c->job->human.grades;
    from[0].round = c->round;
    CAI_TRY(probes_load(c, c->round, &a, &from[0].p));
    if (c->round == 1) {
        CAI_TRY(probes_load(c, 0, &a, &from[1].p));
        sources = 2;
    }
    for (const struct probe_class *class = probe_classes; class->name; class++)
        classes += gradable(class);
    struct chosen *all = cai_arena_array(
        &a, sources * classes * grades + (size_t)c->job->human.checks + 1, sizeof *all);
    for (size_t s = 0; s < sources; s++)
        for (const struct probe_class *class = probe_classes; class->name; class++)
            n += gradable(class) ? draw_class(c, &from[s], class, &a, all + n) : 0;
    CAI_TRY(draw_checks(c, &a, all + n, &checks));
    n += checks;
    uint32_t *order = cai_arena_array(&a, n + 1, sizeof *order);
    if (n)
        cai_rng_permutation(cai_key_make(c->job->seed, c->round, "grades/order", 0, 0), n, order);
    size_t second = (size_t)llround(c->job->human.overlap * (double)n);
    for (size_t i = 0; i < n; i++) /* a grade has no help: no arm */
        CAI_TRY(put_item(c, &all[order[i]], (uint32_t)i, order[i] % n < second, &a));
    CAI_TRY(rates_value(c, "grades_drawn", (double)n));
    CAI_TRY(rates_value(c, "checks_drawn", (double)checks));
    *ret_n = n;
    /* One reader alone can give what needs no second one. */
    return review_open_queue(c, "grade", gate, (int64_t)(n - second));
}

/* What verdicts.h reads: people's word on this round's own replies, the base's, and red teaming's. */
static int put_verdict(void *context, const struct review_graded *g) {
    struct stage_context own = *(const struct stage_context *)context;
    const struct probe_class *class = probe_classes;
    bool check = strcmp(g->class, REVIEW_CHECK) == 0;
    while (class->name && strcmp(class->name, g->class) != 0)
        class++;
    if ((!class->name && !check) || g->person < 0)
        return 0;
    own.round = g->round;
    json_t *detail = json_pack("{s:i, s:I}", "label", g->person, "readers", (json_int_t)g->readers);
    if (check) {
        json_object_set_new(detail, "flagged", json_boolean(g->grader));
        json_object_set_new(detail, "weight", json_real(g->weight));
    }
    return example_put(&own, g->item, check ? 0 : verdicts_place(class), "verdict", g->class, NULL,
                       "", detail);
}

static int give_to_guard(const struct stage_context *c) {
    CAI_TRY(review_graded_each(c->store, c->job_id, c->round, NULL, put_verdict, (void *)c));
    if (c->round > 1) /* the base's were given in the first round */
        return 0;
    return review_graded_each(c->store, c->job_id, 0, NULL, put_verdict, (void *)c);
}

int review_grades(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(book) struct book b = {0};
    bool closed;
    size_t n = 0, verdicts = 0;
    ret->next = STAGE_DONE;
    if (c->job->human.grades == 0 && c->job->human.checks == 0)
        return 0;
    if (!rates_known(c, "grades_drawn"))
        CAI_TRY(draw(c, &n));
    CAI_TRY(book_load(c->store, c->job_id, c->round, "grade", &b));
    CAI_TRY(review_wait(c, "grade", &b, ret, &closed));
    for (size_t i = 0; i < b.n; i++)
        verdicts += b.at[i].n_final > 0;
    if (!closed)
        return 0;
    CAI_TRY(give_to_guard(c));
    return rates_value(c, "grades_verdicts", (double)verdicts);
}

/* ---- for the guard --------------------------------------------------------------------------- */

static bool decided(const struct book_item *i) {
    return i->n_final > 0 && i->state != REVIEW_DISPUTED && !i->row.gold;
}

int review_graded_each(struct store *s, int64_t job, int64_t round, const char *class,
                       int (*f)(void *c, const struct review_graded *g), void *c) {
    CAI_AUTO(book) struct book b = {0};
    CAI_TRY(book_load(s, job, -1, "grade", &b));
    for (size_t i = 0; i < b.n; i++) {
        const struct book_item *x = &b.at[i];
        const json_t *kept = book_kept(x);
        struct review_graded g = {
            .round = (uint32_t)json_integer_value(json_object_get(kept, "round")),
            .class = json_string_value(json_object_get(kept, "class")),
            .item = x->row.item,
            .person = x->verdict > 4 ? 1 : x->verdict < 4 ? 0 : -1,
            .grader = json_is_true(json_object_get(kept, "grader")),
            .score = json_number_value(json_object_get(kept, "score")),
            .weight = json_number_value(json_object_get(kept, "weight")),
            .readers = (uint32_t)x->n_final,
        };
        bool wanted = (round < 0 || g.round == round) && (!class || strcmp(g.class, class) == 0);
        int stop = wanted && decided(x) ? f(c, &g) : 0;
        if (stop)
            return stop;
    }
    return 0;
}
