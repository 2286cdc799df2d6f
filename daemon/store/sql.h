/* sql.h: the room's own small face of SQLite: cached statements, binding by a format,
 * one mapping of SQLite's codes. Nobody outside daemon/store includes this.
 *
 * Format letters: i int64, d double, s string (NULL binds NULL), b data + size_t.
 * Column readers return "" or 0 for NULL. */
#ifndef CAI_STORE_SQL_H
#define CAI_STORE_SQL_H

#include "store/store.h"
#include <sqlite3.h>

enum { SQL_CACHE = 96 };

struct sql_cached {
    const char *text; /* a literal: compared by address */
    sqlite3_stmt *stmt;
};

struct store {
    sqlite3 *db;
    char *dir; /* of the database file; blobs/ lies in it */
    char *copy;        /* made before an upgrade at opening; NULL without one */
    int upgraded_from; /* schema before; 0 without one */
    struct sql_cached cache[SQL_CACHE];
    size_t n_cached;
};

/* ---- schema.c ---- */
int schema_newest(void);
/* Makes the schema, or upgrades it after a copy; store_open's is schema_newest(). */
int schema_open_to(struct store *s, const char *path, int newest);

/* Code and message for what the connection last failed with. */
int sql_fail(struct store *s, const char *what);
int sql_script(struct store *s, const char *text);

/* A bound statement, ready for sql_step; end with sql_end in every case. `text` must be a
 * literal. NULL: failed, message set. */
sqlite3_stmt *sql_start(struct store *s, const char *text, const char *format, ...);
/* 1 a row, 0 the end, or a code. */
int sql_step(struct store *s, sqlite3_stmt *q);
void sql_end(struct store *s, sqlite3_stmt *q);
/* A statement without rows: start, step, end. A violated key is CAI_ESTATE. */
int sql_do(struct store *s, const char *text, const char *format, ...);
int sql_changes(struct store *s);

const char *sql_text(sqlite3_stmt *q, int column);
char *sql_copy(sqlite3_stmt *q, int column); /* the caller's */
static inline int64_t sql_int(sqlite3_stmt *q, int column) {
    return sqlite3_column_int64(q, column);
}
static inline double sql_real(sqlite3_stmt *q, int column) {
    return sqlite3_column_double(q, column);
}

#endif
