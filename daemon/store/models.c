/* models.c: model folders and checkpoints, and the metrics of a job. */
#include "base/error.h"
#include "store/sql.h"

int store_model_add(struct store *s, const struct store_model *m) {
    CAI_TRY(store_folder_add(s, m->job, m->path));
    return sql_do(s,
                  "INSERT OR REPLACE INTO models(job, round, stage, kind, k, step, path, hash,"
                  " provenance) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                  "iissiisss", m->job, (int64_t)m->round, m->stage, m->kind, (int64_t)m->k,
                  (int64_t)m->step, m->path, m->hash,
                  m->provenance && *m->provenance ? m->provenance : "{}");
}

int store_model_find(struct store *s, int64_t job, uint32_t round, const char *stage,
                     const char *kind, uint32_t k, char **ret_path, char **ret_hash) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT path, hash FROM models WHERE job = ?1 AND round <= ?2"
                                " AND (?3 IS NULL OR stage = ?3) AND kind = ?4 AND k = ?5"
                                " ORDER BY round DESC, step DESC, stage DESC LIMIT 1",
                                "iissi", job, (int64_t)round, stage, kind, (int64_t)k);
    int rc = sql_step(s, q);
    if (rc > 0) {
        if (ret_path)
            *ret_path = sql_copy(q, 0);
        if (ret_hash)
            *ret_hash = sql_copy(q, 1);
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "job %lld has no %s up to round %u", (long long)job, kind,
                        round);
    return rc < 0 ? rc : 0;
}

int store_models_each(struct store *s, int64_t job, int (*f)(void *c, const struct store_model *m),
                      void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT round, stage, kind, k, step, path, hash, provenance"
                                " FROM models WHERE job = ? ORDER BY round, stage, kind, k, step",
                                "i", job);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_model m = {job,
                                (uint32_t)sql_int(q, 0),
                                sql_text(q, 1),
                                sql_text(q, 2),
                                (uint32_t)sql_int(q, 3),
                                (uint64_t)sql_int(q, 4),
                                sql_text(q, 5),
                                sql_text(q, 6),
                                sql_text(q, 7)};
        int stop = f(c, &m);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_models_prune(struct store *s, int64_t job, uint32_t round, const char *stage,
                       const char *kind) {
    CAI_TRY(sql_do(s,
                   "UPDATE folders SET gone = 1, why = 'its training is done'"
                   " WHERE pinned = 0 AND gone = 0 AND path IN (SELECT path FROM models"
                   " WHERE job = ? AND round = ? AND stage = ? AND kind = ?)",
                   "iiss", job, (int64_t)round, stage, kind));
    return sql_do(s,
                  "DELETE FROM models WHERE job = ? AND round = ? AND stage = ? AND kind = ?"
                  " AND NOT EXISTS (SELECT 1 FROM folders WHERE folders.path = models.path"
                  " AND pinned = 1)",
                  "iiss", job, (int64_t)round, stage, kind);
}

int store_metric_add(struct store *s, int64_t job, uint32_t round, const char *stage, uint64_t step,
                     const char *name, double value) {
    return sql_do(s,
                  "INSERT OR REPLACE INTO metrics(job, round, stage, name, step, value)"
                  " VALUES(?, ?, ?, ?, ?, ?)",
                  "iissid", job, (int64_t)round, stage, name, (int64_t)step, value);
}

int store_metrics_each(struct store *s, int64_t job,
                       int (*f)(void *c, const struct store_metric *m), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT round, stage, name, step, value FROM metrics"
                                " WHERE job = ? ORDER BY round, stage, name, step",
                                "i", job);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_metric m = {(uint32_t)sql_int(q, 0), sql_text(q, 1), sql_text(q, 2),
                                 (uint64_t)sql_int(q, 3), sql_real(q, 4)};
        int stop = f(c, &m);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_metric_get(struct store *s, int64_t job, uint32_t round, const char *stage, uint64_t step,
                     const char *name, double *ret) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT value FROM metrics WHERE job = ? AND round = ?"
                                " AND stage = ? AND name = ? AND step = ?",
                                "iissi", job, (int64_t)round, stage, name, (int64_t)step);
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret = sql_real(q, 0);
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "no figure '%s' of %s, round %u", name, stage, round);
    return rc < 0 ? rc : 0;
}
