/* tasks.c: tasks and the ledger. A row is the ledger's entry of its task: `done`, the
 * result's hash and cost are written in the transaction that absorbs the result. The
 * payload is dropped then; it is never read again. */
#include "base/error.h"
#include "base/file.h"
#include "store/sql.h"
#include <string.h>

int store_task_add(struct store *s, const struct store_task *t, int64_t *ret_id) {
    int rc = sql_do(s,
                    "INSERT INTO tasks(job, round, stage, phase, chunk, gang, payload)"
                    " VALUES(?, ?, ?, ?, ?, ?, ?)",
                    "iissiib", t->job, (int64_t)t->round, t->stage, t->phase, (int64_t)t->chunk,
                    (int64_t)t->gang, t->payload, t->payload_len);
    if (rc == CAI_ESTATE)
        return cai_fail(CAI_ESTATE, "task %s/%s/%u of round %u was added before", t->stage,
                        t->phase, t->chunk, t->round);
    CAI_TRY(rc);
    if (ret_id)
        *ret_id = sqlite3_last_insert_rowid(s->db);
    return 0;
}

#define TASK_COLUMNS                                                                               \
    "SELECT id, job, round, chunk, stage, phase, gang, failures, payload, done FROM tasks "

static struct store_task task_of_row(sqlite3_stmt *q) {
    return (struct store_task){
        .id = sql_int(q, 0),
        .job = sql_int(q, 1),
        .round = (uint32_t)sql_int(q, 2),
        .chunk = (uint32_t)sql_int(q, 3),
        .stage = sql_text(q, 4),
        .phase = sql_text(q, 5),
        .gang = sql_int(q, 6) != 0,
        .failures = (uint32_t)sql_int(q, 7),
        .payload = sqlite3_column_blob(q, 8),
        .payload_len = (size_t)sqlite3_column_bytes(q, 8),
    };
}

int store_tasks_open(struct store *s, int64_t job, int (*f)(void *c, const struct store_task *t),
                     void *c) {
    sqlite3_stmt *q = sql_start(
        s, TASK_COLUMNS "WHERE job = ? AND done = 0 ORDER BY round, stage, phase, chunk", "i", job);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_task t = task_of_row(q);
        int stop = f(c, &t);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_tasks_queue(struct store *s, int64_t job,
                      int (*f)(void *c, int64_t id, bool gang, uint32_t failures), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT id, gang, failures FROM tasks WHERE job = ? AND done = 0"
                                " ORDER BY round, stage, phase, chunk",
                                "i", job);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        int stop = f(c, sql_int(q, 0), sql_int(q, 1) != 0, (uint32_t)sql_int(q, 2));
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_tasks_jobs(struct store *s, int (*f)(void *c, int64_t job), void *c) {
    sqlite3_stmt *q = sql_start(s, "SELECT DISTINCT job FROM tasks WHERE done = 0 ORDER BY job", "");
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        int stop = f(c, sql_int(q, 0));
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

/* ret->stage and ret->phase lie in `payload` behind the packed task: one owner. */
int store_task_get(struct store *s, int64_t id, struct cai_buf *payload, struct store_task *ret) {
    sqlite3_stmt *q = sql_start(s, TASK_COLUMNS "WHERE id = ?", "i", id);
    int rc = sql_step(s, q);
    if (rc > 0) {
        *ret = task_of_row(q);
        cai_buf_clear(payload);
        cai_buf_append(payload, ret->payload, ret->payload_len);
        size_t stage = payload->len;
        cai_buf_append(payload, ret->stage, strlen(ret->stage) + 1);
        size_t phase = payload->len;
        cai_buf_append(payload, ret->phase, strlen(ret->phase) + 1);
        rc = cai_buf_status(payload);
        if (rc == 0) {
            ret->payload = payload->data;
            ret->stage = payload->data + stage;
            ret->phase = payload->data + phase;
            rc = 1;
        }
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no task %lld", (long long)id);
    return rc < 0 ? rc : 0;
}

int store_task_done(struct store *s, int64_t id, const char *result_hash, double seconds,
                    uint64_t tokens) {
    CAI_TRY(sql_do(s,
                   "UPDATE tasks SET done = 1, result_hash = ?, seconds = ?, tokens = ?,"
                   " payload = NULL WHERE id = ? AND done = 0",
                   "sdii", result_hash, seconds, (int64_t)tokens, id));
    if (sql_changes(s) == 0)
        return cai_fail(CAI_ESTATE, "task %lld is done already, or unknown", (long long)id);
    return 0;
}

int store_task_held(struct store *s, int64_t id, int64_t bytes) {
    return sql_do(s, "UPDATE tasks SET held = ? WHERE id = ?", "ii", bytes, id);
}

int store_task_failed(struct store *s, int64_t id, uint32_t *ret_failures) {
    CAI_TRY(sql_do(s, "UPDATE tasks SET failures = failures + 1 WHERE id = ?", "i", id));
    sqlite3_stmt *q = sql_start(s, "SELECT failures FROM tasks WHERE id = ?", "i", id);
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret_failures = (uint32_t)sql_int(q, 0);
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no task %lld", (long long)id);
    return rc < 0 ? rc : 0;
}

int store_tasks_reset_failures(struct store *s, int64_t job) {
    return sql_do(s, "UPDATE tasks SET failures = 0 WHERE job = ? AND done = 0", "i", job);
}

int store_task_counts(struct store *s, int64_t job, uint32_t round, const char *stage,
                      int64_t *ret_done, int64_t *ret_total) {
    sqlite3_stmt *q = sql_start(
        s, "SELECT TOTAL(done), COUNT(*) FROM tasks WHERE job = ? AND round = ? AND stage = ?",
        "iis", job, (int64_t)round, stage);
    int rc = sql_step(s, q);
    if (rc > 0) {
        *ret_done = sql_int(q, 0);
        *ret_total = sql_int(q, 1);
    }
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}

int store_task_costs(struct store *s, int64_t job, double *ret_seconds, int64_t *ret_tokens) {
    sqlite3_stmt *q = sql_start(
        s, "SELECT TOTAL(seconds), TOTAL(tokens) FROM tasks WHERE job = ? AND done = 1", "i", job);
    int rc = sql_step(s, q);
    if (rc > 0) {
        *ret_seconds = sql_real(q, 0);
        *ret_tokens = sql_int(q, 1);
    }
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}

int store_phases_each(struct store *s, int64_t job, int (*f)(void *c, const struct store_phase *p),
                      void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT round, stage, phase, COUNT(*), TOTAL(tokens),"
                                " TOTAL(seconds), MAX(held) FROM tasks WHERE job = ? AND done = 1"
                                " GROUP BY round, stage, phase ORDER BY MIN(id)",
                                "i", job);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_phase p = {(uint32_t)sql_int(q, 0), sql_text(q, 1), sql_text(q, 2),
                                sql_int(q, 3), sql_int(q, 4), sql_real(q, 5), sql_int(q, 6)};
        rc = f(c, &p);
        if (rc != 0)
            break;
    }
    sql_end(s, q);
    return rc;
}

/* Each line is NUL-free text with a fixed number of fields, so that no two ledgers can
 * share a preimage. */
int store_ledger_digest(struct store *s, int64_t job, char ret_hex[65]) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    sqlite3_stmt *q = sql_start(s,
                                "SELECT round, stage, phase, chunk, result_hash FROM tasks"
                                " WHERE job = ? AND done = 1"
                                " ORDER BY round, stage, phase, chunk",
                                "i", job);
    int rc;
    while ((rc = sql_step(s, q)) > 0)
        cai_buf_printf(&b, "%lld\t%s\t%s\t%lld\t%s\n", (long long)sql_int(q, 0), sql_text(q, 1),
                       sql_text(q, 2), (long long)sql_int(q, 3), sql_text(q, 4));
    sql_end(s, q);
    CAI_TRY(rc);
    CAI_TRY(cai_buf_status(&b));
    cai_sha256(b.data ? b.data : "", b.len, ret_hex);
    return 0;
}
