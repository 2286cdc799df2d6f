/* generate.c: the task "continue these conversations". Not for: parsing replies. */
#include "worker/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <string.h>

struct generation {
    const Cai__V1__Generate *work;
    struct worker_model *wm;
    struct worker_prompt *prompts; /* by item */
    struct gen_request *requests;  /* of the items that fit, item by item, then k */
    struct gen_result *results;
    size_t n;
};

static int check(const Cai__V1__Generate *g, const struct worker_model *wm)
{
    if (!g->sampling || g->sampling->max_tokens < 1)
        return cai_fail(CAI_EINPUT, "generate task: max_tokens must be at least 1");
    if ((int64_t)g->sampling->max_tokens >= wm->m->config.max_positions)
        return cai_fail(CAI_EINPUT,
                        "max_tokens %u leaves no room for a prompt: %s takes %lld positions",
                        g->sampling->max_tokens, wm->m->dir,
                        (long long)wm->m->config.max_positions);
    return 0;
}

static int make_requests(const Cai__V1__Task *task, struct generation *g)
{
    const Cai__V1__Sampling *s = g->work->sampling;
    size_t limit = (size_t)g->wm->m->config.max_positions - s->max_tokens, n = 0;
    bool common = g->work->draws[0];
    CAI_AUTO(mem) char *stage = common ? cai_strdup(g->work->draws)
                                       : cai_format("%s/%s", task->stage, task->phase);
    for (size_t i = 0; i < g->work->n_items; i++)
        n += g->work->items[i]->n;
    g->requests = cai_alloc((n + 1) * sizeof(*g->requests));
    g->results = cai_alloc((n + 1) * sizeof(*g->results));
    for (size_t i = 0; i < g->work->n_items; i++) {
        const Cai__V1__GenerateItem *item = g->work->items[i];
        struct worker_prompt *p = &g->prompts[i];
        CAI_TRY(worker_prompt_fit(g->wm, item->conversation, item->prefix, limit, p));
        for (uint32_t k = 0; !p->too_long && k < item->n; k++)
            g->requests[g->n++] = (struct gen_request){
                .ids = p->ids.data, .n_ids = p->ids.n, .stop = (const char *const *)s->stop,
                .n_stop = s->n_stop,
                .key = cai_key_make(task->seed, common ? 0 : task->round, stage, item->item,
                                    (common ? 0 : item->first_k) + k)};
    }
    return 0;
}

static int run_engine(const struct task_run *run, struct generation *g)
{
    const Cai__V1__Sampling *s = g->work->sampling;
    struct sampling how = {.temperature = s->temperature,
                           .top_p = s->top_p > 0 ? s->top_p : 1, /* proto3: absent is 0 */
                           .min_p = s->min_p,
                           .top_k = (int)s->top_k,
                           .max_tokens = (int)s->max_tokens};
    size_t longest = 0;
    for (size_t i = 0; i < g->n; i++)
        if (g->requests[i].n_ids > longest)
            longest = g->requests[i].n_ids;
    struct worker_progress progress = {.host = run->host, .total = g->n};
    struct engine *e;
    if (g->n == 0)
        return 0;
    CAI_TRY(worker_engine(run, g->wm, g->n, (int64_t)(longest + s->max_tokens), &progress, &e));
    int rc = engine_generate(e, g->requests, g->n, &how, worker_progress_say, &progress,
                             g->results);
    engine_free(e);
    return rc;
}

static Cai__V1__Finish finish_code(enum finish f)
{
    switch (f) {
    case FINISH_END: return CAI__V1__FINISH__FINISH_END;
    case FINISH_STOP: return CAI__V1__FINISH__FINISH_STOP;
    case FINISH_LENGTH: return CAI__V1__FINISH__FINISH_LENGTH;
    case FINISH_TOO_LONG: return CAI__V1__FINISH__FINISH_TOO_LONG;
    }
    return CAI__V1__FINISH__FINISH_UNKNOWN;
}

/* The result's text without what the format itself puts before a text: written into a conversation
 * again it would stand there twice, and whoever learned from that would learn a form in which
 * nobody asks. After an opening the text goes on where that ends. Taken from the result. */
static char *reply_text(const struct generation *g, const Cai__V1__GenerateItem *item,
                        struct gen_result *r)
{
    bool goes_on = item->prefix && *item->prefix;
    char *text = cai_strdup(goes_on ? r->text : hf_chat_past_lead(g->wm->chat, r->text));
    free(r->text);
    r->text = NULL;
    return text;
}

static Cai__V1__Generated *describe(const struct generation *g, const Cai__V1__GenerateItem *item,
                                    uint32_t k, const struct worker_prompt *p,
                                    struct gen_result *r)
{
    Cai__V1__Generated *out = cai_alloc(sizeof(*out));
    cai__v1__generated__init(out);
    out->item = item->item;
    out->k = item->first_k + k;
    out->prompt_tokens = p->tokens;
    out->dropped = p->dropped;
    if (p->too_long) {
        out->finish = CAI__V1__FINISH__FINISH_TOO_LONG;
        return out;
    }
    out->text = reply_text(g, item, r);
    out->finish = finish_code(r->finish);
    out->tokens = (uint32_t)r->n;
    for (size_t i = 0; i < r->n; i++)
        out->logprob += (double)r->logprobs[i];
    return out;
}

static void fill(struct generation *g, Cai__V1__Result *ret)
{
    size_t total = 0, next = 0;
    for (size_t i = 0; i < g->work->n_items; i++)
        total += g->work->items[i]->n;
    ret->generated = cai_alloc((total + 1) * sizeof(*ret->generated));
    for (size_t i = 0; i < g->work->n_items; i++)
        for (uint32_t k = 0; k < g->work->items[i]->n; k++) {
            struct gen_result *r = g->prompts[i].too_long ? NULL : &g->results[next++];
            Cai__V1__Generated *out = describe(g, g->work->items[i], k, &g->prompts[i], r);
            ret->generated[ret->n_generated++] = out;
            ret->tokens += out->tokens;
        }
}

int worker_generate(const struct task_run *run, Cai__V1__Result *ret)
{
    struct generation g = {.work = run->task->generate};
    CAI_TRY(worker_model_get(g.work->model, &g.wm));
    CAI_TRY(check(g.work, g.wm));
    g.prompts = cai_alloc((g.work->n_items + 1) * sizeof(*g.prompts));
    int rc = make_requests(run->task, &g);
    if (rc == 0)
        rc = run_engine(run, &g);
    if (rc == 0)
        fill(&g, ret);
    for (size_t i = 0; i < g.n; i++)
        gen_result_free(&g.results[i]);
    for (size_t i = 0; i < g.work->n_items; i++)
        worker_prompt_free(&g.prompts[i]);
    free(g.prompts);
    free(g.requests);
    free(g.results);
    return rc;
}
