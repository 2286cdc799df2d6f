/* sql.c: cached statements, binding, codes. Not for any table. */
#include "base/error.h"
#include "store/sql.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* A quota or a limit on a file's size is a full disk to us: wait for space. */
static bool is_full(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

/* sqlite3_system_errno() is errno after SQLite has cleaned up; the files still know what
 * their own last call failed with. */
static bool file_is_full(sqlite3 *db) {
    int error = 0;
    sqlite3_file *wal = NULL;
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK &&
        is_full(error))
        return true;
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) != SQLITE_OK || !wal ||
        !wal->pMethods)
        return false;
    error = 0;
    return wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK &&
           is_full(error);
}

static int code_of(sqlite3 *db) {
    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_FULL: return CAI_ENOSPC;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return is_full(sqlite3_system_errno(db)) || file_is_full(db) ? CAI_ENOSPC : CAI_EIO;
    case SQLITE_CONSTRAINT: return CAI_ESTATE;
    case SQLITE_NOMEM: return CAI_ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return CAI_ESTATE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return CAI_EINPUT;
    default: return CAI_EIO;
    }
}

int sql_fail(struct store *s, const char *what) {
    int code = code_of(s->db);
    if (code == CAI_ENOSPC)
        return cai_fail(code, "the disk is full: caid's database in %s cannot grow; it goes on by "
                              "itself when there is space", s->dir);
    return cai_fail(code, "the database: %s: %s", what, sqlite3_errmsg(s->db));
}

int sql_script(struct store *s, const char *text) {
    if (sqlite3_exec(s->db, text, NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(s, "statement");
    return 0;
}

/* A cached statement that is being stepped (a callback of an iteration asked again) is
 * left alone; the second user gets a statement of its own. */
static sqlite3_stmt *prepare(struct store *s, const char *text) {
    bool known = false;
    for (size_t i = 0; i < s->n_cached && !known; i++) {
        known = s->cache[i].text == text;
        if (known && !sqlite3_stmt_busy(s->cache[i].stmt))
            return s->cache[i].stmt;
    }
    bool keep = !known && s->n_cached < SQL_CACHE;
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v3(s->db, text, -1, keep ? SQLITE_PREPARE_PERSISTENT : 0, &q, NULL) !=
        SQLITE_OK) {
        sql_fail(s, "statement");
        return NULL;
    }
    if (keep)
        s->cache[s->n_cached++] = (struct sql_cached){text, q};
    return q;
}

static void bind(sqlite3_stmt *q, const char *format, va_list ap) {
    for (int i = 1; *format; i++, format++) {
        int rc = SQLITE_MISUSE;
        if (*format == 'i') {
            rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
        } else if (*format == 'd') {
            rc = sqlite3_bind_double(q, i, va_arg(ap, double));
        } else if (*format == 's') {
            rc = sqlite3_bind_text(q, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
        } else if (*format == 'b') {
            const void *data = va_arg(ap, const void *);
            rc = sqlite3_bind_blob64(q, i, data, va_arg(ap, size_t), SQLITE_STATIC);
        }
        CAI_CHECK(rc == SQLITE_OK);
    }
}

sqlite3_stmt *sql_start(struct store *s, const char *text, const char *format, ...) {
    sqlite3_stmt *q = prepare(s, text);
    if (!q)
        return NULL;
    va_list ap;
    va_start(ap, format);
    bind(q, format, ap);
    va_end(ap);
    return q;
}

int sql_step(struct store *s, sqlite3_stmt *q) {
    if (!q)
        return cai_error_code();
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : sql_fail(s, "statement");
}

void sql_end(struct store *s, sqlite3_stmt *q) {
    if (!q)
        return;
    for (size_t i = 0; i < s->n_cached; i++) {
        if (s->cache[i].stmt == q) {
            sqlite3_reset(q);
            sqlite3_clear_bindings(q);
            return;
        }
    }
    sqlite3_finalize(q);
}

int sql_do(struct store *s, const char *text, const char *format, ...) {
    sqlite3_stmt *q = prepare(s, text);
    if (!q)
        return cai_error_code();
    va_list ap;
    va_start(ap, format);
    bind(q, format, ap);
    va_end(ap);
    int rc = sql_step(s, q);
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}

int sql_changes(struct store *s) { return sqlite3_changes(s->db); }

const char *sql_text(sqlite3_stmt *q, int column) {
    const char *t = (const char *)sqlite3_column_text(q, column);
    return t ? t : "";
}

char *sql_copy(sqlite3_stmt *q, int column) { return cai_strdup(sql_text(q, column)); }
