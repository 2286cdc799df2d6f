/* review.c: queues, items and drafts of people's review. The log of verdicts: review_log.c. */
#include "store/review.h"
#include "base/clock.h"
#include "base/error.h"
#include "store/sql.h"

/* ---- queues ---------------------------------------------------------------------- */

int store_review_queue_add(struct store *s, const struct store_review_queue *q) {
    int rc = sql_do(s,
                    "INSERT INTO review_queues(job, round, kind, gate, required)"
                    " VALUES(?, ?, ?, ?, ?)",
                    "iissi", q->job, (int64_t)q->round, q->kind, q->gate, q->required);
    if (rc == CAI_ESTATE)
        return cai_fail(CAI_ESTATE, "the %ss of round %u are drawn already", q->kind, q->round);
    return rc;
}

int store_review_queue_close(struct store *s, int64_t job, uint32_t round, const char *kind) {
    return sql_do(s, "UPDATE review_queues SET closed = 1 WHERE job = ? AND round = ? AND kind = ?",
                  "iis", job, (int64_t)round, kind);
}

int store_review_queues_each(struct store *s, int64_t job,
                             int (*f)(void *c, const struct store_review_queue *q), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT job, round, kind, gate, required, closed FROM review_queues"
                                " WHERE ?1 = 0 OR job = ?1 ORDER BY job, round, kind",
                                "i", job);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_review_queue row = {
            .job = sql_int(q, 0), .round = (uint32_t)sql_int(q, 1), .kind = sql_text(q, 2),
            .gate = sql_text(q, 3), .required = sql_int(q, 4), .closed = sql_int(q, 5) != 0};
        int stop = f(c, &row);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

/* ---- items ----------------------------------------------------------------------- */

int store_review_item_add(struct store *s, const struct store_review_item *i, int64_t *ret_id) {
    CAI_CHECK(i->item <= INT64_MAX);
    int rc = sql_do(s,
                    "INSERT INTO review_items(job, round, kind, item, k, position, drawn, gold,"
                    " unaided, second, content) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    "iisiiisiiis", i->job, (int64_t)i->round, i->kind, (int64_t)i->item,
                    (int64_t)i->k, (int64_t)i->position, i->drawn, (int64_t)i->gold,
                    (int64_t)i->unaided, (int64_t)i->second, i->content);
    if (rc == CAI_ESTATE)
        return cai_fail(CAI_ESTATE, "%s %llu/%u of round %u is drawn already", i->kind,
                        (unsigned long long)i->item, i->k, i->round);
    if (rc == 0 && ret_id)
        *ret_id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

#define ITEM_COLUMNS                                                                               \
    "id, job, round, kind, item, k, position, drawn, gold, unaided, second, content"

static struct store_review_item item_of_row(sqlite3_stmt *q) {
    return (struct store_review_item){
        .id = sql_int(q, 0),
        .job = sql_int(q, 1),
        .round = (uint32_t)sql_int(q, 2),
        .kind = sql_text(q, 3),
        .item = (uint64_t)sql_int(q, 4),
        .k = (uint32_t)sql_int(q, 5),
        .position = (uint32_t)sql_int(q, 6),
        .drawn = sql_text(q, 7),
        .gold = sql_int(q, 8) != 0,
        .unaided = sql_int(q, 9) != 0,
        .second = sql_int(q, 10) != 0,
        .content = sql_text(q, 11),
    };
}

int store_review_item_get(struct store *s, int64_t id, struct store_review_item *ret) {
    sqlite3_stmt *q = sql_start(s, "SELECT " ITEM_COLUMNS " FROM review_items WHERE id = ?", "i",
                                id);
    int rc = sql_step(s, q);
    if (rc > 0) {
        *ret = item_of_row(q);
        ret->kind = cai_strdup(ret->kind);
        ret->drawn = cai_strdup(ret->drawn);
        ret->content = cai_strdup(ret->content);
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no item %lld to review", (long long)id);
    return rc < 0 ? rc : 0;
}

void store_review_item_free(struct store_review_item *i) {
    free((char *)i->kind);
    free((char *)i->drawn);
    free((char *)i->content);
    *i = (struct store_review_item){0};
}

int store_review_items_each(struct store *s, int64_t job, int64_t round, const char *kind,
                            int (*f)(void *c, const struct store_review_item *i), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT " ITEM_COLUMNS " FROM review_items"
                                " WHERE (?1 = 0 OR job = ?1) AND (?2 < 0 OR round = ?2)"
                                " AND (?3 IS NULL OR kind = ?3)"
                                " ORDER BY job, round, kind, position",
                                "iis", job, round, kind);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_review_item i = item_of_row(q);
        int stop = f(c, &i);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

/* ---- drafts ---------------------------------------------------------------------- */

int store_review_opened(struct store *s, int64_t item, const char *reader) {
    return sql_do(s,
                  "INSERT INTO review_drafts(item, reader, opened_ms, seen_ms) VALUES(?1, ?2, ?3,"
                  " ?3) ON CONFLICT(item, reader) DO UPDATE SET seen_ms = ?3",
                  "isi", item, reader, cai_wall_ms());
}

int store_review_draft_get(struct store *s, int64_t item, const char *reader,
                           struct store_review_draft *ret) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT version, opened_ms, body FROM review_drafts"
                                " WHERE item = ? AND reader = ?",
                                "is", item, reader);
    int rc = sql_step(s, q);
    *ret = (struct store_review_draft){0};
    if (rc > 0)
        *ret = (struct store_review_draft){sql_int(q, 0), sql_int(q, 1), sql_copy(q, 2)};
    sql_end(s, q);
    if (rc == 0)
        ret->body = cai_strdup("");
    return rc < 0 ? rc : 0;
}

int store_review_draft_set(struct store *s, int64_t item, const char *reader, int64_t version,
                           const char *body, int64_t *ret_version) {
    CAI_TRY(store_review_opened(s, item, reader));
    CAI_TRY(sql_do(s,
                   "UPDATE review_drafts SET version = version + 1, body = ?"
                   " WHERE item = ? AND reader = ? AND version = ?",
                   "sisi", body, item, reader, version));
    if (sql_changes(s) == 0)
        return cai_fail(CAI_ESTATE, "another window has saved item %lld since: open it again",
                        (long long)item);
    *ret_version = version + 1;
    return 0;
}

int store_review_open_elsewhere(struct store *s, int64_t item, const char *reader,
                                int64_t since_ms, bool *ret) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT 1 FROM review_drafts WHERE item = ? AND reader <> ?"
                                " AND seen_ms > ? LIMIT 1",
                                "isi", item, reader, since_ms);
    int rc = sql_step(s, q);
    sql_end(s, q);
    *ret = rc > 0;
    return rc < 0 ? rc : 0;
}
