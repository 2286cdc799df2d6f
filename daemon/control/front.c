/* front.c: this room as the loop knows it (run/front.h). Closed → open (uploads are here) → listening
 * (pages too) → closed. */
#include "control/front.h"

#include "control/assets.h"
#include "control/pages.h"
#include "control/parts.h"
#include "control/review_wake.h"
#include "run/front.h"
#include "web/web.h"

static int open_front(struct run *r) {
    r->front = cai_alloc(sizeof *r->front);
    return assets_open(r);
}

static void close_front(struct run *r) {
    if (!r->front)
        return;
    pages_close(r);
    trials_free(r);
    estimates_free(r);
    store_backup_free(r->front->backup);
    assets_close(r);
    free(r->front);
    r->front = NULL;
}

static void beat(struct run *r) {
    estimates_beat(r);
    review_wake(r);
}

static void turn(struct run *r) {
    web_turn(r->front->web);
    backup_turn(r);
}

static bool busy(const struct run *r) { return r->front->backup != NULL; }

static int wait_for(const struct run *r, int64_t *ret_within_ms) {
    *ret_within_ms = web_wait_ms(r->front->web);
    return web_fd(r->front->web);
}

static void plan(struct run *r) {
    trials_schedule(r);
    estimates_schedule(r);
}

static bool outcome(struct run *r, struct worker *w, const Cai__V1__Done *done,
                    const Cai__V1__Failed *failed) {
    return trial_outcome(r, w, done, failed) || estimate_outcome(r, w, done, failed);
}

static void lost(struct run *r, struct worker *w) {
    trials_lost(r, w);
    estimates_lost(r, w);
}

const struct run_front control_front = {
    .open = open_front,
    .listen = pages_open,
    .reload = pages_reload,
    .close = close_front,
    .beat = beat,
    .turn = turn,
    .busy = busy,
    .wait = wait_for,
    .frame = control_frame,
    .refuse = control_refuse,
    .changes = control_changes,
    .schedule = plan,
    .report = estimate_report,
    .outcome = outcome,
    .lost = lost,
    .uses = trials_name,
};
