/* store.c: opening, transactions, epoch. The schema and the tables have files of their own.
 *
 * One connection in exclusive mode: no second process can open the database, and the
 * WAL index lives in memory. synchronous=FULL: a commit that returned is on the disk. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "store/sql.h"
#include <string.h>

static int open_database(struct store *s, const char *path) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db ? sql_fail(s, path) : cai_fail(CAI_ENOMEM, "no memory for a database");
    sqlite3_extended_result_codes(s->db, 1);
    CAI_TRY(sql_script(s, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                          "PRAGMA synchronous=FULL; PRAGMA cache_size=-4000;"
                          "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
                          "PRAGMA journal_size_limit=16777216; PRAGMA cell_size_check=ON;"));
    CAI_TRY(schema_open_to(s, path, schema_newest()));
    /* SQLite passes over a failure to make its log's name durable; without the name every commit
     * would go with the power. */
    return cai_file_sync(s->dir);
}

int store_renew_log(const char *path) {
    CAI_AUTO(mem) char *log = cai_format("%s-wal", path);
    return cai_file_renew(log);
}

int store_open(const char *path, struct store **ret) {
    struct store *s = cai_alloc(sizeof *s);
    const char *slash = strrchr(path, '/');
    s->dir = slash ? cai_strndup(path, (size_t)(slash - path)) : cai_strdup(".");
    int rc = open_database(s, path);
    if (rc < 0) {
        store_close(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n_cached; i++)
        sqlite3_finalize(s->cache[i].stmt);
    sqlite3_close(s->db);
    free(s->copy);
    free(s->dir);
    free(s);
}

int store_begin(struct store *s) { return sql_do(s, "BEGIN IMMEDIATE", ""); }
int store_commit(struct store *s) { return sql_do(s, "COMMIT", ""); }

void store_rollback(struct store *s) {
    /* SQLite may have rolled back by itself when the disk was full. */
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

int store_end(struct store *s, int rc) {
    int done = rc < 0 ? rc : store_commit(s);
    if (done < 0) {
        store_rollback(s);
        return done;
    }
    return rc;
}

int store_upgraded(const struct store *s, const char **ret_copy) {
    *ret_copy = s->copy;
    return s->upgraded_from;
}

int64_t store_epoch_next(struct store *s) {
    CAI_TRY(CAI_FAILPOINT("store.epoch.before"));
    CAI_TRY(sql_do(s,
                   "INSERT INTO counters VALUES('epoch', 1)"
                   " ON CONFLICT(name) DO UPDATE SET value = value + 1",
                   ""));
    CAI_TRY(CAI_FAILPOINT("store.epoch.after"));
    int64_t epoch = 0;
    sqlite3_stmt *q = sql_start(s, "SELECT value FROM counters WHERE name = 'epoch'", "");
    int rc = sql_step(s, q);
    if (rc > 0)
        epoch = sql_int(q, 0);
    sql_end(s, q);
    return rc < 0 ? rc : epoch;
}
