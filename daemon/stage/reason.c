/* reason.c: see reason.h. */
#include "stage/reason.h"

#include "stage/data.h"
#include "stage/extract.h"
#include "stage/rates.h"

#include <string.h>

enum { DROPPED = 1u << 31 };

bool reason_used(const struct stage_context *c) { return job_label_reasons(c->job); }

void reason_open(struct builder *b, const struct stage_context *c, const char *phase,
                 uint32_t first_chunk, const struct model_ref *overseer) {
    build_generate(b, c, phase, first_chunk, overseer, &c->job->label.reasons);
    build_stop(b, c->constitution->frames.reasoned_prefix);
}

/* What was written in each order of one comparison; the first reason to drop it, or OK. */
static enum extract_reason read_orders(const Cai__V1__Generated *const *g, size_t orders,
                                       struct cai_arena *a, const char *ret_text[2]) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; i < orders; i++) {
        struct extract_input in = {
            .kind = EXTRACT_REASONING, .raw = g[i]->text,
            .finish = result_finish(g[i])};
        enum extract_reason r = extract(&in, &text);
        if (r != EXTRACT_OK)
            return r;
        ret_text[i] = cai_arena_strndup(a, text.data, text.len);
    }
    return EXTRACT_OK;
}

static int drop(const struct stage_context *c, const Cai__V1__Generated *g,
                enum extract_reason why) {
    CAI_AUTO(mem) char *name = cai_format("reasons/%s", extract_reason_name(why));
    return example_put(c, g->item, DROPPED | g->k, "dropped", g->text, NULL, "",
                       json_pack("{s:s}", "reason", name));
}

int reason_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result, const char *phase, bool swap) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    const struct constitution_frames *f = &c->constitution->frames;
    const Cai__V1__Generated **g;
    size_t n, orders = swap ? 2 : 1;
    const struct model_ref overseer = {task->generate->model->path, task->generate->model->hash};
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    build_score(&b, c, phase, task->chunk, &overseer);
    b.whole = true;
    for (size_t i = 0; i + orders <= n; i += orders) {
        const char *text[2];
        enum extract_reason why = read_orders(&g[i], orders, &a, text);
        if (why != EXTRACT_OK) {
            CAI_TRY(drop(c, g[i], why));
            continue;
        }
        for (size_t k = 0; k < orders; k++) {
            CAI_TRY(example_put(c, g[i + k]->item, g[i + k]->k, "reasons", text[k], NULL,
                                overseer.hash,
                                json_pack("{s:i, s:i}", "generated", (int)g[i + k]->tokens, "read",
                                          (int)g[i + k]->prompt_tokens)));
            CAI_TRY(build_score_after(&b, task->generate->items[i + k],
                                      render_reasoned(&a, c->constitution, text[k]), f->option_a,
                                      f->option_b));
        }
    }
    return build_flush(&b);
}

int reason_figures(const struct stage_context *c, double *ret_dropped) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct examples dropped, kept;
    double n[EXTRACT_REASONS] = {0}, all = 0;
    CAI_TRY(examples_load(c, c->round, "label", "reasons", &a, &kept));
    CAI_TRY(examples_load(c, c->round, "label", "dropped", &a, &dropped));
    for (size_t i = 0; i < dropped.n; i++) {
        if (!(dropped.at[i].k & DROPPED))
            continue;
        json_t *o = json_loads(dropped.at[i].detail, 0, NULL);
        const char *why = json_string_value(json_object_get(o, "reason"));
        for (enum extract_reason r = EXTRACT_OK; r < EXTRACT_REASONS; r++)
            n[r] += why && strcmp(strchr(why, '/') + 1, extract_reason_name(r)) == 0;
        json_decref(o);
        all++;
    }
    for (enum extract_reason r = EXTRACT_OK; r < EXTRACT_REASONS; r++)
        if (n[r] > 0)
            CAI_TRY(rates_value(c, cai_arena_printf(&a, "reasons/%s", extract_reason_name(r)), n[r]));
    double asked = all + (double)kept.n / (c->job->label.swap ? 2 : 1);
    *ret_dropped = asked > 0 ? all / asked : 0;
    return rates_value(c, "reasons_dropped", *ret_dropped);
}
