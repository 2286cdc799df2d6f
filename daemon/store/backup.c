/* backup.c: a copy of the database as it is at one moment, made while it is in use, a few
 * pages at a time: the copier is caid's only thread. What this connection changes meanwhile
 * reaches the copy too, so that it is of the moment of the last step.
 *
 * Begun → stepped until done → finished (the file is durable), or given up (it is gone). */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "store/sql.h"
#include <unistd.h>

struct store_backup {
    struct store *store;
    sqlite3 *to;
    sqlite3_backup *copy;
    char *path;
};

void store_backup_free(struct store_backup *b) {
    if (!b)
        return;
    bool complete = !b->copy && !b->to;
    if (b->copy)
        sqlite3_backup_finish(b->copy);
    if (b->to)
        sqlite3_close(b->to);
    if (!complete)
        unlink(b->path);
    free(b->path);
    free(b);
}

int store_backup_begin(struct store *s, const char *path, struct store_backup **ret) {
    struct store_backup *b = cai_alloc(sizeof *b);
    *b = (struct store_backup){.store = s, .path = cai_strdup(path)};
    if (CAI_FAILPOINT("backup.begin.before") < 0) {
        store_backup_free(b);
        return cai_error_code();
    }
    unlink(path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &b->to, flags, NULL) == SQLITE_OK)
        b->copy = sqlite3_backup_init(b->to, "main", s->db, "main");
    if (b->copy) {
        (void)CAI_FAILPOINT("backup.begin.after");
        *ret = b;
        return 0;
    }
    int rc = cai_fail(CAI_EIO, "cannot write a backup to %s: %s", path,
                      b->to ? sqlite3_errmsg(b->to) : "no memory");
    store_backup_free(b);
    return rc;
}

static int finish(struct store_backup *b) {
    CAI_TRY(CAI_FAILPOINT("backup.finish.before"));
    int rc = sqlite3_backup_finish(b->copy);
    b->copy = NULL;
    /* One file, without a log beside it. */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(b->to, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return cai_fail(CAI_EIO, "the backup %s failed: %s", b->path, sqlite3_errstr(rc));
    sqlite3_close(b->to);
    b->to = NULL;
    CAI_TRY(CAI_FAILPOINT("backup.sync.before"));
    CAI_TRY(cai_file_sync(b->path));
    return CAI_FAILPOINT("backup.sync.after");
}

int store_backup_step(struct store_backup *b, int pages) {
    int rc = sqlite3_backup_step(b->copy, pages);
    if (rc == SQLITE_DONE) {
        CAI_TRY(finish(b));
        return 1;
    }
    CAI_TRY(CAI_FAILPOINT("backup.step.after"));
    if (rc == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED)
        return 0;
    return cai_fail((rc & 0xff) == SQLITE_FULL ? CAI_ENOSPC : CAI_EIO, "the backup %s failed: %s",
                    b->path, sqlite3_errstr(rc));
}
