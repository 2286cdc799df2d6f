/* people.c: verbs by which people share one daemon: hold, release, suspend, update,
 * shares. Whose a job is was checked before they are called (control.c). */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "control/control.h"
#include "run/people.h"
#include <string.h>

/* What a person can do with a job in this state, for those who asked for something else. */
static const char *instead(enum job_state state) {
    switch (state) {
    case JOB_PENDING: return "'caictl hold' keeps it from starting";
    case JOB_HELD: return "'caictl release' lets it start";
    case JOB_RUNNING: return "'caictl suspend' stops it at its next durable point";
    case JOB_SUSPENDED: return "'caictl resume' lets it go on";
    case JOB_WAITING_REVIEW: return "it waits for a person: 'caictl show' says for what";
    case JOB_FAILED:
    case JOB_CANCELLED: return "'caictl requeue' lets it go on where it was";
    default: return "it has ended";
    }
}

/* A change that a person makes to a job. */
struct change {
    struct run *run;
    int64_t id;
    enum job_state state;
    struct job_run *job; /* NULL: it is over */
    char by[PERSON_MAX];
};

static int change_open(const struct request *q, struct change *ret) {
    struct store_job row;
    *ret = (struct change){.run = q->run, .id = request_int(q, "id", 0)};
    CAI_TRY(store_job_get(q->run->store, ret->id, &row));
    ret->state = row.state;
    ret->job = job_find(q->run, ret->id);
    person_name(q->who->uid, ret->by);
    store_job_free(&row);
    return 0;
}

static int wrong_state(const struct change *x, const char *can) {
    return cai_fail(CAI_ESTATE, "job %lld is %s; %s. %s", (long long)x->id,
                    job_state_name(x->state), can, instead(x->state));
}

/* The end of what store_begin began: with an event, or, where rc is an error, not at all. */
static int change_end(const struct change *x, int rc, const char *event) {
    if (rc == 0)
        rc = store_event_add(x->run->store, x->id, CAI_LOG_INFO, event);
    CAI_TRY(store_end(x->run->store, rc));
    x->run->dirty = true;
    return 0;
}

static int set_held(struct store *s, int64_t id, const char *by) {
    CAI_AUTO(mem) char *reason = cai_format("held by %s: 'caictl release %lld' lets it start", by,
                                            (long long)id);
    CAI_TRY(store_job_set_state(s, id, JOB_HELD, reason, ""));
    return store_job_set_stopped(s, id, by);
}

int people_hold(const struct request *q, int64_t id) {
    char by[PERSON_MAX];
    return set_held(q->run->store, id, person_name(q->who->uid, by));
}

static int hold(const struct request *q, json_t **ret) {
    struct change x;
    CAI_TRY(change_open(q, &x));
    if (x.state != JOB_PENDING || !x.job)
        return wrong_state(&x, "only a job that has not begun can be held");
    CAI_AUTO(mem) char *event = cai_format("held by %s", x.by);
    CAI_TRY(store_begin(q->run->store));
    CAI_TRY(change_end(&x, set_held(q->run->store, x.id, x.by), event));
    x.job->state = JOB_HELD;
    return reply_state(q->run, x.id, ret);
}

static int release(const struct request *q, json_t **ret) {
    struct change x;
    struct store *s = q->run->store;
    CAI_TRY(change_open(q, &x));
    if (x.state != JOB_HELD || !x.job)
        return wrong_state(&x, "nothing holds it");
    CAI_AUTO(mem) char *event = cai_format("released by %s", x.by);
    CAI_TRY(store_begin(s));
    int rc = store_job_set_state(s, x.id, JOB_PENDING, "", "");
    if (rc == 0)
        rc = store_job_set_stopped(s, x.id, "");
    CAI_TRY(change_end(&x, rc, event));
    x.job->state = JOB_PENDING;
    return reply_state(q->run, x.id, ret);
}

static int suspend(const struct request *q, json_t **ret) {
    struct change x;
    CAI_TRY(change_open(q, &x));
    /* One that pauses for want of space is running to its owner. */
    if (!x.job || !(x.job->state == JOB_RUNNING || x.job->full))
        return wrong_state(&x, "only a running job can be suspended");
    CAI_TRY(job_pause(q->run, x.job, x.by));
    return reply_state(q->run, x.id, ret);
}

static int update(const struct request *q, json_t **ret) {
    struct change x;
    int64_t priority = request_int(q, "priority", 0);
    CAI_TRY(change_open(q, &x));
    if (!x.job)
        return wrong_state(&x, "nothing of it can be changed");
    if (priority < -JOB_PRIORITY_MAX || priority > JOB_PRIORITY_MAX)
        return cai_fail(CAI_EINPUT, "priority %lld: expected %d to %d", (long long)priority,
                        -JOB_PRIORITY_MAX, JOB_PRIORITY_MAX);
    CAI_AUTO(mem) char *event = cai_format("priority %lld, set by %s", (long long)priority, x.by);
    CAI_TRY(store_begin(q->run->store));
    CAI_TRY(change_end(&x, store_job_set_priority(q->run->store, x.id, priority), event));
    x.job->priority = priority;
    CAI_TRY(reply_state(q->run, x.id, ret));
    json_object_set_new(*ret, "priority", json_integer(priority));
    return 0;
}

/* ---- shares ---------------------------------------------------------------------- */

static json_t *share_json(struct run *r, const struct share *x, double all) {
    int64_t jobs = 0, workers = 0;
    char name[PERSON_MAX];
    double used = share_used(&r->shares, x, cai_wall_ms());
    for (const struct job_run *j = r->jobs; j; j = j->next)
        jobs += j->uid == x->uid;
    for (const struct lease *l = r->leases; l; l = l->next)
        workers += l->uid == x->uid;
    return json_pack("{s:s, s:I, s:f, s:f, s:I, s:I}", "user", person_name(x->uid, name), "uid",
                     (json_int_t)x->uid, "seconds", used, "share", all > 0 ? used / all : 0.0,
                     "workers", (json_int_t)workers, "jobs", (json_int_t)jobs);
}

static int shares(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    double all = 0;
    for (const struct job_run *j = r->jobs; j; j = j->next)
        share_of(&r->shares, j->uid); /* who waits is listed, too */
    turns_hold(r);
    for (size_t i = 0; i < r->shares.n; i++)
        all += share_used(&r->shares, &r->shares.all[i], cai_wall_ms());
    json_t *rows = json_array();
    for (size_t i = 0; i < r->shares.n; i++)
        json_array_append_new(rows, share_json(r, &r->shares.all[i], all));
    *ret = json_pack("{s:o}", "rows", rows);
    return 0;
}

const struct verb people_verbs[] = {
    {"hold", true, "id:i!", hold},
    {"release", true, "id:i!", release},
    {"suspend", true, "id:i!", suspend},
    {"update", true, "id:i! priority:n!", update},
    {"shares", false, "", shares},
    {0},
};
