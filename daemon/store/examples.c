/* examples.c: texts of every step. Keys are natural; items are below 2^63. */
#include "base/error.h"
#include "store/sql.h"

static const char *text_or_empty(const char *s) { return s ? s : ""; }

int store_example_add(struct store *s, const struct store_example *e) {
    CAI_CHECK(e->item <= INT64_MAX);
    int rc = sql_do(s,
                    "INSERT INTO examples(job, round, stage, item, kind, k, text, principle,"
                    " revision, model, detail) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    "iisisisssss", e->job, (int64_t)e->round, e->stage, (int64_t)e->item, e->kind,
                    (int64_t)e->k, text_or_empty(e->text), text_or_empty(e->principle),
                    text_or_empty(e->revision), text_or_empty(e->model),
                    e->detail && *e->detail ? e->detail : "{}");
    if (rc == CAI_ESTATE)
        return cai_fail(CAI_ESTATE, "example %u/%s/%llu/%s/%u is there already", e->round, e->stage,
                        (unsigned long long)e->item, e->kind, e->k);
    return rc;
}

static struct store_example example_of_row(sqlite3_stmt *q, int64_t job) {
    return (struct store_example){
        .job = job,
        .round = (uint32_t)sql_int(q, 0),
        .stage = sql_text(q, 1),
        .item = (uint64_t)sql_int(q, 2),
        .k = (uint32_t)sql_int(q, 4),
        .kind = sql_text(q, 3),
        .text = sql_text(q, 5),
        .principle = sql_text(q, 6),
        .revision = sql_text(q, 7),
        .model = sql_text(q, 8),
        .detail = sql_text(q, 9),
    };
}

int store_examples_each(struct store *s, int64_t job, uint32_t round, const char *stage,
                        const char *kind, int (*f)(void *c, const struct store_example *e),
                        void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT round, stage, item, kind, k, text, principle, revision,"
                                " model, detail FROM examples WHERE job = ?1"
                                " AND (?2 = 0 OR round = ?2) AND (?3 IS NULL OR stage = ?3)"
                                " AND (?4 IS NULL OR kind = ?4)"
                                " ORDER BY round, stage, item, kind, k",
                                "iiss", job, (int64_t)round, stage, kind);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_example e = example_of_row(q, job);
        int stop = f(c, &e);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_example_get(struct store *s, int64_t job, uint32_t round, const char *stage,
                      uint64_t item, const char *kind, uint32_t k, char **ret_text,
                      char **ret_detail) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT text, detail FROM examples WHERE job = ? AND round = ?"
                                " AND stage = ? AND item = ? AND kind = ? AND k = ?",
                                "iisisi", job, (int64_t)round, stage, (int64_t)item, kind,
                                (int64_t)k);
    int rc = sql_step(s, q);
    if (rc > 0) {
        if (ret_text)
            *ret_text = sql_copy(q, 0);
        if (ret_detail)
            *ret_detail = sql_copy(q, 1);
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no %s %u of item %llu in %s, round %u", kind, k,
                        (unsigned long long)item, stage, round);
    return rc < 0 ? rc : 0;
}

int store_examples_count(struct store *s, int64_t job, uint32_t round, const char *stage,
                         const char *kind, int64_t *ret) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT COUNT(*) FROM examples WHERE job = ?1"
                                " AND (?2 = 0 OR round = ?2) AND (?3 IS NULL OR stage = ?3)"
                                " AND (?4 IS NULL OR kind = ?4)",
                                "iiss", job, (int64_t)round, stage, kind);
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret = sql_int(q, 0);
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}
