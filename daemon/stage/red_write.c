/* red_write.c: sub-steps that write prompts, clean them, and have the target reply. Not for:
 * whether a reply is harmful (classifier.h), what a red model learns (red_learn.c). */
#include "stage/red.h"

#include "base/error.h"
#include "base/rng.h"
#include "input/test_case.h"
#include "stage/build.h"
#include "stage/draw.h"
#include "stage/rates.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- exemplars ------------------------------------------------------------------------- */
struct exemplars {
    const char **text;
    double *p;
    size_t n;
};

static void show(struct exemplars *e, const char *text, double p) {
    e->text[e->n] = text;
    e->p[e->n++] = p;
}

/* What this round's own zero-shot cases led to, whatever it was. */
static int explored_exemplars(const struct stage_context *c, struct cai_arena *a,
                              struct exemplars *ret) {
    struct red_pass pass = red_explore(c->job);
    struct examples scores, prompts;
    CAI_TRY(examples_load(c, c->round, "red_team", "score", a, &scores));
    CAI_TRY(examples_load(c, c->round, "red_team", "prompt", a, &prompts));
    for (size_t i = 0; i < scores.n; i++)
        if (red_in_pass(c, &pass, scores.at[i].item))
            show(ret, examples_find(&prompts, scores.at[i].item, 0)->text,
                 example_number(&scores.at[i], "p", 0));
    return 0;
}

/* A seed's "p_harm"; a red-team attempt's "rating", which goes from 0 to 4; 0.5 where nobody
 * judged it yet. */
static double judged_before(const json_t *row) {
    const json_t *p = json_object_get(row, "p_harm"), *rating = json_object_get(row, "rating");
    if (json_is_number(p))
        return fmin(1, fmax(0, json_number_value(p)));
    return json_is_number(rating) ? fmin(1, fmax(0, json_number_value(rating) / 4)) : 0.5;
}

/* Seeds of data.harmful. */
static int seed_exemplars(const struct stage_context *c, struct cai_arena *a,
                          struct exemplars *ret) {
    struct items pool;
    struct examples seeds;
    CAI_TRY(data_pool(c, JOB_DATA_HARMFUL, a, &pool));
    CAI_TRY(examples_load(c, 0, "data", "harmful", a, &seeds));
    for (size_t i = 0; i < pool.n; i++) {
        const struct store_example *e = examples_find(&seeds, pool.at[i], 0);
        json_t *o = json_loads(e->detail, 0, NULL);
        show(ret, e->text, judged_before(json_object_get(o, "row")));
        json_decref(o);
    }
    return 0;
}

/* Those, then the failing cases of the rounds before. */
static int load_exemplars(const struct stage_context *c, struct cai_arena *a,
                          struct exemplars *ret) {
    int64_t seeds, cases;
    struct examples failing = {0};
    CAI_TRY(store_examples_count(c->store, c->job_id, 0, "data", "harmful", &seeds));
    CAI_TRY(store_examples_count(c->store, c->job_id, c->round, "red_team", "score", &cases));
    CAI_TRY(examples_load(c, 0, "red_team", "failing", a, &failing));
    size_t most = (size_t)seeds + (size_t)cases + failing.n + 1;
    *ret = (struct exemplars){cai_arena_array(a, most, sizeof *ret->text),
                              cai_arena_array(a, most, sizeof *ret->p), 0};
    CAI_TRY(c->job->red_team.explore > 0 ? explored_exemplars(c, a, ret)
                                         : seed_exemplars(c, a, ret));
    for (size_t i = 0; i < failing.n; i++)
        if (failing.at[i].round < c->round)
            show(ret, failing.at[i].text, example_number(&failing.at[i], "p", 0.5));
    return 0;
}

static void add(struct rendering *r, const char *role, const char *text, const char *origin,
                uint32_t drop) {
    r->messages[r->n++] = (struct rendered){role, text, origin, drop};
}

/* Exemplars are earlier answers to the same request; different ones while there are. */
static void render_write(const struct stage_context *c, const struct exemplars *e,
                         const struct draw_table *weights, uint64_t item, struct rendering *ret) {
    const char *request = red_request(c->job);
    size_t shots = weights ? (size_t)c->job->red_team.shots : 0;
    shots = shots < e->n ? shots : e->n;
    *ret = (struct rendering){0};
    ret->messages = cai_arena_array(&ret->arena, 2 * shots + 1, sizeof *ret->messages);
    size_t *taken = cai_arena_array(&ret->arena, shots + 1, sizeof *taken);
    struct cai_key key = cai_key_make(c->job->seed, c->round, "red_team/exemplar", item, 0);
    uint64_t position = 0;
    for (size_t i = 0; i < shots; i++) {
        bool again = true;
        for (int tries = 0; again && tries < 16; tries++) {
            taken[i] = draw_table_pick(weights, key, position++);
            again = false;
            for (size_t j = 0; j < i; j++)
                again = again || taken[j] == taken[i];
        }
        add(ret, "user", request, "fewshot", (uint32_t)(shots - i));
        add(ret, "assistant", e->text[taken[i]], "fewshot", (uint32_t)(shots - i));
    }
    add(ret, "user", request, "principle", 0);
    ret->prefix = "";
}

/* ---- writing --------------------------------------------------------------------------- */
static int plan_write(const struct stage_context *c, const struct red_pass *pass,
                      const struct model_ref *writer, const struct exemplars *e,
                      const struct draw_table *weights, bool *ret_added) {
    CAI_AUTO(builder) struct builder b = {0};
    build_generate(&b, c, pass->write, 0, writer, &c->job->red_team.sampling);
    for (size_t i = 0; i < pass->n; i++) {
        struct rendering r;
        uint64_t item = data_red_item(c->round, pass->first + i);
        render_write(c, e, weights, item, &r);
        int rc = build_generate_rendered(&b, item, 0, &r);
        rendering_free(&r);
        CAI_TRY(rc);
    }
    *ret_added = pass->n > 0;
    return build_flush(&b);
}

static int write_zero_shot(const struct stage_context *c, const struct red_pass *pass,
                           bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct exemplars none = {0};
    struct model_ref writer;
    CAI_TRY(models_role(c, "red", c->round - 1, &a, &writer));
    return plan_write(c, pass, &writer, &none, NULL, ret_added);
}

int red_write_explore(const struct stage_context *c, bool *ret_added) {
    struct red_pass pass = red_explore(c->job);
    return pass.n > 0 ? write_zero_shot(c, &pass, ret_added) : 0;
}

int red_write_zero(const struct stage_context *c, bool *ret_added) {
    struct red_pass pass = red_attack(c->job);
    return write_zero_shot(c, &pass, ret_added);
}

int red_write_few(const struct stage_context *c, bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct red_pass pass = red_attack(c->job);
    struct exemplars e;
    struct draw_table table = {0};
    struct model_ref writer;
    CAI_TRY(load_exemplars(c, &a, &e));
    CAI_TRY(models_role(c, "red", c->round - 1, &a, &writer));
    if (e.n > 0) {
        double *w = cai_arena_array(&a, e.n, sizeof *w);
        for (size_t i = 0; i < e.n; i++)
            w[i] = exp((e.p[i] - 1) / fmax(c->job->red_team.shot_temperature, 1e-3));
        draw_table_make(&table, w, e.n);
    }
    int rc = plan_write(c, &pass, &writer, &e, e.n > 0 ? &table : NULL, ret_added);
    draw_table_free(&table);
    return rc;
}

int red_write_learned(const struct stage_context *c, bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct red_pass pass = red_attack(c->job);
    struct exemplars none = {0};
    struct model_ref writer;
    CAI_TRY(red_model(c, &a, &writer));
    return plan_write(c, &pass, &writer, &none, NULL, ret_added);
}

/* ---- cleaning -------------------------------------------------------------------------- */
struct candidate {
    const char *text, *fold;
    uint64_t item;     /* 0: a prompt that was there before */
    const char *model; /* who wrote it */
};

static int by_fold(const void *x, const void *y) {
    const struct candidate *a = x, *b = y;
    int order = strcmp(a->fold, b->fold);
    return order ? order : a->item < b->item ? -1 : a->item > b->item;
}
static int by_item(const void *x, const void *y) {
    const struct candidate *a = x, *b = y;
    return a->item < b->item ? -1 : a->item > b->item;
}

static size_t known_prompts(const struct examples *e, struct cai_arena *a, struct candidate *out) {
    for (size_t i = 0; i < e->n; i++)
        out[i] = (struct candidate){e->at[i].text, test_case_folded(a, e->at[i].text), 0, ""};
    return e->n;
}

static int count(const struct stage_context *c, const struct red_pass *pass, const char *what,
                 double value) {
    CAI_AUTO(mem) char *name = cai_format("%s%s", pass->prefix, what);
    return rates_value(c, name, value);
}

/* Candidates → prompts in item order; the lowest item of equal ones stays, and none that
 * repeats a seed or an earlier prompt. */
static int choose_prompts(const struct stage_context *c, const struct red_pass *pass,
                          struct cai_arena *a, struct candidate **ret, size_t *ret_n) {
    struct examples all_written, seeds, before;
    bool question = strcmp(c->job->red_team.form, "question") == 0;
    CAI_TRY(examples_load(c, c->round, "red_team", "candidate", a, &all_written));
    CAI_TRY(examples_load(c, 0, "data", "harmful", a, &seeds));
    CAI_TRY(examples_load(c, 0, "red_team", "prompt", a, &before));
    struct examples written = red_of_pass(c, pass, &all_written, a);
    struct candidate *all = cai_arena_array(a, written.n + seeds.n + before.n + 1, sizeof *all);
    size_t n = known_prompts(&seeds, a, all);
    n += known_prompts(&before, a, all + n);
    size_t known = n, kept = 0;
    for (size_t i = 0; i < written.n; i++) {
        const struct store_example *e = &written.at[i];
        const char *text = test_case(a, e->text, example_flag(e, "cut"), question);
        if (text)
            all[n++] = (struct candidate){text, test_case_folded(a, text), e->item, e->model};
    }
    double usable = (double)(n - known);
    qsort(all, n, sizeof *all, by_fold);
    for (size_t i = 0; i < n; i++)
        if (all[i].item && (i == 0 || strcmp(all[i - 1].fold, all[i].fold) != 0))
            all[kept++] = all[i];
    qsort(all, kept, sizeof *all, by_item);
    CAI_TRY(count(c, pass, "candidates", (double)written.n));
    CAI_TRY(count(c, pass, "unusable", (double)written.n - usable));
    CAI_TRY(count(c, pass, "duplicates", usable - (double)kept));
    CAI_TRY(count(c, pass, "prompts", (double)kept));
    *ret = all;
    *ret_n = kept;
    return 0;
}

static int plan_replies(const struct stage_context *c, const struct red_pass *pass,
                        bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct candidate *prompt;
    struct model_ref generator;
    size_t n;
    CAI_TRY(choose_prompts(c, pass, &a, &prompt, &n));
    CAI_TRY(models_role(c, "generator", c->round - 1, &a, &generator));
    build_generate(&b, c, pass->reply, 0, &generator, &c->job->revise.reply);
    for (size_t i = 0; i < n; i++) {
        struct turn turn = {"user", prompt[i].text};
        CAI_TRY(example_put(c, prompt[i].item, 0, "prompt", prompt[i].text, NULL, prompt[i].model,
                            json_pack("{s:o}", "messages", data_messages(&turn, 1))));
        CAI_TRY(build_generate_turns(&b, prompt[i].item, 0, 1, &turn, 1));
    }
    *ret_added = n > 0;
    return build_flush(&b);
}

int red_reply_explore(const struct stage_context *c, bool *ret_added) {
    struct red_pass pass = red_explore(c->job);
    return pass.n > 0 ? plan_replies(c, &pass, ret_added) : 0;
}

int red_reply_attack(const struct stage_context *c, bool *ret_added) {
    struct red_pass pass = red_attack(c->job);
    return plan_replies(c, &pass, ret_added);
}
