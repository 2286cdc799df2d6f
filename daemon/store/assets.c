/* assets.c: names of stored models and data, and the jobs that refer to them. */
#include "store/assets.h"
#include "base/clock.h"
#include "base/error.h"
#include "store/sql.h"

int store_asset_add(struct store *s, const struct store_asset *a) {
    int rc = sql_do(s, "INSERT INTO assets VALUES(?, ?, ?, ?, ?, ?, ?)", "sssiiii", a->kind,
                    a->name, a->hash, a->uid, a->bytes, a->files, cai_wall_ms());
    return rc == CAI_ESTATE ? cai_fail(rc, "there is a %s '%s' already", a->kind, a->name) : rc;
}

static struct store_asset asset_of_row(sqlite3_stmt *q) {
    struct store_asset a = {.kind = sql_text(q, 0), .name = sql_text(q, 1), .uid = sql_int(q, 3),
                            .bytes = sql_int(q, 4), .files = sql_int(q, 5),
                            .wall_ms = sql_int(q, 6)};
    snprintf(a.hash, sizeof a.hash, "%s", sql_text(q, 2));
    return a;
}

#define ASSET_COLUMNS "SELECT kind, name, hash, uid, bytes, files, wall_ms FROM assets "

int store_asset_get(struct store *s, const char *kind, const char *name, struct store_asset *ret) {
    sqlite3_stmt *q = sql_start(s, ASSET_COLUMNS "WHERE kind = ? AND name = ?", "ss", kind, name);
    int rc = sql_step(s, q);
    if (rc > 0) {
        *ret = asset_of_row(q);
        ret->kind = kind;
        ret->name = name;
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no stored %s '%s'; 'caictl %s list' shows what "
                        "there is", kind, name, kind);
    return rc < 0 ? rc : 0;
}

int store_asset_remove(struct store *s, const char *kind, const char *name) {
    return sql_do(s, "DELETE FROM assets WHERE kind = ? AND name = ?", "ss", kind, name);
}

int store_assets_each(struct store *s, int (*f)(void *c, const struct store_asset *a), void *c) {
    sqlite3_stmt *q = sql_start(s, ASSET_COLUMNS "ORDER BY kind, name", "");
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_asset a = asset_of_row(q);
        int stop = f(c, &a);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

static int one_integer(struct store *s, sqlite3_stmt *q, int64_t *ret) {
    int rc = sql_step(s, q);
    *ret = rc > 0 ? sql_int(q, 0) : 0;
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}

int store_asset_names(struct store *s, const char *kind, const char *hash, int64_t *ret) {
    return one_integer(s, sql_start(s, "SELECT COUNT(*) FROM assets WHERE kind = ? AND hash = ?",
                                    "ss", kind, hash), ret);
}

int store_asset_users(struct store *s, const char *hash, int64_t *ret_open, int64_t *ret_over) {
    CAI_TRY(one_integer(s, sql_start(s,
                                     "SELECT MIN(id) FROM jobs WHERE finished_ms = 0"
                                     " AND instr(spec, ?) > 0",
                                     "s", hash), ret_open));
    return one_integer(s, sql_start(s,
                                    "SELECT MIN(id) FROM jobs WHERE finished_ms > 0"
                                    " AND instr(spec, ?) > 0",
                                    "s", hash), ret_over);
}

int store_asset_bytes(struct store *s, int64_t uid, int64_t *ret) {
    return one_integer(s, sql_start(s,
                                    "SELECT (SELECT TOTAL(bytes) FROM assets WHERE uid = ?1) +"
                                    " (SELECT TOTAL(bytes) FROM uploads WHERE uid = ?1)",
                                    "i", uid), ret);
}
