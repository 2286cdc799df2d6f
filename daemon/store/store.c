/* store.c: opening, schema, transactions, epoch. Tables have files of their own.
 *
 * One connection in exclusive mode: no second process can open the database, and the
 * WAL index lives in memory. synchronous=FULL: a commit that returned is on the disk. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "store/sql.h"
#include <string.h>

enum { SCHEMA_VERSION = 1, APPLICATION_ID = 0x63616964 /* "caid" */ };

static const char schema[] =
    "CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE jobs(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
    " spec TEXT NOT NULL, constitution TEXT NOT NULL, state INTEGER NOT NULL,"
    " reason TEXT NOT NULL DEFAULT '', gate TEXT NOT NULL DEFAULT '',"
    " accepted TEXT NOT NULL DEFAULT '', round INTEGER NOT NULL DEFAULT 0,"
    " stage TEXT NOT NULL DEFAULT '', planned INTEGER NOT NULL DEFAULT 0,"
    " numeric_class TEXT NOT NULL DEFAULT '', uid INTEGER NOT NULL,"
    " submitted_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL DEFAULT 0,"
    " finished_ms INTEGER NOT NULL DEFAULT 0, request_key TEXT UNIQUE);"
    "CREATE TABLE tasks(id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL,"
    " round INTEGER NOT NULL, stage TEXT NOT NULL, phase TEXT NOT NULL,"
    " chunk INTEGER NOT NULL, gang INTEGER NOT NULL, payload BLOB,"
    " failures INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0,"
    " result_hash TEXT, seconds REAL, tokens INTEGER,"
    " UNIQUE(job, round, stage, phase, chunk));"
    /* Covers the queue's query, so that looking for work never reads payloads. */
    "CREATE INDEX tasks_open ON tasks(job, round, stage, phase, chunk, gang, failures)"
    " WHERE done = 0;"
    "CREATE TABLE examples(job INTEGER NOT NULL, round INTEGER NOT NULL, stage TEXT NOT NULL,"
    " item INTEGER NOT NULL, kind TEXT NOT NULL, k INTEGER NOT NULL, text TEXT NOT NULL,"
    " principle TEXT NOT NULL, revision TEXT NOT NULL, model TEXT NOT NULL,"
    " detail TEXT NOT NULL, PRIMARY KEY(job, round, stage, item, kind, k)) WITHOUT ROWID;"
    "CREATE TABLE labels(job INTEGER NOT NULL, round INTEGER NOT NULL, item INTEGER NOT NULL,"
    " k INTEGER NOT NULL, source TEXT NOT NULL, principle TEXT NOT NULL,"
    " revision TEXT NOT NULL, model TEXT NOT NULL, p REAL NOT NULL, p_ab REAL NOT NULL,"
    " p_ba REAL NOT NULL, mass_ab REAL NOT NULL, mass_ba REAL NOT NULL,"
    " held_out INTEGER NOT NULL, PRIMARY KEY(job, round, item, k, source)) WITHOUT ROWID;"
    "CREATE TABLE models(job INTEGER NOT NULL, round INTEGER NOT NULL, stage TEXT NOT NULL,"
    " kind TEXT NOT NULL, k INTEGER NOT NULL, step INTEGER NOT NULL, path TEXT NOT NULL,"
    " hash TEXT NOT NULL, provenance TEXT NOT NULL,"
    " PRIMARY KEY(job, round, stage, kind, k, step)) WITHOUT ROWID;"
    "CREATE TABLE metrics(job INTEGER NOT NULL, round INTEGER NOT NULL, stage TEXT NOT NULL,"
    " name TEXT NOT NULL, step INTEGER NOT NULL, value REAL,"
    " PRIMARY KEY(job, round, stage, name, step)) WITHOUT ROWID;"
    "CREATE TABLE events(id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL,"
    " wall_ms INTEGER NOT NULL, level INTEGER NOT NULL, text TEXT NOT NULL);"
    "CREATE INDEX events_job ON events(job, id);"
    "CREATE TABLE revisions(revision TEXT PRIMARY KEY, canonical TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE constitutions(name TEXT NOT NULL, revision TEXT NOT NULL,"
    " wall_ms INTEGER NOT NULL, message TEXT NOT NULL, position INTEGER NOT NULL,"
    " PRIMARY KEY(name, revision)) WITHOUT ROWID;"
    "CREATE TABLE current(name TEXT PRIMARY KEY, revision TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE requests(key TEXT PRIMARY KEY, verb TEXT NOT NULL, exit INTEGER NOT NULL,"
    " error TEXT NOT NULL, json TEXT NOT NULL, wall_ms INTEGER NOT NULL) WITHOUT ROWID;";

static int pragma_int(struct store *s, const char *text, int64_t *ret) {
    sqlite3_stmt *q = sql_start(s, text, "");
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret = sql_int(q, 0);
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}

static int make_schema(struct store *s) {
    char pragma[96];
    CAI_TRY(store_begin(s));
    int rc = sql_script(s, schema);
    if (rc == 0) {
        snprintf(pragma, sizeof pragma, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
                 APPLICATION_ID, SCHEMA_VERSION);
        rc = sql_script(s, pragma);
    }
    if (rc == 0)
        rc = CAI_FAILPOINT("store.schema.before");
    if (rc == 0)
        rc = store_commit(s);
    if (rc < 0)
        store_rollback(s);
    return rc < 0 ? rc : CAI_FAILPOINT("store.schema.after");
}

static int check_schema(struct store *s, const char *path) {
    int64_t application = 0, version = 0;
    CAI_TRY(pragma_int(s, "PRAGMA application_id", &application));
    CAI_TRY(pragma_int(s, "PRAGMA user_version", &version));
    if (application == 0 && version == 0)
        return make_schema(s);
    if (application != APPLICATION_ID)
        return cai_fail(CAI_EINPUT, "%s is a database of another program", path);
    if (version > SCHEMA_VERSION)
        return cai_fail(CAI_EINPUT,
                        "%s was written by a newer caid (schema %lld, this program knows %d): "
                        "start the newer caid, or give another state folder",
                        path, (long long)version, SCHEMA_VERSION);
    return 0;
}

static int open_database(struct store *s, const char *path) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db ? sql_fail(s, path) : cai_fail(CAI_ENOMEM, "no memory for a database");
    sqlite3_extended_result_codes(s->db, 1);
    CAI_TRY(sql_script(s, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                          "PRAGMA synchronous=FULL; PRAGMA cache_size=-4000;"
                          "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
                          "PRAGMA journal_size_limit=16777216; PRAGMA cell_size_check=ON;"));
    return check_schema(s, path);
}

int store_open(const char *path, struct store **ret) {
    struct store *s = cai_alloc(sizeof *s);
    const char *slash = strrchr(path, '/');
    s->dir = slash ? cai_strndup(path, (size_t)(slash - path)) : cai_strdup(".");
    int rc = open_database(s, path);
    if (rc < 0) {
        store_close(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n_cached; i++)
        sqlite3_finalize(s->cache[i].stmt);
    sqlite3_close(s->db);
    free(s->dir);
    free(s);
}

int store_begin(struct store *s) { return sql_do(s, "BEGIN IMMEDIATE", ""); }
int store_commit(struct store *s) { return sql_do(s, "COMMIT", ""); }

void store_rollback(struct store *s) {
    /* SQLite may have rolled back by itself when the disk was full. */
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

int64_t store_epoch_next(struct store *s) {
    CAI_TRY(CAI_FAILPOINT("store.epoch.before"));
    CAI_TRY(sql_do(s,
                   "INSERT INTO counters VALUES('epoch', 1)"
                   " ON CONFLICT(name) DO UPDATE SET value = value + 1",
                   ""));
    CAI_TRY(CAI_FAILPOINT("store.epoch.after"));
    int64_t epoch = 0;
    CAI_TRY(pragma_int(s, "SELECT value FROM counters WHERE name = 'epoch'", &epoch));
    return epoch;
}
