/* backup.c: the verb `backup`: a copy of the database in the state folder, made between
 * other work. Who asked copies it away, with the files it names (caictl).
 *
 * None → copying (a second request joins it) → whole, until the next is asked for. */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "control/control.h"
#include "control/parts.h"

enum {
    PAGES_PER_TURN = 64,
    COPIED_MS = 3600 * 1000 /* for copying blobs away, should whoever does it not say it is done */
};

static char *snapshot_path(const struct run *r) {
    return cai_path_join(r->o.state_dir, "backup.db");
}

void backup_turn(struct run *r) {
    if (!r->front->backup)
        return;
    int rc = store_backup_step(r->front->backup, PAGES_PER_TURN);
    if (rc == 0)
        return;
    store_backup_free(r->front->backup);
    r->front->backup = NULL;
    r->front->backup_failed = rc < 0;
    if (rc < 0)
        cai_log_about(CAI_LOG_ERROR, CAI_ABOUT(EVENT_BACKUP), "%s", cai_error_text());
    else
        cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_BACKUP), "the database is copied for a backup");
}

static int backup(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    CAI_AUTO(mem) char *path = snapshot_path(r);
    if (!r->front->backup) {
        r->front->backup_failed = false;
        CAI_TRY(store_backup_begin(r->store, path, &r->front->backup));
    }
    r->front->backup_until_ms = cai_now_ms() + COPIED_MS;
    *ret = json_pack("{s:s, s:s}", "path", path, "state_dir", r->o.state_dir);
    return 0;
}

static int backup_state(const struct request *q, json_t **ret) {
    if (q->run->front->backup_failed)
        return cai_fail(CAI_EIO, "the copy of the database failed; caid's log says why");
    *ret = json_pack("{s:b}", "pending", q->run->front->backup != NULL);
    return 0;
}

static int backup_end(const struct request *q, json_t **ret) {
    q->run->front->backup_until_ms = 0;
    *ret = json_object();
    return 0;
}

const struct verb backup_verbs[] = {
    {"backup.end", false, "", backup_end},
    {"backup", false, "", backup},
    {"backup.state", false, "", backup_state},
    {0},
};
