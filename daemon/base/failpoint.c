/* failpoint.c: the table of failpoints, and what happens at one. Only in builds for tests. */
#include "base/failpoint.h"
#include "base/check.h"
#include "base/error.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* tests/rules compares this with the places: each name once here and once there. */
const char *const cai_failpoints[] = {
    /* daemon/base/file.c */
    "file.rename.before", "file.rename.after", "file.durable.after", "file.write.before",
    "file.sync.before", "folder.make.after", "folder.durable.after",
    /* daemon/hf/safetensors_save.c */
    "weights.sync.before", "weights.sync.after",
    /* daemon/learn/checkpoint.c */
    "checkpoint.begin.before", "checkpoint.state.before", "checkpoint.manifest.before",
    "checkpoint.manifest.after", "checkpoint.rename.before", "checkpoint.rename.after",
    "checkpoint.prune.before", "checkpoint.prune.after",
    /* daemon/model/save.c */
    "model.weights.before", "model.weights.after", "model.rename.before", "model.rename.after",
    /* daemon/control/control.c */
    "request.change.before", "request.key.before", "request.reply.before", "request.reply.after",
    /* daemon/control/constitution.c */
    "constitution.apply.before", "constitution.apply.after", "constitution.rollback.before",
    "constitution.rollback.after",
    /* daemon/control/job.c */
    "submit.freeze.before", "submit.freeze.after", "submit.commit.before", "submit.commit.after",
    "resume.commit.before", "resume.commit.after", "requeue.commit.before",
    "requeue.commit.after",
    /* daemon/run/jobs.c */
    "job.load.before", "job.load.after", "job.state.before", "job.state.after", "job.plan.before",
    "job.plan.after", "job.stage.entered", "job.turn.before", "job.turn.after",
    "job.absorb.begin", "job.ledger.after", "job.absorb.before", "job.absorb.after",
    "job.resumable.before", "job.resumable.after",
    /* daemon/run/leases.c */
    "gang.removed.before", "gang.removed.after", "lease.revoke.before", "lease.grant.before",
    "lease.grant.after", "gang.rank.before", "gang.folder.before", "gang.folder.after",
    "gang.granted.after",
    /* daemon/run/outcomes.c */
    "report.keep.before", "report.keep.after", "report.acknowledged.after",
    "result.absorbed.before", "result.absorbed.after", "result.acknowledged.after",
    "failure.count.before", "failure.count.after",
    /* daemon/review/review.c */
    "review.commit.before", "review.commit.after",
    /* daemon/run/schedule.c */
    "class.pin.before", "class.pin.after",
    /* daemon/run/serve.c */
    "open.store.before", "open.store.after", "open.gangs.after", "open.nonce.after",
    "open.sockets.after", "stop.drain.before", "config.reload.before", "config.reload.after",
    "stop.bye.before",
    /* daemon/store/backup.c */
    "backup.begin.before", "backup.begin.after", "backup.finish.before", "backup.sync.before",
    "backup.sync.after", "backup.step.after",
    /* daemon/store/blobs.c */
    "blob.put.before", "blob.put.after",
    /* daemon/store/store.c */
    "store.schema.before", "store.schema.after", "store.epoch.before", "store.epoch.after",
    /* daemon/worker/desk.c */
    "worker.commit.before", "worker.commit.after",
    /* daemon/worker/loop.c */
    "worker.hello.before", "worker.grant.before", "worker.report.before", "worker.outcome.before",
    "worker.outcome.after",
    /* tools/caictl/folder.c */
    "export.rename.before", "export.rename.after",
    NULL};

enum { POINTS_MAX = 256 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned passes[POINTS_MAX];

static unsigned pass(const char *name) {
    size_t i = 0;
    while (cai_failpoints[i] && strcmp(cai_failpoints[i], name) != 0)
        i++;
    CAI_CHECK(cai_failpoints[i] && i < POINTS_MAX); /* it is missing in the table */
    pthread_mutex_lock(&lock);
    unsigned n = ++passes[i];
    pthread_mutex_unlock(&lock);
    return n;
}

static void trace(const char *name) {
    const char *path = getenv("CAI_FAILPOINT_TRACE");
    if (!path)
        return;
    char line[64];
    int n = snprintf(line, sizeof line, "%s\n", name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        fprintf(stderr, "failpoint: %s cannot be written\n", path);
    if (fd >= 0)
        close(fd);
}

static bool read_line(const char *path, char line[128]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, 127);
    if (fd >= 0)
        close(fd);
    line[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static int act(const char *name, const char *action) {
    int ms = 0;
    fprintf(stderr, "failpoint %s: %s\n", name, action);
    if (strcmp(action, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(action, "abort") == 0)
        abort();
    if (sscanf(action, "delay:%d", &ms) == 1)
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
    return strcmp(action, "error") == 0 ? cai_fail(CAI_EIO, "failpoint %s", name) : 0;
}

int cai_failpoint(const char *name) {
    unsigned n = pass(name), at = 1;
    char line[128], wanted[64], action[32];
    trace(name);
    const char *file = getenv("CAI_FAILPOINT_FILE"), *own = getenv("CAI_FAILPOINT");
    if (own)
        snprintf(line, sizeof line, "%s", own);
    else if (!file || !read_line(file, line))
        return 0;
    if (sscanf(line, "%63s %31s %u", wanted, action, &at) < 2 || strcmp(wanted, name) != 0 ||
        n < at || (own && n > at))
        return 0;
    /* Whoever removes the file is the one. */
    return own || unlink(file) == 0 ? act(name, action) : 0;
}
