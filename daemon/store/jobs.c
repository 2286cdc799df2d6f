/* jobs.c: the jobs and the requests already answered. */
#include "base/clock.h"
#include "base/error.h"
#include "store/sql.h"
#include <string.h>

static const char *const state_names[] = {
    [JOB_PENDING] = "PENDING",       [JOB_HELD] = "HELD",
    [JOB_RUNNING] = "RUNNING",       [JOB_WAITING_REVIEW] = "WAITING_REVIEW",
    [JOB_COMPLETING] = "COMPLETING", [JOB_SUSPENDED] = "SUSPENDED",
    [JOB_COMPLETED] = "COMPLETED",   [JOB_FAILED] = "FAILED",
    [JOB_CANCELLED] = "CANCELLED"};

const char *job_state_name(enum job_state s) {
    CAI_CHECK((size_t)s < CAI_COUNT(state_names));
    return state_names[s];
}

static int find_by_key(struct store *s, const char *key, int64_t *ret_id) {
    sqlite3_stmt *q = sql_start(s, "SELECT id FROM jobs WHERE request_key = ?", "s", key);
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret_id = sql_int(q, 0);
    sql_end(s, q);
    return rc;
}

int store_job_add(struct store *s, const char *name, const char *spec_json, const char *revision,
                  int64_t uid, const char *request_key, int64_t *ret_id) {
    const char *key = request_key && *request_key ? request_key : NULL;
    if (key) {
        int rc = find_by_key(s, key, ret_id);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
    CAI_TRY(sql_do(s,
                   "INSERT INTO jobs(name, spec, constitution, state, uid, submitted_ms,"
                   " request_key) VALUES(?, ?, ?, ?, ?, ?, ?)",
                   "sssiiis", name, spec_json, revision, (int64_t)JOB_PENDING, uid, cai_wall_ms(),
                   key));
    *ret_id = sqlite3_last_insert_rowid(s->db);
    return 0;
}

#define JOB_COLUMNS                                                                                \
    "SELECT id, name, spec, constitution, state, reason, gate, accepted, round, stage, planned,"  \
    " numeric_class, uid, submitted_ms, started_ms, finished_ms, priority, stopped_by FROM jobs "

static struct store_job job_of_row(sqlite3_stmt *q) {
    return (struct store_job){
        .id = sql_int(q, 0),
        .name = sql_copy(q, 1),
        .spec = sql_copy(q, 2),
        .constitution = sql_copy(q, 3),
        .state = (enum job_state)sql_int(q, 4),
        .reason = sql_copy(q, 5),
        .gate = sql_copy(q, 6),
        .accepted = sql_copy(q, 7),
        .round = (uint32_t)sql_int(q, 8),
        .stage = sql_copy(q, 9),
        .planned = sql_int(q, 10) != 0,
        .numeric_class = sql_copy(q, 11),
        .uid = sql_int(q, 12),
        .submitted_ms = sql_int(q, 13),
        .started_ms = sql_int(q, 14),
        .finished_ms = sql_int(q, 15),
        .priority = sql_int(q, 16),
        .stopped_by = sql_copy(q, 17),
    };
}

int store_job_get(struct store *s, int64_t id, struct store_job *ret) {
    sqlite3_stmt *q = sql_start(s, JOB_COLUMNS "WHERE id = ?", "i", id);
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret = job_of_row(q);
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no job %lld", (long long)id);
    return rc < 0 ? rc : 0;
}

void store_job_free(struct store_job *j) {
    free(j->name);
    free(j->spec);
    free(j->constitution);
    free(j->reason);
    free(j->gate);
    free(j->accepted);
    free(j->stage);
    free(j->numeric_class);
    free(j->stopped_by);
    *j = (struct store_job){0};
}

static int must_change(struct store *s, int rc, int64_t id) {
    if (rc == 0 && sql_changes(s) == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no job %lld", (long long)id);
    return rc;
}

int store_job_set_state(struct store *s, int64_t id, enum job_state state, const char *reason,
                        const char *gate) {
    int64_t now = cai_wall_ms();
    bool ends = state == JOB_COMPLETED || state == JOB_FAILED || state == JOB_CANCELLED;
    int rc = sql_do(s,
                    "UPDATE jobs SET state = ?, reason = ?, gate = ?,"
                    " started_ms = CASE WHEN ? AND started_ms = 0 THEN ? ELSE started_ms END,"
                    " finished_ms = ? WHERE id = ?",
                    "issiiii", (int64_t)state, reason ? reason : "", gate ? gate : "",
                    (int64_t)(state == JOB_RUNNING), now, ends ? now : (int64_t)0, id);
    return must_change(s, rc, id);
}

int store_job_set_stage(struct store *s, int64_t id, uint32_t round, const char *stage,
                        bool planned) {
    int rc = sql_do(s, "UPDATE jobs SET round = ?, stage = ?, planned = ? WHERE id = ?", "isii",
                    (int64_t)round, stage, (int64_t)planned, id);
    return must_change(s, rc, id);
}

int store_job_set_priority(struct store *s, int64_t id, int64_t priority) {
    int rc = sql_do(s, "UPDATE jobs SET priority = ? WHERE id = ?", "ii", priority, id);
    return must_change(s, rc, id);
}

int store_job_set_stopped(struct store *s, int64_t id, const char *by) {
    int rc = sql_do(s, "UPDATE jobs SET stopped_by = ? WHERE id = ?", "si", by, id);
    return must_change(s, rc, id);
}

int store_job_accept(struct store *s, int64_t id, const char *gate) {
    int rc = sql_do(s, "UPDATE jobs SET accepted = TRIM(accepted || ' ' || ?) WHERE id = ?", "si",
                    gate, id);
    return must_change(s, rc, id);
}

int store_job_pin_class(struct store *s, int64_t id, const char *numeric_class) {
    int rc = sql_do(s, "UPDATE jobs SET numeric_class = ? WHERE id = ?", "si", numeric_class, id);
    return must_change(s, rc, id);
}

int store_jobs_each(struct store *s, int (*f)(void *c, const struct store_job *j), void *c) {
    sqlite3_stmt *q = sql_start(s, JOB_COLUMNS "ORDER BY id", "");
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_job j = job_of_row(q);
        int stop = f(c, &j);
        store_job_free(&j);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_jobs_count(struct store *s, int64_t ret[JOB_CANCELLED + 1]) {
    sqlite3_stmt *q = sql_start(
        s, "SELECT state, COUNT(*) FROM jobs INDEXED BY jobs_ended GROUP BY state", "");
    int rc;
    memset(ret, 0, (JOB_CANCELLED + 1) * sizeof *ret);
    while ((rc = sql_step(s, q)) > 0)
        if (sql_int(q, 0) >= 0 && sql_int(q, 0) <= JOB_CANCELLED)
            ret[sql_int(q, 0)] = sql_int(q, 1);
    sql_end(s, q);
    return rc;
}

/* The index is asked for the ids alone: a row's texts are long, and thousands may have ended. */
int store_jobs_page(struct store *s, int64_t after, int64_t ended_after_ms,
                    int (*f)(void *c, const struct store_job *j), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT id FROM jobs INDEXED BY jobs_ended WHERE finished_ms = 0"
                                " AND id > ?1 UNION ALL SELECT id FROM jobs INDEXED BY jobs_ended"
                                " WHERE finished_ms > 0 AND finished_ms >= ?2 AND id > ?1"
                                " ORDER BY id",
                                "ii", after, ended_after_ms);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_job j;
        int got = store_job_get(s, sql_int(q, 0), &j);
        int stop = got < 0 ? got : f(c, &j);
        if (got == 0)
            store_job_free(&j);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_jobs_active(struct store *s, int (*f)(void *c, const struct store_job *j), void *c) {
    return store_jobs_page(s, 0, INT64_MAX, f, c);
}

int store_request_get(struct store *s, const char *key, const char *verb, int *ret_exit,
                      char **ret_error, char **ret_json) {
    sqlite3_stmt *q =
        sql_start(s, "SELECT verb, exit, error, json FROM requests WHERE key = ?", "s", key);
    int rc = sql_step(s, q);
    if (rc > 0 && strcmp(sql_text(q, 0), verb) != 0)
        rc = cai_fail(CAI_ESTATE, "this request's key was used for '%s' before", sql_text(q, 0));
    if (rc > 0) {
        *ret_exit = (int)sql_int(q, 1);
        *ret_error = sql_copy(q, 2);
        *ret_json = sql_copy(q, 3);
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "this request was not seen before");
    return rc < 0 ? rc : 0;
}

int store_request_add(struct store *s, const char *key, const char *verb, int exit_code,
                      const char *error, const char *json) {
    return sql_do(s, "INSERT OR IGNORE INTO requests VALUES(?, ?, ?, ?, ?, ?)", "ssissi", key, verb,
                  (int64_t)exit_code, error, json, cai_wall_ms());
}
