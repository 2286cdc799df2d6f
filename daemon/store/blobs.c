/* blobs.c: content-addressed files beside the database. A file that exists under its hash
 * is complete, because it arrived there by an atomic rename; a crash leaves at most a
 * temporary file or an unreferenced blob. */
#include "base/error.h"
#include "base/file.h"
#include "store/sql.h"

int store_blob_put(struct store *s, const void *data, size_t len, char ret_hash[65],
                   char **ret_path) {
    CAI_AUTO(mem) char *dir = cai_path_join(s->dir, "blobs");
    CAI_TRY(cai_dir_make(dir));
    cai_sha256(data, len, ret_hash);
    char *path = cai_path_join(dir, ret_hash);
    int rc = cai_file_exists(path) ? 0 : cai_file_write_atomic(path, data, len);
    if (rc == 0 && ret_path)
        *ret_path = path;
    else
        free(path);
    return rc;
}

/* Each gives (job, hash or path). One row for each table that names blobs. */
static const char *const named[] = {
    "SELECT jobs.id, data.value FROM jobs, json_each(jobs.spec, '$.data') AS data"
    " WHERE data.type = 'text'",
    "SELECT models.job, json_extract(models.provenance, '$.dataset') FROM models"
    " JOIN folders ON folders.path = models.path"
    " WHERE folders.gone = 0 AND models.provenance LIKE '%dataset%'",
};

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
    return rc;
}
