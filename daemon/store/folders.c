/* folders.c: the folders that models and resumable states lie in: one number and one row
 * each, however many roles it has (a model that was rolled back to has two rows in `models`
 * and one folder). Not for what refers to them: that takes jobs and tasks, and is the
 * coordinator's to say.
 *
 *   there → going (marked, in a transaction) → unlinked on the disk → gone
 *
 * A folder is unlinked only after its mark is durable, so a crash leaves a mark to go on
 * from and never a model that the store believes in and the disk has lost. */
#include "base/error.h"
#include "store/sql.h"

int store_folder_add(struct store *s, int64_t job, const char *path) {
    return sql_do(s,
                  "INSERT INTO folders(path, job) VALUES(?, ?)"
                  " ON CONFLICT(path) DO UPDATE SET gone = 0, why = ''",
                  "si", path, job);
}

#define FOLDER_COLUMNS "SELECT number, path, job, pinned, note, gone, why FROM folders "

static struct store_folder folder_of_row(sqlite3_stmt *q) {
    return (struct store_folder){
        .number = sql_int(q, 0),
        .path = (char *)sql_text(q, 1),
        .job = sql_int(q, 2),
        .pinned = sql_int(q, 3) != 0,
        .note = (char *)sql_text(q, 4),
        .state = (enum folder_state)sql_int(q, 5),
        .why = (char *)sql_text(q, 6),
    };
}

static struct store_folder copy_of(const struct store_folder *f) {
    struct store_folder copy = *f;
    copy.path = cai_strdup(f->path);
    copy.note = cai_strdup(f->note);
    copy.why = cai_strdup(f->why);
    return copy;
}

void store_folder_free(struct store_folder *f) {
    free(f->path);
    free(f->note);
    free(f->why);
    *f = (struct store_folder){0};
}

int store_folder_get(struct store *s, int64_t number, struct store_folder *ret) {
    sqlite3_stmt *q = sql_start(s, FOLDER_COLUMNS "WHERE number = ?", "i", number);
    int rc = sql_step(s, q);
    if (rc > 0) {
        struct store_folder f = folder_of_row(q);
        *ret = copy_of(&f);
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no model or state %lld; 'caictl ckpt list --all' "
                        "lists them", (long long)number);
    return rc < 0 ? rc : 0;
}

int store_folder_find(struct store *s, const char *path, struct store_folder *ret) {
    sqlite3_stmt *q = sql_start(s, FOLDER_COLUMNS "WHERE path = ?", "s", path);
    int rc = sql_step(s, q);
    if (rc > 0) {
        struct store_folder f = folder_of_row(q);
        *ret = copy_of(&f);
    }
    sql_end(s, q);
    return rc == 0 ? CAI_ENOTFOUND : rc < 0 ? rc : 0;
}

static int walk(struct store *s, sqlite3_stmt *q,
                int (*f)(void *c, const struct store_folder *f), void *c) {
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_folder row = folder_of_row(q);
        int stop = f(c, &row);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_folders_each(struct store *s, int64_t job, int64_t after,
                       int (*f)(void *c, const struct store_folder *f), void *c) {
    sqlite3_stmt *q = job ? sql_start(s, FOLDER_COLUMNS "WHERE job = ? AND number > ?"
                                      " ORDER BY number", "ii", job, after)
                          : sql_start(s, FOLDER_COLUMNS "WHERE number > ? ORDER BY number", "i",
                                      after);
    return walk(s, q, f, c);
}

int store_folders_jobs(struct store *s, int64_t after, int (*f)(void *c, int64_t job), void *c) {
    sqlite3_stmt *q = sql_start(
        s, "SELECT DISTINCT job FROM folders WHERE job > ? ORDER BY job", "i", after);
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

int store_folders_going(struct store *s, int (*f)(void *c, const struct store_folder *f),
                        void *c) {
    return walk(s, sql_start(s, FOLDER_COLUMNS "WHERE gone = 1 ORDER BY number", ""), f, c);
}

int store_folder_pin(struct store *s, int64_t number, bool pinned, const char *note) {
    CAI_TRY(sql_do(s, "UPDATE folders SET pinned = ?, note = ? WHERE number = ? AND gone = 0",
                   "isi", (int64_t)pinned, note ? note : "", number));
    if (sql_changes(s) == 0)
        return cai_fail(CAI_ESTATE, "%lld was removed", (long long)number);
    return 0;
}

int store_folder_mark(struct store *s, int64_t number, const char *why) {
    CAI_TRY(sql_do(s,
                   "UPDATE folders SET gone = 1, why = ? WHERE number = ? AND gone = 0"
                   " AND pinned = 0",
                   "si", why, number));
    if (sql_changes(s) == 0)
        return cai_fail(CAI_ESTATE, "%lld is pinned, or was removed", (long long)number);
    return 0;
}

/* What no row of `models` names any more, a state of a training that is over, is forgotten;
 * of a model it stays known that it was here. */
int store_folder_gone(struct store *s, int64_t number) {
    CAI_TRY(sql_do(s,
                   "DELETE FROM folders WHERE number = ? AND gone = 1"
                   " AND NOT EXISTS (SELECT 1 FROM models WHERE models.path = folders.path)",
                   "i", number));
    return sql_do(s, "UPDATE folders SET gone = 2 WHERE number = ? AND gone = 1", "i", number);
}

static int walk_named(struct store *s, sqlite3_stmt *q,
                      int (*f)(void *c, int64_t job, const char *role, const char *path),
                      void *c) {
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        int stop = f(c, sql_int(q, 0), sql_text(q, 1), sql_text(q, 2));
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_models_started(struct store *s, int (*f)(void *c, int64_t job, const char *kind,
                                                   const char *path), void *c) {
    return walk_named(s, sql_start(s, "SELECT MIN(job), kind, path FROM models"
                                      " WHERE stage = 'start' GROUP BY path, kind", ""), f, c);
}

int store_models_wanted(struct store *s, int (*f)(void *c, int64_t job, const char *role,
                                                  const char *path), void *c) {
    return walk_named(s, sql_start(s, "SELECT MIN(jobs.id), m.key, m.value"
                                      " FROM jobs, json_each(jobs.spec, '$.models') AS m"
                                      " WHERE jobs.finished_ms = 0 AND m.type = 'text'"
                                      " GROUP BY m.key, m.value", ""), f, c);
}

int store_models_of_path(struct store *s, const char *path,
                         int (*f)(void *c, const struct store_model *m), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT job, round, stage, kind, k, step, path, hash, provenance"
                                " FROM models WHERE path = ?"
                                " ORDER BY job, round, stage, kind, k, step",
                                "s", path);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_model m = {sql_int(q, 0),           (uint32_t)sql_int(q, 1), sql_text(q, 2),
                                sql_text(q, 3),          (uint32_t)sql_int(q, 4),
                                (uint64_t)sql_int(q, 5), sql_text(q, 6),          sql_text(q, 7),
                                sql_text(q, 8)};
        int stop = f(c, &m);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}
