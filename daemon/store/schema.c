/* schema.c: the tables, as steps: a database of schema N has had the first N. A step that was
 * released is never changed; a change is a step of its own behind it.
 *
 * Older → copied whole to DATABASE.schema-N, durable → the missing steps in one transaction →
 * present. Newer → refused, and left as it is. Not for what is in the tables. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "store/sql.h"
#include <string.h>
#include <unistd.h>

enum { APPLICATION_ID = 0x63616964 /* "caid" */ };

static const char first[] =
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

/* Folders that caid has made or was given, by a number for people; `gone`: enum folder_state. */
static const char folders[] =
    "CREATE TABLE folders(number INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE,"
    " job INTEGER NOT NULL, pinned INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '',"
    " gone INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '');"
    "CREATE INDEX folders_job ON folders(job, number);"
    "CREATE INDEX folders_going ON folders(number) WHERE gone = 1;"
    "CREATE INDEX models_path ON models(path);"
    "INSERT INTO folders(path, job) SELECT path, MIN(job) FROM models GROUP BY path"
    " ORDER BY MIN(job), MIN(round), path;";

/* Which jobs have not ended, or did lately, without a look at their rows. */
static const char ended[] = "CREATE INDEX jobs_ended ON jobs(finished_ms, id, state);";

/* Several people: who stopped a job, whose turn it is, what they have stored. */
static const char people[] =
    "ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN stopped_by TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE shares(uid INTEGER PRIMARY KEY, seconds REAL NOT NULL,"
    " wall_ms INTEGER NOT NULL);"
    "CREATE TABLE assets(kind TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL,"
    " uid INTEGER NOT NULL, bytes INTEGER NOT NULL, files INTEGER NOT NULL,"
    " wall_ms INTEGER NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;"
    "CREATE TABLE uploads(id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
    " name TEXT NOT NULL, hash TEXT NOT NULL, uid INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " files INTEGER NOT NULL, wall_ms INTEGER NOT NULL, UNIQUE(kind, name));"
    "CREATE TABLE upload_files(upload INTEGER NOT NULL, file INTEGER NOT NULL,"
    " path TEXT NOT NULL, bytes INTEGER NOT NULL, hash TEXT NOT NULL,"
    " have INTEGER NOT NULL DEFAULT 0, state BLOB, PRIMARY KEY(upload, file)) WITHOUT ROWID;";

/* What people are asked to judge, and their verdicts. Items and the log are only ever added to. */
static const char review[] =
    "CREATE TABLE review_queues(job INTEGER NOT NULL, round INTEGER NOT NULL, kind TEXT NOT NULL,"
    " gate TEXT NOT NULL, required INTEGER NOT NULL, closed INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY(job, round, kind)) WITHOUT ROWID;"
    "CREATE TABLE review_items(id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL,"
    " round INTEGER NOT NULL, kind TEXT NOT NULL, item INTEGER NOT NULL, k INTEGER NOT NULL,"
    " position INTEGER NOT NULL, drawn TEXT NOT NULL, gold INTEGER NOT NULL,"
    " unaided INTEGER NOT NULL, second INTEGER NOT NULL, content TEXT NOT NULL,"
    " UNIQUE(job, round, kind, position), UNIQUE(job, round, kind, item, k));"
    "CREATE TABLE review_log(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, item INTEGER NOT NULL,"
    " reader TEXT NOT NULL, role TEXT NOT NULL, event TEXT NOT NULL, body TEXT NOT NULL,"
    " undoes INTEGER NOT NULL, wall_ms INTEGER NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL);"
    "CREATE INDEX review_log_job ON review_log(job, item, seq);"
    "CREATE INDEX review_log_undoes ON review_log(undoes) WHERE undoes > 0;"
    "CREATE TABLE review_drafts(item INTEGER NOT NULL, reader TEXT NOT NULL,"
    " version INTEGER NOT NULL DEFAULT 0, opened_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,"
    " body TEXT NOT NULL DEFAULT '', PRIMARY KEY(item, reader)) WITHOUT ROWID;"
    "CREATE TRIGGER review_log_stays BEFORE UPDATE ON review_log BEGIN"
    " SELECT RAISE(ABORT, 'the log of verdicts is only added to'); END;"
    "CREATE TRIGGER review_log_whole BEFORE DELETE ON review_log BEGIN"
    " SELECT RAISE(ABORT, 'the log of verdicts is only added to'); END;"
    "CREATE TRIGGER review_items_stay BEFORE UPDATE ON review_items BEGIN"
    " SELECT RAISE(ABORT, 'what was shown is not changed'); END;"
    "CREATE TRIGGER review_items_whole BEFORE DELETE ON review_items BEGIN"
    " SELECT RAISE(ABORT, 'what was shown is not changed'); END;";

/* Bytes that the task's worker held at most; 0 = not known. */
static const char held[] = "ALTER TABLE tasks ADD COLUMN held INTEGER NOT NULL DEFAULT 0;";

static const char *const steps[] = {first, folders, ended, people, review, held};

int schema_newest(void) { return (int)CAI_COUNT(steps); }

static int pragma_int(struct store *s, const char *text, int64_t *ret) {
    sqlite3_stmt *q = sql_start(s, text, "");
    int rc = sql_step(s, q);
    if (rc > 0)
        *ret = sql_int(q, 0);
    sql_end(s, q);
    return rc < 0 ? rc : 0;
}

/* Steps after the `from`-th up to the `to`-th, whole or not at all. */
static int run_steps(struct store *s, int from, int to) {
    char pragma[96];
    CAI_TRY(store_begin(s));
    int rc = 0;
    for (int i = from; i < to && rc == 0; i++)
        rc = sql_script(s, steps[i]);
    snprintf(pragma, sizeof pragma, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             APPLICATION_ID, to);
    if (rc == 0)
        rc = sql_script(s, pragma);
    if (rc == 0)
        rc = CAI_FAILPOINT("store.schema.before");
    rc = store_end(s, rc);
    return rc < 0 ? rc : CAI_FAILPOINT("store.schema.after");
}

static int copy_first(struct store *s, const char *path, int version, char **ret_copy) {
    CAI_AUTO(mem) char *copy = cai_format("%s.schema-%d", path, version);
    CAI_AUTO(mem) char *temporary = cai_format("%s.tmp", copy);
    struct store_backup *b = NULL;
    int rc = store_backup_begin(s, temporary, &b);
    while (rc == 0)
        rc = store_backup_step(b, -1);
    store_backup_free(b);
    if (rc > 0)
        rc = cai_file_rename_durable(temporary, copy);
    if (rc < 0)
        return cai_fail_in("%s has schema %d and must be copied before it is upgraded: make room "
                           "beside it, then start caid again", path, version);
    *ret_copy = copy;
    copy = NULL;
    return 0;
}

int schema_open_to(struct store *s, const char *path, int newest) {
    int64_t application = 0, version = 0;
    CAI_TRY(pragma_int(s, "PRAGMA application_id", &application));
    CAI_TRY(pragma_int(s, "PRAGMA user_version", &version));
    if (application == 0 && version == 0)
        return run_steps(s, 0, newest);
    if (application != APPLICATION_ID)
        return cai_fail(CAI_EINPUT, "%s is a database of another program", path);
    if (version > newest)
        return cai_fail(CAI_EINPUT,
                        "%s was written by a newer caid (schema %lld, this program knows %d): "
                        "install that caid again; or put its copy %s.schema-%d, made when it was "
                        "upgraded, in its place, and lose what came after; or give another --state",
                        path, (long long)version, newest, path, newest);
    if (version < 1)
        return cai_fail(CAI_EINPUT, "%s: schema %lld was never one of caid's", path,
                        (long long)version);
    if (version == newest)
        return 0;
    CAI_TRY(copy_first(s, path, (int)version, &s->copy));
    s->upgraded_from = (int)version;
    return run_steps(s, (int)version, newest);
}
