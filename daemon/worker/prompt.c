/* prompt.c: what the task functions do alike: conversations to ids, engines, progress. */
#include "worker/internal.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include <string.h>

enum { REPORT_MS = 500 };

struct hf_message *worker_messages(const Cai__V1__Conversation *c)
{
    struct hf_message *out = cai_alloc((c->n_messages + 1) * sizeof(*out));
    for (size_t i = 0; i < c->n_messages; i++)
        out[i] = (struct hf_message){c->messages[i]->role, c->messages[i]->text,
                                     c->messages[i]->drop};
    return out;
}

int worker_prompt_fit(const struct worker_model *wm, const Cai__V1__Conversation *c,
                      const char *prefix, size_t limit, struct worker_prompt *ret)
{
    static const Cai__V1__Conversation none = CAI__V1__CONVERSATION__INIT;
    if (!c)
        c = &none;
    CAI_AUTO(mem) struct hf_message *messages = worker_messages(c);
    const char *opening = prefix && prefix[0] ? prefix : NULL;
    size_t dropped = 0;
    *ret = (struct worker_prompt){0};
    int rc = hf_chat_fit(wm->chat, messages, c->n_messages, opening, limit, &ret->ids, &dropped);
    ret->dropped = (uint32_t)dropped;
    if (rc == CAI_ELIMIT) { /* a result, not a failure: what to do is the stage's to say */
        ret->too_long = true;
        hf_ids_free(&ret->ids);
        ret->ids = (struct hf_ids){0};
        struct hf_ids whole = {0};
        rc = hf_chat_encode(wm->chat, messages, c->n_messages, true, opening, &whole, NULL, NULL);
        ret->tokens = (uint32_t)whole.n;
        hf_ids_free(&whole);
        return rc;
    }
    ret->tokens = (uint32_t)ret->ids.n;
    return rc;
}

void worker_prompt_free(struct worker_prompt *p)
{
    hf_ids_free(&p->ids);
    *p = (struct worker_prompt){0};
}

void worker_progress_say(void *progress, size_t done, size_t total)
{
    struct worker_progress *p = progress;
    int64_t now = cai_now_ms();
    (void)total; /* of the running call; the task's stands in p */
    if (!p->host || !p->host->report || now - p->last_ms < REPORT_MS)
        return;
    p->last_ms = now;
    Cai__V1__Report report = CAI__V1__REPORT__INIT;
    report.done = p->base + done;
    report.total = p->total;
    p->host->report(p->host->context, &report);
}

bool worker_progress_stopping(void *progress)
{
    struct worker_progress *p = progress;
    return p->host && p->host->stopping && p->host->stopping(p->host->context);
}

bool worker_in_half(const Cai__V1__Task *task)
{
    return strcmp(task->dtype, "bfloat16") == 0;
}

int worker_engine(const struct task_run *run, const struct worker_model *wm, size_t requests,
                  int64_t capacity, struct worker_progress *progress, struct engine **ret)
{
    struct engine_options o = {.slots = engine_slots(wm->m, requests, capacity),
                               .capacity = capacity,
                               .end_id = hf_chat_end_id(wm->chat),
                               .bfloat16 = worker_in_half(run->task)};
    CAI_TRY(engine_new(wm->m, wm->t, &o, ret));
    engine_on_stop(*ret, worker_progress_stopping, progress);
    return 0;
}
