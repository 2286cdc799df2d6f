/* shares.c: worker seconds by person. How they fade is run/share.c's. */
#include "store/assets.h"
#include "store/sql.h"

int store_share_set(struct store *s, int64_t uid, double seconds, int64_t wall_ms) {
    return sql_do(s, "INSERT OR REPLACE INTO shares(uid, seconds, wall_ms) VALUES(?, ?, ?)", "idi",
                  uid, seconds, wall_ms);
}

int store_shares_each(struct store *s,
                      int (*f)(void *c, int64_t uid, double seconds, int64_t wall_ms), void *c) {
    sqlite3_stmt *q = sql_start(s, "SELECT uid, seconds, wall_ms FROM shares ORDER BY uid", "");
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        int stop = f(c, sql_int(q, 0), sql_real(q, 1), sql_int(q, 2));
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}
