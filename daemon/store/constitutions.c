/* constitutions.c: immutable revisions, and which one a name means now. */
#include "base/clock.h"
#include "base/error.h"
#include "store/sql.h"
#include <string.h>

enum { PREFIX_MIN = 6, PREFIX_MAX = 64 };

int store_constitution_add(struct store *s, const char *name, const char *revision,
                           const char *canonical, const char *message) {
    CAI_TRY(sql_do(s, "INSERT OR IGNORE INTO revisions VALUES(?, ?)", "ss", revision, canonical));
    return sql_do(s,
                  "INSERT OR IGNORE INTO constitutions VALUES(?1, ?2, ?3, ?4,"
                  " (SELECT COUNT(*) FROM constitutions WHERE name = ?1))",
                  "ssis", name, revision, cai_wall_ms(), message ? message : "");
}

static bool looks_like_revision(const char *s) {
    size_t n = strlen(s);
    return n >= PREFIX_MIN && n <= PREFIX_MAX && strspn(s, "0123456789abcdef") == n;
}

static int by_prefix(struct store *s, const char *prefix, char **ret_revision,
                     char **ret_canonical) {
    /* Hexadecimal digits only, so no wildcard can be in it. */
    sqlite3_stmt *q = sql_start(
        s, "SELECT revision, canonical FROM revisions WHERE revision GLOB ? || '*' LIMIT 2", "s",
        prefix);
    int rc = sql_step(s, q);
    if (rc > 0) {
        char *revision = sql_copy(q, 0), *canonical = sql_copy(q, 1);
        rc = sql_step(s, q);
        if (rc == 0) {
            *ret_revision = revision;
            *ret_canonical = canonical;
            sql_end(s, q);
            return 1;
        }
        free(revision);
        free(canonical);
        if (rc > 0)
            rc = cai_fail(CAI_EINPUT, "several revisions begin with %s: give more digits", prefix);
    }
    sql_end(s, q);
    return rc;
}

int store_constitution_get(struct store *s, const char *name_or_revision, char **ret_revision,
                           char **ret_canonical) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT r.revision, r.canonical FROM current c JOIN revisions r"
                                " ON r.revision = c.revision WHERE c.name = ?",
                                "s", name_or_revision);
    int rc = sql_step(s, q);
    if (rc > 0) {
        *ret_revision = sql_copy(q, 0);
        *ret_canonical = sql_copy(q, 1);
    }
    sql_end(s, q);
    if (rc == 0 && looks_like_revision(name_or_revision))
        rc = by_prefix(s, name_or_revision, ret_revision, ret_canonical);
    if (rc == 0)
        return cai_fail(CAI_ENOTFOUND,
                        "there is no constitution '%s'; 'caictl constitution list' shows those "
                        "that were applied",
                        name_or_revision);
    return rc < 0 ? rc : 0;
}

int store_constitution_has(struct store *s, const char *name, const char *revision) {
    sqlite3_stmt *q = sql_start(
        s, "SELECT 1 FROM constitutions WHERE name = ? AND revision = ?", "ss", name, revision);
    int rc = sql_step(s, q);
    sql_end(s, q);
    return rc;
}

int store_constitution_set_current(struct store *s, const char *name, const char *revision) {
    CAI_TRY(sql_do(s,
                   "INSERT INTO current SELECT name, revision FROM constitutions"
                   " WHERE name = ? AND revision = ?"
                   " ON CONFLICT(name) DO UPDATE SET revision = excluded.revision",
                   "ss", name, revision));
    if (sql_changes(s) == 0)
        return cai_fail(CAI_ENOTFOUND, "constitution '%s' has no revision %.12s", name, revision);
    return 0;
}

int store_constitutions_each(struct store *s,
                             int (*f)(void *c, const char *name, const char *revision,
                                      int64_t wall_ms, const char *message, bool current),
                             void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT k.name, k.revision, k.wall_ms, k.message,"
                                " k.revision IS c.revision FROM constitutions k"
                                " LEFT JOIN current c ON c.name = k.name"
                                " ORDER BY k.name, k.position",
                                "");
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        int stop = f(c, sql_text(q, 0), sql_text(q, 1), sql_int(q, 2), sql_text(q, 3),
                     sql_int(q, 4) != 0);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}
