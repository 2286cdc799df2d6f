/* blobs.c: content-addressed files beside the database. A file that exists under its hash
 * is complete, because it arrived there by an atomic rename; whether its name is durable is another
 * matter, so the folder is synced before it is relied upon. A crash leaves at most a temporary
 * file or an unreferenced blob. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "store/sql.h"
#include <string.h>

char *store_blob_path(const struct store *s, const char *hash) {
    return cai_format("%s/blobs/%s", s->dir, hash);
}

bool store_blob_is(const struct store *s, const char *path) {
    size_t n = strlen(s->dir);
    return strncmp(path, s->dir, n) == 0 && strncmp(path + n, "/blobs/", 7) == 0 &&
           cai_is_sha256(path + n + 7);
}

int store_blob_put(struct store *s, const void *data, size_t len, char ret_hash[65],
                   char **ret_path) {
    CAI_AUTO(mem) char *dir = cai_path_join(s->dir, "blobs");
    CAI_TRY(cai_dir_make(dir));
    CAI_TRY(CAI_FAILPOINT("blob.put.before"));
    cai_sha256(data, len, ret_hash);
    char *path = cai_path_join(dir, ret_hash);
    /* One that is there already may have been left by a failure to make its name durable. */
    int rc = cai_file_exists(path) ? cai_file_sync(dir) : cai_file_write_atomic(path, data, len);
    if (rc == 0)
        rc = CAI_FAILPOINT("blob.put.after");
    if (rc == 0 && ret_path)
        *ret_path = path;
    else
        free(path);
    return rc;
}

/* Each gives (job, hash or path). Tables with a column `hash` are asked besides. */
static const char *const named[] = {
    "SELECT jobs.id, data.value FROM jobs, json_each(jobs.spec, '$.data') AS data"
    " WHERE data.type = 'text'",
    "SELECT models.job, json_extract(models.provenance, '$.dataset') FROM models"
    " JOIN folders ON folders.path = models.path"
    " WHERE folders.gone = 0 AND models.provenance LIKE '%dataset%'",
};

static int name_hashes(struct store *s, const char *table,
                       int (*f)(void *c, int64_t job, const char *hash_or_path), void *c) {
    CAI_AUTO(mem) char *text = cai_format("SELECT hash FROM \"%s\"", table);
    sqlite3_stmt *q = NULL; /* its text is no literal: it cannot be kept */
    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) != SQLITE_OK)
        return sql_fail(s, "statement");
    int rc, stop = 0;
    while (!stop && (rc = sql_step(s, q)) > 0)
        stop = f(c, 0, sql_text(q, 0));
    sqlite3_finalize(q);
    return stop ? stop : rc;
}

/* Whatever a later schema keeps by hash is in use, without a word about it here. */
static int name_by_hash(struct store *s,
                        int (*f)(void *c, int64_t job, const char *hash_or_path), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT m.name FROM sqlite_schema AS m"
                                " JOIN pragma_table_info(m.name) AS t"
                                " WHERE m.type = 'table' AND t.name = 'hash'",
                                "");
    int rc, stop = 0;
    while (!stop && (rc = sql_step(s, q)) > 0)
        stop = name_hashes(s, sql_text(q, 0), f, c);
    sql_end(s, q);
    return stop ? stop : rc;
}

int store_blobs_named(struct store *s, int (*f)(void *c, int64_t job, const char *hash_or_path),
                      void *c) {
    int rc = 0;
    for (size_t i = 0; i < CAI_COUNT(named) && rc == 0; i++) {
        sqlite3_stmt *q = sql_start(s, named[i], "");
        while ((rc = sql_step(s, q)) > 0) {
            int stop = f(c, sql_int(q, 0), sql_text(q, 1));
            if (stop) {
                rc = stop;
                break;
            }
        }
        sql_end(s, q);
    }
    return rc ? rc : name_by_hash(s, f, c);
}
