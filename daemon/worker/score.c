/* score.c: the task "how probable is each option string here". Not for: normalising over
 * options, which is the stage's. */
#include "worker/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <string.h>

struct scores {
    const Cai__V1__Score *work;
    struct worker_model *wm;
    struct worker_prompt *prompts; /* by item */
    struct hf_ids **options;       /* by item, then option */
    double **logprobs;             /* the same */
};

static int encode_options(struct scores *sc, size_t i, size_t *ret_longest)
{
    const Cai__V1__ScoreItem *item = sc->work->items[i];
    sc->options[i] = cai_alloc((item->n_options + 1) * sizeof(struct hf_ids));
    sc->logprobs[i] = cai_alloc((item->n_options + 1) * sizeof(double));
    *ret_longest = 0;
    for (size_t j = 0; j < item->n_options; j++) {
        struct hf_ids *ids = &sc->options[i][j];
        CAI_TRY(hf_tokenizer_encode(sc->wm->t, item->options[j], strlen(item->options[j]), false,
                                    ids));
        if (ids->n == 0)
            return cai_fail(CAI_EINPUT, "score task: option %zu of item %llu has no tokens", j,
                            (unsigned long long)item->item);
        if (ids->n > *ret_longest)
            *ret_longest = ids->n;
    }
    return 0;
}

static int prepare(struct scores *sc, size_t *ret_capacity)
{
    *ret_capacity = 0;
    for (size_t i = 0; i < sc->work->n_items; i++) {
        const Cai__V1__ScoreItem *item = sc->work->items[i];
        size_t longest, positions = (size_t)sc->wm->m->config.max_positions;
        CAI_TRY(encode_options(sc, i, &longest));
        size_t limit = longest < positions ? positions - longest : 0;
        CAI_TRY(worker_prompt_fit(sc->wm, item->conversation, item->prefix, limit,
                                  &sc->prompts[i]));
        if (sc->prompts[i].ids.n + longest > *ret_capacity)
            *ret_capacity = sc->prompts[i].ids.n + longest;
    }
    return 0;
}

static int run_engine(const struct task_run *run, struct scores *sc, size_t capacity)
{
    size_t items = sc->work->n_items, n = 0, slots = 0;
    CAI_AUTO(mem) struct score_request *requests = cai_alloc((items + 1) * sizeof(*requests));
    CAI_AUTO(mem) double **logprobs = cai_alloc((items + 1) * sizeof(*logprobs));
    for (size_t i = 0; i < items; i++) {
        if (sc->prompts[i].too_long)
            continue;
        size_t options = sc->work->items[i]->n_options;
        slots += options;
        logprobs[n] = sc->logprobs[i];
        requests[n++] = (struct score_request){sc->prompts[i].ids.data, sc->prompts[i].ids.n,
                                               sc->options[i], options};
    }
    if (n == 0)
        return 0;
    struct worker_progress progress = {.host = run->host, .total = items};
    struct engine *e;
    CAI_TRY(worker_engine(run, sc->wm, slots, (int64_t)capacity, &progress, &e));
    int rc = engine_score(e, requests, n, logprobs);
    engine_free(e);
    return rc;
}

static void fill(const struct scores *sc, Cai__V1__Result *ret)
{
    ret->scored = cai_alloc((sc->work->n_items + 1) * sizeof(*ret->scored));
    for (size_t i = 0; i < sc->work->n_items; i++) {
        const Cai__V1__ScoreItem *item = sc->work->items[i];
        const struct worker_prompt *p = &sc->prompts[i];
        Cai__V1__Scored *out = cai_alloc(sizeof(*out));
        cai__v1__scored__init(out);
        ret->scored[ret->n_scored++] = out;
        out->item = item->item;
        out->k = item->k;
        out->prompt_tokens = p->tokens;
        out->dropped = p->dropped;
        out->too_long = p->too_long;
        if (p->too_long)
            continue;
        out->n_logprobs = out->n_tokens = item->n_options;
        out->logprobs = cai_alloc(item->n_options * sizeof(double));
        out->tokens = cai_alloc(item->n_options * sizeof(uint32_t));
        for (size_t j = 0; j < item->n_options; j++) {
            out->logprobs[j] = sc->logprobs[i][j];
            out->tokens[j] = (uint32_t)sc->options[i][j].n;
        }
        ret->tokens += p->tokens;
    }
}

static void release(struct scores *sc)
{
    for (size_t i = 0; i < sc->work->n_items; i++) {
        for (size_t j = 0; sc->options[i] && j < sc->work->items[i]->n_options; j++)
            hf_ids_free(&sc->options[i][j]);
        free(sc->options[i]);
        free(sc->logprobs[i]);
        worker_prompt_free(&sc->prompts[i]);
    }
    free(sc->options);
    free(sc->logprobs);
    free(sc->prompts);
}

int worker_score(const struct task_run *run, Cai__V1__Result *ret)
{
    struct scores sc = {.work = run->task->score};
    size_t n = sc.work->n_items, capacity;
    CAI_TRY(worker_model_get(sc.work->model, &sc.wm));
    sc.prompts = cai_alloc((n + 1) * sizeof(*sc.prompts));
    sc.options = cai_alloc((n + 1) * sizeof(*sc.options));
    sc.logprobs = cai_alloc((n + 1) * sizeof(*sc.logprobs));
    int rc = prepare(&sc, &capacity);
    if (rc == 0)
        rc = run_engine(run, &sc, capacity);
    if (rc == 0)
        fill(&sc, ret);
    release(&sc);
    return rc;
}
