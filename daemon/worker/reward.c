/* reward.c: the task "score these replies" under scalar-head models: preference models,
 * all members, and classifiers. Not for: what the scores decide. */
#include "worker/internal.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/held.h"
#include <math.h>
#include <string.h>

enum { PACK_TOKENS = 4096 };

/* Sequences [first, first + n) in one pack; the score stands at each one's last row. */
static int score_pack(const struct model *m, const int32_t *const *ids, const int64_t *lengths,
                      size_t n, float *ret)
{
    struct pack *p;
    CAI_TRY(pack_new(m, ids, lengths, (int64_t)n, &p));
    CAI_AUTO(mem) int64_t *last = cai_alloc(n * sizeof(*last));
    for (size_t i = 0; i < n; i++)
        last[i] = p->starts[i + 1] - 1;
    ct_scope *s = ct_scope_open();
    ct_tensor *hidden = transformer_hidden(s, m, p);                                /* [T, D] */
    ct_tensor *rows = ct_index_select(s, hidden, 0, ct_from_i64(s, last, (int64_t)n)); /* [n, D] */
    ct_tensor *scores = head_scalar(s, m, rows);                                    /* [n] */
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_read_f32(scores, ret, (int64_t)n);
    ct_scope_close(s);
    pack_free(p);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (!isfinite(ret[i]))
            rc = cai_fail(CAI_ENUMERIC, "%s: a score is not a finite number", m->dir);
    return rc;
}

int worker_scalar_scores(const struct model *m, const struct hf_ids *ids, size_t n,
                         struct worker_progress *progress, double *ret)
{
    CAI_AUTO(mem) const int32_t **list = cai_alloc((n + 1) * sizeof(*list));
    CAI_AUTO(mem) int64_t *lengths = cai_alloc((n + 1) * sizeof(*lengths));
    CAI_AUTO(mem) size_t *of = cai_alloc((n + 1) * sizeof(*of));
    CAI_AUTO(mem) float *scores = cai_alloc((n + 1) * sizeof(*scores));
    for (size_t i = 0; i < n;) {
        size_t count = 0;
        int64_t tokens = 0;
        for (; i < n && (count == 0 || tokens + (int64_t)ids[i].n <= PACK_TOKENS); i++) {
            if (ids[i].n == 0)
                continue;
            list[count] = ids[i].data;
            lengths[count] = (int64_t)ids[i].n;
            of[count++] = i;
            tokens += (int64_t)ids[i].n;
        }
        if (count == 0)
            break;
        if (progress && worker_progress_stopping(progress))
            return cai_fail(CAI_ESTATE, "stopped before the end");
        held_rows(tokens);
        CAI_TRY(score_pack(m, list, lengths, count, scores));
        for (size_t j = 0; j < count; j++)
            ret[of[j]] = (double)scores[j];
        if (progress)
            worker_progress_say(progress, i, n);
    }
    return 0;
}

/* The conversation up to the end-of-turn marker of its last message, which must be an
 * assistant's; left empty when the model cannot take that many. */
static int encode(const struct worker_model *wm, const Cai__V1__RewardItem *item,
                  struct hf_ids *ret)
{
    const Cai__V1__Conversation *c = item->conversation;
    size_t n = c ? c->n_messages : 0;
    if (n == 0 || strcmp(c->messages[n - 1]->role, "assistant"))
        return cai_fail(CAI_EINPUT,
                        "reward task: the conversation of item %llu must end with an assistant "
                        "message",
                        (unsigned long long)item->item);
    CAI_AUTO(mem) struct hf_message *messages = worker_messages(c);
    CAI_AUTO(mem) size_t *starts = cai_alloc(n * sizeof(*starts));
    CAI_AUTO(mem) size_t *ends = cai_alloc(n * sizeof(*ends));
    CAI_TRY(hf_chat_encode(wm->chat, messages, n, false, NULL, ret, starts, ends));
    ret->n = ends[n - 1];
    if ((int64_t)ret->n > wm->m->config.max_positions)
        ret->n = 0;
    return 0;
}

/* In bfloat16 by copies that live as long as the call. */
static int score_all(const struct model *m, bool half, const struct hf_ids *ids, size_t n,
                     struct worker_progress *progress, double *ret)
{
    struct model_half *seen = NULL;
    if (!half)
        return worker_scalar_scores(m, ids, n, progress, ret);
    CAI_TRY(model_half_new(m, &seen));
    int rc = worker_scalar_scores(model_half_seen(seen), ids, n, progress, ret);
    model_half_free(seen);
    return rc;
}

static int reward_one(const Cai__V1__Task *task, size_t which, struct worker_progress *progress,
                      Cai__V1__Result *ret)
{
    struct worker_model *wm;
    const Cai__V1__Reward *work = task->reward;
    size_t n = work->n_items;
    CAI_TRY(worker_model_get(work->models[which], &wm));
    if (wm->m->head != MODEL_HEAD_SCALAR)
        return cai_fail(CAI_EINPUT, "%s has no scalar head: expected a model saved as "
                        "LlamaForSequenceClassification", wm->m->dir);
    struct hf_ids *ids = cai_alloc((n + 1) * sizeof(*ids));
    CAI_AUTO(mem) double *scores = cai_alloc((n + 1) * sizeof(*scores));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = encode(wm, work->items[i], &ids[i]);
    if (rc == 0)
        rc = score_all(wm->m, worker_in_half(task), ids, n, progress, scores);
    for (size_t i = 0; i < n; i++) {
        ret->rewarded[i]->scores[which] = scores[i];
        ret->rewarded[i]->too_long |= rc == 0 && ids[i].n == 0;
        ret->tokens += ids[i].n;
        hf_ids_free(&ids[i]);
    }
    free(ids);
    return rc;
}

int worker_reward(const struct task_run *run, Cai__V1__Result *ret)
{
    const Cai__V1__Reward *work = run->task->reward;
    size_t n = work->n_items;
    ret->rewarded = cai_alloc((n + 1) * sizeof(*ret->rewarded));
    for (size_t i = 0; i < n; i++) {
        Cai__V1__Rewarded *out = cai_alloc(sizeof(*out));
        cai__v1__rewarded__init(out);
        out->item = work->items[i]->item;
        out->k = work->items[i]->k;
        out->n_scores = work->n_models;
        out->scores = cai_alloc((work->n_models + 1) * sizeof(double));
        ret->rewarded[ret->n_rewarded++] = out;
    }
    struct worker_progress progress = {.host = run->host, .total = n * work->n_models};
    for (size_t i = 0; i < work->n_models; i++) {
        progress.base = i * n;
        CAI_TRY(reward_one(run->task, i, &progress, ret));
    }
    for (size_t i = 0; i < n; i++)
        if (ret->rewarded[i]->too_long) /* a score of some members only is no score */
            ret->rewarded[i]->n_scores = 0;
    return 0;
}
