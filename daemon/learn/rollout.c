/* rollout.c: see rollout.h. */
#include "learn/rollout.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- prompts ---------------------------------------------------------------------- */

void prompts_make(const struct dataset *d, double helpful, struct prompts *ret) {
    *ret = (struct prompts){0};
    for (int k = 0; k < 2; k++) {
        ret->pool[k] = cai_alloc((d->n + 1) * sizeof *ret->pool[k]);
        for (size_t i = 0; i < d->n; i++)
            if (d->rows[i].helpful == (k == 1))
                ret->pool[k][ret->n[k]++] = &d->rows[i];
    }
    ret->helpful = ret->n[1] == 0 ? 0 : ret->n[0] == 0 ? 1 : helpful;
}

void prompts_free(struct prompts *p) {
    free(p->pool[0]);
    free(p->pool[1]);
    *p = (struct prompts){0};
}

/* Helpful draws among the first `number`: the share holds at every point of the run. */
static uint64_t helpful_before(const struct prompts *p, uint64_t number) {
    return (uint64_t)floor((double)number * p->helpful + 1e-9);
}

const struct dataset_row *prompts_draw(const struct prompts *p, uint64_t seed, uint32_t round,
                                       uint64_t number) {
    uint64_t before = helpful_before(p, number);
    int kind = helpful_before(p, number + 1) > before;
    uint64_t draw = kind ? before : number - before; /* of this kind */
    uint64_t n = p->n[kind];
    CAI_CHECK(n > 0);
    CAI_AUTO(mem) uint32_t *order = cai_realloc(NULL, n, sizeof *order);
    struct cai_key key = cai_key_make(seed, round, kind ? "ppo/prompts/helpful"
                                                        : "ppo/prompts/harmful", draw / n, 0);
    cai_rng_permutation(key, n, order);
    return p->pool[kind][order[draw % n]];
}

/* ---- one chunk ----------------------------------------------------------------------- */

/* What travels for one reply; ids, log-probabilities and text follow. */
struct wire {
    uint64_t number;
    uint32_t n, text;
    uint32_t ended;
    uint32_t reserved;
};

static void put(struct cai_buf *out, uint64_t number, const struct gen_result *g) {
    struct wire w = {.number = number, .n = (uint32_t)g->n, .text = (uint32_t)strlen(g->text),
                     .ended = g->finish == FINISH_END};
    cai_buf_append(out, &w, sizeof w);
    cai_buf_append(out, g->ids, g->n * sizeof *g->ids);
    cai_buf_append(out, g->logprobs, g->n * sizeof *g->logprobs);
    cai_buf_append(out, g->text, w.text);
}

static int write_chunk(const struct sampler_of_rollouts *s, uint64_t first, size_t n,
                       struct cai_buf *out) {
    const struct learn_task *t = s->task;
    struct gen_request *q = cai_alloc(n * sizeof *q);
    struct gen_result *g = cai_alloc(n * sizeof *g);
    struct sampling how = {.temperature = s->options->temperature, .top_p = s->options->top_p,
                           .max_tokens = (int)s->options->max_tokens};
    uint64_t group = (uint64_t)s->options->group;
    for (size_t i = 0; i < n; i++) {
        const struct dataset_row *row =
            prompts_draw(s->prompts, t->seed, t->round, (first + i) / group);
        q[i].ids = row->seq[0].ids;
        q[i].n_ids = (size_t)row->seq[0].n;
        q[i].key = cai_key_make(t->seed, t->round, "ppo/rollout", first + i, 0);
    }
    int rc = engine_generate(s->engine, q, n, &how, NULL, NULL, g);
    for (size_t i = 0; i < n && rc == 0; i++) {
        put(out, first + i, &g[i]);
        gen_result_free(&g[i]);
    }
    free(g);
    free(q);
    return rc;
}

/* ---- all of them ----------------------------------------------------------------------- */

static int take(const struct sampler_of_rollouts *s, const char **at, const char *end,
                uint64_t first, struct rollout *all) {
    struct wire w;
    if ((size_t)(end - *at) < sizeof w)
        return cai_fail(CAI_EPROTO, "a rank sent half a rollout");
    memcpy(&w, *at, sizeof w);
    *at += sizeof w;
    size_t bytes = (size_t)w.n * (sizeof(int32_t) + sizeof(float)) + w.text;
    if ((size_t)(end - *at) < bytes || w.number < first ||
        w.number - first >= (uint64_t)s->options->rollouts)
        return cai_fail(CAI_EPROTO, "a rank sent a malformed rollout");
    const struct dataset_row *row =
        prompts_draw(s->prompts, s->task->seed, s->task->round,
                     w.number / (uint64_t)s->options->group);
    struct rollout *r = &all[w.number - first];
    *r = (struct rollout){.number = w.number, .row = row, .n_prompt = row->seq[0].n,
                          .n = row->seq[0].n + w.n, .ended = w.ended != 0};
    r->ids = cai_realloc(NULL, (size_t)r->n + 1, sizeof *r->ids);
    r->sampled = cai_realloc(NULL, (size_t)w.n + 1, sizeof *r->sampled);
    memcpy(r->ids, row->seq[0].ids, (size_t)r->n_prompt * sizeof *r->ids);
    memcpy(r->ids + r->n_prompt, *at, w.n * sizeof *r->ids);
    *at += w.n * sizeof *r->ids;
    for (uint32_t i = 0; i < w.n; i++) {
        float x;
        memcpy(&x, *at + i * sizeof x, sizeof x);
        r->sampled[i] = x;
    }
    *at += w.n * sizeof(float);
    r->text = cai_strndup(*at, w.text);
    *at += w.text;
    return 0;
}

static void rollout_free(struct rollout *r) {
    free(r->ids);
    free(r->sampled);
    free(r->text);
}

static int read_all(const struct sampler_of_rollouts *s, const char *data, size_t len,
                    uint64_t first, struct rollouts *ret) {
    size_t n = (size_t)s->options->rollouts;
    const char *at = data, *end = data + len;
    ret->r = cai_alloc(n * sizeof *ret->r);
    ret->n = n;
    while (at < end)
        CAI_TRY(take(s, &at, end, first, ret->r));
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct rollout r = ret->r[i];
        ret->r[i] = (struct rollout){0};
        if (r.ids == NULL) {
            ret->n = n;
            return cai_fail(CAI_EPROTO, "no rank sent rollout %zu", i);
        }
        if (r.n > r.n_prompt)
            ret->r[kept++] = r;
        else
            rollout_free(&r);
    }
    ret->n = kept;
    return kept > 0 ? 0 : cai_fail(CAI_EINPUT, "the policy wrote no token to any prompt");
}

size_t rollout_chunk(size_t rollouts) {
    size_t chunk = (rollouts + 3) / 4;
    return chunk < 64 ? chunk : 64;
}

int rollouts_sample(const struct sampler_of_rollouts *s, uint64_t step, struct rollouts *ret) {
    size_t n = (size_t)s->options->rollouts, chunk = rollout_chunk(n);
    size_t rank = (size_t)learn_rank(s->task), world = (size_t)learn_world(s->task);
    uint64_t first = step * n;
    CAI_AUTO(buf) struct cai_buf own = {.max = (size_t)4 << 30};
    CAI_AUTO(mem) void *gathered = NULL;
    *ret = (struct rollouts){0};
    for (size_t c = rank; c * chunk < n; c += world) {
        CAI_TRY(learn_stopping(s->task));
        size_t from = c * chunk, many = n - from < chunk ? n - from : chunk;
        CAI_TRY(write_chunk(s, first + from, many, &own));
    }
    CAI_TRY(cai_buf_status(&own));
    const char *data = own.data;
    size_t len = own.len;
    if (world > 1) {
        CAI_AUTO(mem) size_t *starts = cai_realloc(NULL, world + 1, sizeof *starts);
        CAI_TRY(comm_all_gather_bytes(s->task->comm, own.data, own.len, &gathered, &len, starts));
        data = gathered;
    }
    int rc = read_all(s, data, len, first, ret);
    if (rc < 0)
        rollouts_free(ret);
    return rc;
}

void rollouts_free(struct rollouts *r) {
    for (size_t i = 0; i < r->n; i++)
        rollout_free(&r->r[i]);
    free(r->r);
    *r = (struct rollouts){0};
}
