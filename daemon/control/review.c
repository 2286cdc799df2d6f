/* review.c: verbs of people's review, and the end of a job's wait for it. What they do:
 * review.h. Whether who asks may review at all was asked at the gate (roles.c). */
#include "base/error.h"
#include "base/log.h"
#include "control/control.h"
#include "run/gate.h"
#include "run/people.h"
#include "review/internal.h"
#include "control/review_wake.h"
#include <string.h>

int review_who(const struct run *r, const struct channel_peer *peer, char name[PERSON_MAX],
               struct reviewer *ret) {
    if (peer->uid == -1)
        return cai_fail(CAI_EAUTH, "caid cannot see who asks, so nothing is shown");
    const char *key = gate_name(r, peer);
    if (key)
        snprintf(name, PERSON_MAX, "%s", key);
    else
        person_name(peer->uid, name);
    *ret = (struct reviewer){.name = name, .uid = peer->uid,
                             .role = person_rules(r, peer) ? REVIEWER_ADMIN
                                     : key                 ? REVIEWER_REVIEWER
                                                           : REVIEWER_OWNER};
    return 0;
}

/* ---- a job that waits -------------------------------------------------------------------------- */

static int wake_one(struct run *r, struct job_run *j) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct store_review_queue q;
    struct review_count n;
    struct store_job row;
    bool found;
    char event[160];
    CAI_TRY(store_job_get(r->store, j->id, &row));
    int rc = review_waiting(r->store, j->id, row.gate, &a, &q, &n, &found);
    store_job_free(&row);
    if (rc < 0 || !found || n.done < n.required)
        return rc;
    snprintf(event, sizeof event, "people's verdicts are in (%lld %ss of round %u): goes on",
             (long long)n.done, q.kind, q.round);
    return job_unpause(r, j, event);
}

void review_wake(struct run *r) {
    int64_t rows;
    char head[65];
    bool waits = false;
    for (const struct job_run *j = r->jobs; j && !waits; j = j->next)
        waits = j->state == JOB_WAITING_REVIEW;
    if (!waits || store_review_head(r->store, &rows, head) < 0)
        return;
    if (rows + 1 == r->front->review_rows) /* nothing was said since; 0: caid has just started */
        return;
    r->front->review_rows = rows + 1;
    for (struct job_run *j = r->jobs; j; j = j->next)
        if (j->state == JOB_WAITING_REVIEW && wake_one(r, j) < 0)
            cai_warn("job %lld: %s", (long long)j->id, cai_error_text());
}

/* ---- verbs ------------------------------------------------------------------------------------- */

#define WHO                                                                                        \
    char name[PERSON_MAX];                                                                         \
    struct reviewer who;                                                                           \
    CAI_TRY(review_who(q->run, q->who, name, &who))

static int said(const struct request *q, int rc) {
    if (rc == 0)
        review_wake(q->run);
    return rc;
}

static int queue(const struct request *q, json_t **ret) {
    WHO;
    return review_queue(q->run->store, &who, request_int(q, "job", 0), ret);
}
static int open_item(const struct request *q, json_t **ret) {
    WHO;
    return review_open(q->run->store, &who, request_int(q, "item", 0), ret);
}
static int first(const struct request *q, json_t **ret) {
    WHO;
    return review_first(q->run->store, &who, request_int(q, "item", 0),
                        json_object_get(q->args, "verdict"), ret);
}
static int draft(const struct request *q, json_t **ret) {
    WHO;
    return review_draft(q->run->store, &who, request_int(q, "item", 0),
                        request_int(q, "version", 0), json_object_get(q->args, "draft"), ret);
}
static int submit(const struct request *q, json_t **ret) {
    WHO;
    return said(q, review_submit(q->run->store, &who, request_int(q, "item", 0),
                                 json_object_get(q->args, "verdict"), ret));
}
static int skip(const struct request *q, json_t **ret) {
    WHO;
    return said(q, review_skip(q->run->store, &who, request_int(q, "item", 0),
                               request_text(q, "reason"), ret));
}
static int note_undo(const void *request, const json_t *answer) {
    return request_note(request, answer);
}
static int undo(const struct request *q, json_t **ret) {
    WHO;
    return said(q, review_undo(q->run->store, &who, note_undo, q, ret));
}
static int progress(const struct request *q, json_t **ret) {
    WHO;
    return review_progress(q->run->store, &who, request_int(q, "job", 0), ret);
}
static int export(const struct request *q, json_t **ret) {
    WHO;
    return review_export(q->run->store, &who, request_int(q, "job", 0), request_text(q, "what"),
                         request_int(q, "after", 0), ret);
}
static int audit(const struct request *q, json_t **ret) {
    WHO;
    return review_audit(q->run->store, &who, request_text(q, "head"), ret);
}

const struct verb review_verbs[] = {
    {"review.queue", false, "job:i", queue},
    {"review.open", false, "item:i!", open_item},
    {"review.first", true, "item:i! verdict:o!", first},
    {"review.draft", true, "item:i! version:i! draft:o!", draft},
    {"review.submit", true, "item:i! verdict:o!", submit},
    {"review.skip", true, "item:i! reason:s!", skip},
    {"review.undo", true, "", undo},
    {"review.progress", false, "job:i", progress},
    {"review.export", false, "job:i! what:s! after:i", export},
    {"review.audit", false, "head:s", audit},
    {0},
};
