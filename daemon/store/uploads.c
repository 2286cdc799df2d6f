/* uploads.c: what is announced and not whole yet: an upload and the files in it, each with how
 * many of its bytes are durable and the state of the hash over them, so that a caid that was
 * killed goes on there without reading them again. */
#include "base/clock.h"
#include "base/error.h"
#include "store/assets.h"
#include "store/sql.h"

int store_upload_add(struct store *s, const struct store_upload *u, int64_t *ret_id) {
    int rc = sql_do(s,
                    "INSERT INTO uploads(kind, name, hash, uid, bytes, files, wall_ms)"
                    " VALUES(?, ?, ?, ?, ?, ?, ?)",
                    "sssiiii", u->kind, u->name, u->hash, u->uid, u->bytes, u->files,
                    cai_wall_ms());
    if (rc == CAI_ESTATE)
        return cai_fail(rc, "a %s '%s' is being uploaded already", u->kind, u->name);
    CAI_TRY(rc);
    *ret_id = sqlite3_last_insert_rowid(s->db);
    return 0;
}

#define UPLOAD_COLUMNS                                                                             \
    "SELECT id, kind, name, hash, uid, bytes, files, wall_ms, (SELECT TOTAL(have) FROM"           \
    " upload_files WHERE upload = id) FROM uploads "

static struct store_upload upload_of_row(sqlite3_stmt *q) {
    struct store_upload u = {.id = sql_int(q, 0), .kind = sql_text(q, 1), .name = sql_text(q, 2),
                             .uid = sql_int(q, 4), .bytes = sql_int(q, 5), .files = sql_int(q, 6),
                             .wall_ms = sql_int(q, 7), .have = sql_int(q, 8)};
    snprintf(u.hash, sizeof u.hash, "%s", sql_text(q, 3));
    return u;
}

int store_upload_get(struct store *s, int64_t id, struct store_upload *ret, char ret_kind[8],
                     char ret_name[64]) {
    sqlite3_stmt *q = sql_start(s, UPLOAD_COLUMNS "WHERE id = ?", "i", id);
    int rc = sql_step(s, q);
    if (rc > 0) {
        *ret = upload_of_row(q);
        snprintf(ret_kind, 8, "%s", ret->kind);
        snprintf(ret_name, 64, "%s", ret->name);
        ret->kind = ret_kind;
        ret->name = ret_name;
    }
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "there is no upload %lld", (long long)id);
    return rc < 0 ? rc : 0;
}

int store_upload_find(struct store *s, const char *kind, const char *name, int64_t *ret_id) {
    sqlite3_stmt *q =
        sql_start(s, "SELECT id FROM uploads WHERE kind = ? AND name = ?", "ss", kind, name);
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret_id = sql_int(q, 0);
    sql_end(s, q);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND, "no %s '%s' is being uploaded", kind, name);
    return rc < 0 ? rc : 0;
}

int store_upload_remove(struct store *s, int64_t id) {
    CAI_TRY(sql_do(s, "DELETE FROM upload_files WHERE upload = ?", "i", id));
    return sql_do(s, "DELETE FROM uploads WHERE id = ?", "i", id);
}

int store_upload_touch(struct store *s, int64_t id) {
    return sql_do(s, "UPDATE uploads SET wall_ms = ? WHERE id = ?", "ii", cai_wall_ms(), id);
}

int store_uploads_each(struct store *s, int (*f)(void *c, const struct store_upload *u), void *c) {
    sqlite3_stmt *q = sql_start(s, UPLOAD_COLUMNS "ORDER BY kind, name", "");
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_upload u = upload_of_row(q);
        int stop = f(c, &u);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}

int store_upload_file_add(struct store *s, int64_t upload, const struct store_upload_file *f) {
    return sql_do(s, "INSERT INTO upload_files(upload, file, path, bytes, hash)"
                     " VALUES(?, ?, ?, ?, ?)",
                  "iisis", upload, (int64_t)f->file, f->path, f->bytes, f->hash);
}

int store_upload_file_have(struct store *s, int64_t upload, uint32_t file, int64_t have,
                           const void *state, size_t state_len) {
    return sql_do(s, "UPDATE upload_files SET have = ?, state = ? WHERE upload = ? AND file = ?",
                  "ibii", have, state, state_len, upload, (int64_t)file);
}

int store_upload_files_each(struct store *s, int64_t upload, int64_t file,
                            int (*f)(void *c, const struct store_upload_file *x), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT file, path, bytes, hash, have, state FROM upload_files"
                                " WHERE upload = ?1 AND (?2 < 0 OR file = ?2) ORDER BY file",
                                "ii", upload, file);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_upload_file x = {.file = (uint32_t)sql_int(q, 0), .path = sql_text(q, 1),
                                      .bytes = sql_int(q, 2), .hash = sql_text(q, 3),
                                      .have = sql_int(q, 4), .state = sqlite3_column_blob(q, 5),
                                      .state_len = (size_t)sqlite3_column_bytes(q, 5)};
        int stop = f(c, &x);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}
