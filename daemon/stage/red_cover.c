/* red_cover.c: the sub-step that asks what failing replies break: the overseer criticises a
 * sample of them under principles drawn by weight, as in revise. It says what an overseer sees,
 * with its errors. And sets failures and passes aside for people to check.
 *
 * Phase: cover. Examples: critique {"no_flaw"} (k = which of the reply's principles), check
 * {"p", "fails"}. Not for: whether a reply fails (classifier.h). */
#include "stage/red.h"

#include "base/error.h"
#include "constitution/render.h"
#include "stage/build.h"
#include "stage/draw.h"
#include "stage/extract.h"
#include <string.h>

enum { PRINCIPLES = 4 }; /* asked of one reply; a round's revisions ask as many */

static const struct principle *principle_of(const struct stage_context *c, uint64_t item,
                                            uint32_t k) {
    return draw_principle_distinct(c, DRAW_CRITIQUE, "red_team/cover", item, k);
}

static int prompt_and_reply(const struct stage_context *c, uint64_t item, struct cai_arena *a,
                            struct turn **ret, size_t *ret_n) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_AUTO(mem) char *reply = NULL;
    CAI_TRY(data_dialog(c, item, a, &d));
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, "red_team", item, "reply", 0, &reply,
                              NULL));
    struct turn *turns = cai_arena_array(a, d.n + 1, sizeof *turns);
    memcpy(turns, d.turns, d.n * sizeof *turns);
    turns[d.n] = (struct turn){"assistant", cai_arena_strdup(a, reply)};
    *ret = turns;
    *ret_n = d.n + 1;
    return 0;
}

static int ask(const struct stage_context *c, struct builder *b, uint64_t item) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct turn *turns;
    size_t n;
    CAI_TRY(prompt_and_reply(c, item, &a, &turns, &n));
    for (uint32_t k = 0; k < PRINCIPLES; k++) {
        const struct principle *p = principle_of(c, item, k);
        struct rendering r;
        if (!p)
            break;
        render_critique(c->constitution, p, turns, n, &r);
        int rc = build_generate_rendered(b, item, k, &r);
        rendering_free(&r);
        CAI_TRY(rc);
    }
    return 0;
}

/* Judged items of the attack, by whether they failed. */
static int judged_items(const struct stage_context *c, struct cai_arena *a,
                        struct examples *scores, struct items *failing, struct items *passing) {
    struct red_pass pass = red_attack(c->job);
    struct examples all;
    CAI_TRY(examples_load(c, c->round, "red_team", "score", a, &all));
    *scores = red_of_pass(c, &pass, &all, a);
    *failing = (struct items){cai_arena_array(a, scores->n + 1, sizeof(uint64_t)), 0};
    *passing = (struct items){cai_arena_array(a, scores->n + 1, sizeof(uint64_t)), 0};
    for (size_t i = 0; i < scores->n; i++) {
        struct items *into = example_number(&scores->at[i], "p", 0) >= 0.5 ? failing : passing;
        into->at[into->n++] = scores->at[i].item;
    }
    return 0;
}

static int set_aside(const struct stage_context *c, const struct examples *scores,
                     struct items *from, const char *what, bool fails) {
    if (c->job->red_team.check == 0)
        return 0;
    items_take(c, c->round, what, (size_t)c->job->red_team.check, from);
    for (size_t i = 0; i < from->n; i++) {
        CAI_AUTO(mem) char *reply = NULL;
        const struct store_example *score = examples_find(scores, from->at[i], 0);
        CAI_TRY(store_example_get(c->store, c->job_id, c->round, "red_team", from->at[i], "reply",
                                  0, &reply, NULL));
        CAI_TRY(example_put(c, from->at[i], 0, "check", reply, NULL, score->model,
                            json_pack("{s:f, s:b}", "p", example_number(score, "p", 0), "fails",
                                      fails)));
    }
    return 0;
}

int red_cover(const struct stage_context *c, bool *ret_added) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct examples scores;
    struct items failing, passing, sample;
    struct model_ref overseer;
    CAI_TRY(judged_items(c, &a, &scores, &failing, &passing));
    sample = (struct items){cai_arena_array(&a, failing.n + 1, sizeof *sample.at), failing.n};
    memcpy(sample.at, failing.at, failing.n * sizeof *sample.at);
    CAI_TRY(set_aside(c, &scores, &failing, "red_team/check-failing", true));
    CAI_TRY(set_aside(c, &scores, &passing, "red_team/check-passing", false));
    if (c->job->red_team.coverage == 0 || sample.n == 0 || !principle_of(c, sample.at[0], 0))
        return 0;
    items_take(c, c->round, "red_team/cover", (size_t)c->job->red_team.coverage, &sample);
    CAI_TRY(models_role(c, "overseer", c->round - 1, &a, &overseer));
    build_generate(&b, c, "cover", 0, &overseer, &c->job->revise.critique);
    for (size_t i = 0; i < sample.n; i++)
        CAI_TRY(ask(c, &b, sample.at[i]));
    *ret_added = true;
    return build_flush(&b);
}

int red_covered(const struct stage_context *c, const Cai__V1__Task *task,
                const Cai__V1__Result *result, struct cai_arena *a) {
    const Cai__V1__Generated **g;
    CAI_AUTO(buf) struct cai_buf text = {0};
    size_t n;
    CAI_TRY(result_order_generated(task, result, a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        struct turn *turns;
        size_t n_turns;
        CAI_TRY(prompt_and_reply(c, g[i]->item, a, &turns, &n_turns));
        struct extract_input in = {
            .kind = EXTRACT_CRITIQUE,
            .finish = result_finish(g[i]),
            .raw = g[i]->text,
            .original = turns[n_turns - 1].text,
            .no_flaw = c->constitution->frames.no_flaw};
        enum extract_reason why = extract(&in, &text);
        if (why == EXTRACT_OK || why == EXTRACT_NO_FLAW)
            CAI_TRY(example_put(c, g[i]->item, g[i]->k, "critique", text.data ? text.data : "",
                                principle_of(c, g[i]->item, g[i]->k)->id,
                                task->generate->model->hash,
                                json_pack("{s:b}", "no_flaw", why == EXTRACT_NO_FLAW)));
    }
    return 0;
}
