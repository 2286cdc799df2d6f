/* events.c: what happened to a job, for people. Never prompt or reply text. */
#include "base/clock.h"
#include "store/sql.h"

int store_event_add(struct store *s, int64_t job, int level, const char *text) {
    return sql_do(s, "INSERT INTO events(job, wall_ms, level, text) VALUES(?, ?, ?, ?)", "iiis",
                  job, cai_wall_ms(), (int64_t)level, text);
}

int store_events_each(struct store *s, int64_t job, int64_t after_id,
                      int (*f)(void *c, int64_t id, int64_t wall_ms, int level, const char *text),
                      void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT id, wall_ms, level, text FROM events"
                                " WHERE job = ? AND id > ? ORDER BY id",
                                "ii", job, after_id);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        int stop = f(c, sql_int(q, 0), sql_int(q, 1), (int)sql_int(q, 2), sql_text(q, 3));
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}
