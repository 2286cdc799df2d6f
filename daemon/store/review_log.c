/* review_log.c: the log of people's verdicts: appended, chained by hashes, walked. Nothing changes
 * a row: a verdict is withdrawn by another one.
 *
 * hash = SHA-256 of the row as JSON with its members in order of their names and no spaces:
 * {"body", "content": SHA-256 of the item's content, "event", "item", "job", "prev", "reader",
 * "role", "seq", "undoes", "wall_ms"}; prev = the hash of the row before, 64 zeros in the first. */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "store/review.h"
#include "store/sql.h"
#include <string.h>

static const char none[] = "0000000000000000000000000000000000000000000000000000000000000000";

static int hash_row(const struct store_review_event *e, const char *content,
                    char ret[CAI_SHA256_HEX]) {
    char of_content[CAI_SHA256_HEX];
    cai_sha256(content, strlen(content), of_content);
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:I}", "body", e->body,
                          "content", of_content, "event", e->event, "item", (json_int_t)e->item,
                          "job", (json_int_t)e->job, "prev", e->prev, "reader", e->reader, "role",
                          e->role, "seq", (json_int_t)e->seq, "undoes", (json_int_t)e->undoes,
                          "wall_ms", (json_int_t)e->wall_ms);
    CAI_AUTO(mem) char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(o);
    if (!text)
        return cai_fail(CAI_EINPUT, "row %lld of the review's log is not UTF-8", (long long)e->seq);
    cai_sha256(text, strlen(text), ret);
    return 0;
}

int store_review_head(struct store *s, int64_t *ret_rows, char ret_hash[65]) {
    sqlite3_stmt *q = sql_start(s, "SELECT seq, hash FROM review_log ORDER BY seq DESC LIMIT 1",
                                "");
    int rc = sql_step(s, q);
    *ret_rows = rc > 0 ? sql_int(q, 0) : 0;
    snprintf(ret_hash, 65, "%s", rc > 0 ? sql_text(q, 1) : none);
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}

int store_review_append(struct store *s, struct store_review_event *e) {
    struct store_review_item item;
    int64_t rows;
    CAI_TRY(store_review_head(s, &rows, e->prev));
    CAI_TRY(store_review_item_get(s, e->item, &item));
    e->seq = rows + 1;
    e->wall_ms = cai_wall_ms();
    int rc = hash_row(e, item.content, e->hash);
    store_review_item_free(&item);
    CAI_TRY(rc);
    return sql_do(s,
                  "INSERT INTO review_log(seq, job, item, reader, role, event, body, undoes,"
                  " wall_ms, prev, hash) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                  "iiissssiiss", e->seq, e->job, e->item, e->reader, e->role, e->event, e->body,
                  e->undoes, e->wall_ms, e->prev, e->hash);
}

#define LOG_COLUMNS "seq, job, item, reader, role, event, body, undoes, wall_ms, prev, hash"

static struct store_review_event event_of_row(sqlite3_stmt *q) {
    struct store_review_event e = {
        .seq = sql_int(q, 0),
        .job = sql_int(q, 1),
        .item = sql_int(q, 2),
        .reader = sql_text(q, 3),
        .role = sql_text(q, 4),
        .event = sql_text(q, 5),
        .body = sql_text(q, 6),
        .undoes = sql_int(q, 7),
        .wall_ms = sql_int(q, 8),
    };
    snprintf(e.prev, sizeof e.prev, "%s", sql_text(q, 9));
    snprintf(e.hash, sizeof e.hash, "%s", sql_text(q, 10));
    return e;
}

int store_review_log_each(struct store *s, int64_t job, int64_t item, const char *reader,
                          bool standing, int64_t after,
                          int (*f)(void *c, const struct store_review_event *e), void *c) {
    sqlite3_stmt *q = sql_start(
        s,
        "SELECT " LOG_COLUMNS " FROM review_log AS l WHERE (?1 = 0 OR job = ?1)"
        " AND (?2 = 0 OR item = ?2) AND (?3 IS NULL OR reader = ?3) AND seq > ?4"
        " AND (?5 = 0 OR (event <> 'undo' AND NOT EXISTS"
        " (SELECT 1 FROM review_log AS u WHERE u.undoes = l.seq))) ORDER BY seq",
        "iisii", job, item, reader, after, (int64_t)standing);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_review_event e = event_of_row(q);
        int stop = f(c, &e);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

/* ---- the walk -------------------------------------------------------------------- */

struct walk {
    struct store *s;
    const char *head;
    int64_t rows, broken;
    char last[65], *why;
    size_t size;
    bool known;
};

static int check_row(void *context, const struct store_review_event *e) {
    struct walk *w = context;
    struct store_review_item item = {0};
    char hash[CAI_SHA256_HEX] = "";
    const char *why = NULL;
    int rc = 0;
    if (e->seq != ++w->rows) {
        why = "a row is missing before it, or it was put in";
    } else if (strcmp(e->prev, w->last) != 0) {
        why = "it does not hold the hash of the row before it";
    } else if ((rc = store_review_item_get(w->s, e->item, &item)) == CAI_ENOTFOUND) {
        why = "the item that it judges is gone";
    } else if (rc < 0) {
        return rc;
    } else if (hash_row(e, item.content, hash) < 0 || strcmp(hash, e->hash) != 0) {
        why = "its content, or that of the item it judges, was changed";
    }
    store_review_item_free(&item);
    if (why) {
        cai_error_clear();
        w->broken = w->rows;
        snprintf(w->why, w->size, "%s", why);
        return 1;
    }
    memcpy(w->last, e->hash, sizeof w->last);
    w->known = w->known || (w->head && strcmp(w->head, e->hash) == 0);
    return 0;
}

int store_review_verify(struct store *s, const char *head, int64_t *ret_broken, char *why,
                        size_t size, bool *ret_known) {
    struct walk w = {.s = s, .head = head, .why = why, .size = size};
    memcpy(w.last, none, sizeof w.last);
    *why = '\0';
    int rc = store_review_log_each(s, 0, 0, NULL, false, 0, check_row, &w);
    *ret_broken = w.broken;
    if (ret_known)
        *ret_known = w.known || (head && strcmp(head, none) == 0);
    return rc < 0 ? rc : 0;
}
