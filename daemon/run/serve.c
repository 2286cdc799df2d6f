/* serve.c: opening, the event loop, signals, the watchdog, stopping.
 *
 * One thread. A turn: timers, then frames until all sockets are empty, then the schedule,
 * then sleep in poll. ZeroMQ's descriptors are edge-triggered and sending consumes their
 * edge, so a turn drains them all again after anything was sent.
 *
 * Serving → draining (SIGTERM: leases revoked, workers may save a checkpoint, which is
 * still committed) → stopped. A second SIGTERM stops at once: nothing acknowledged is lost
 * either way. */
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "run/keep.h"
#include "run/gate.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <zmq.h>

enum { NOTIFY_MS = 1000, FRAMES_PER_TURN = 256, SHARE_MS = 5000 };

/* ---- opening --------------------------------------------------------------------- */

static int take_lock(struct run *r) {
    CAI_AUTO(mem) char *path = cai_path_join(r->o.state_dir, "lock");
    r->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (r->lock_fd < 0)
        return cai_fail_errno("%s", path);
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return cai_fail(CAI_ESTATE, "another caid serves %s; stop it, or give another --state",
                        r->o.state_dir);
    return 0;
}

/* What a worker must read to prove that it sees this folder. Kept over restarts, so that a
 * worker that is quicker than caid has the right one. */
static int write_nonce(struct run *r) {
    unsigned char bytes[16];
    CAI_AUTO(mem) char *path = cai_path_join(r->o.state_dir, "nonce");
    CAI_AUTO(buf) struct cai_buf old = {0};
    if (cai_file_read(path, 64, &old) == 0 && old.len == sizeof r->nonce - 1) {
        memcpy(r->nonce, old.data, sizeof r->nonce);
        return 0;
    }
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(r->nonce, sizeof r->nonce, bytes, sizeof bytes);
    return cai_file_write_atomic(path, r->nonce, strlen(r->nonce));
}

static int clear_gangs(struct run *r) {
    CAI_AUTO(mem) char *path = cai_path_join(r->o.state_dir, "gangs");
    CAI_AUTO(mem) char *rehearsed = cai_path_join(r->o.state_dir, "estimates");
    CAI_TRY(cai_dir_remove(rehearsed));
    /* A rank of the caid before may still be writing its address; no gang meets that name again. */
    if (cai_dir_remove(path) < 0)
        cai_warn("%s; left for the next start", cai_error_text());
    cai_error_clear();
    return 0;
}

static int open_store(struct run *r) {
    CAI_AUTO(mem) char *path = cai_path_join(r->o.state_dir, "caid.db");
    const char *copy = NULL;
    CAI_TRY(store_renew_log(path));
    CAI_TRY(store_open(path, &r->store));
    int former = store_upgraded(r->store, &copy);
    if (former)
        cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_UPGRADED),
                      "the database had schema %d and is upgraded; as it was, it is in %s", former,
                      copy);
    int64_t epoch = store_epoch_next(r->store);
    CAI_TRY(epoch < 0 ? (int)epoch : 0);
    r->epoch = (uint64_t)epoch;
    return 0;
}

static int open_sockets(struct run *r) {
    r->zmq = zmq_ctx_new();
    CAI_CHECK(r->zmq);
    CAI_AUTO(mem) char *workers = cai_format("ipc://%s/worker", r->o.runtime_dir);
    CAI_AUTO(mem) char *control = cai_format("ipc://%s/control", r->o.runtime_dir);
    CAI_TRY(channel_bind(r->zmq, workers, CHANNEL_TASK_MAX, &r->workers_channel));
    CAI_TRY(channel_bind(r->zmq, control, CHANNEL_CONTROL_MAX, &r->control_channel));
    /* Who is in the group may ask; workers are of the same user. The folder's mode decides who
     * else gets here. */
    if (chmod(control + strlen("ipc://"), 0660) < 0)
        return cai_fail_errno("%s", control);
    return gate_open(r);
}

static int open_signals(struct run *r) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is then an error code, like a full disk */
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return cai_fail_errno("signals");
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return r->signal_fd < 0 ? cai_fail_errno("signals") : 0;
}

static int open_all(struct run *r) {
    CAI_TRY(cai_dir_make(r->o.state_dir));
    CAI_TRY(cai_dir_make(r->o.runtime_dir));
    CAI_TRY(take_lock(r));
    CAI_TRY(open_signals(r)); /* before ZeroMQ's threads, which inherit the mask */
    CAI_TRY(CAI_FAILPOINT("open.store.before"));
    CAI_TRY(open_store(r));
    CAI_TRY(CAI_FAILPOINT("open.store.after"));
    CAI_TRY(clear_gangs(r));
    CAI_TRY(CAI_FAILPOINT("open.gangs.after"));
    CAI_TRY(write_nonce(r));
    CAI_TRY(CAI_FAILPOINT("open.nonce.after"));
    CAI_TRY(turns_load(r));
    CAI_TRY(r->o.front->open(r));
    CAI_TRY(jobs_load(r));
    CAI_TRY(keep_start(r));
    CAI_TRY(open_sockets(r));
    r->o.front->listen(r);
    return CAI_FAILPOINT("open.sockets.after");
}

int run_open(const struct run_options *o, struct run **ret) {
    struct run *r = cai_alloc(sizeof *r);
    *r = (struct run){.o = *o, .lock_fd = -1, .signal_fd = -1, .dirty = true,
                      .started_wall_ms = cai_wall_ms()};
    int rc = open_all(r);
    if (rc < 0)
        run_close(r);
    else
        *ret = r;
    return rc;
}

void run_close(struct run *r) {
    if (!r)
        return;
    r->o.front->close(r);
    r->draining = true; /* what ends here, is no outcome */
    while (r->leases)
        lease_end(r, r->leases);
    turns_count(r);
    workers_free(r);
    jobs_free(r);
    shares_free(&r->shares);
    gate_close(r);
    channel_close(r->workers_channel);
    channel_close(r->control_channel);
    if (r->zmq)
        zmq_ctx_term(r->zmq);
    store_close(r->store);
    cai_buf_free(&r->spawner_in);
    if (r->signal_fd >= 0)
        close(r->signal_fd);
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    free(r);
}

/* ---- events ---------------------------------------------------------------------- */

static void begin_drain(struct run *r) {
    r->draining = true;
    r->drain_until_ms = cai_now_ms() + r->o.config.drain_s * 1000;
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld\nSTATUS=stopping: workers save their work",
               (long long)(r->o.config.drain_s + 10) * 1000000);
    cai_info("stopping: telling workers to save and stop");
    /* What is not at the end of a step by then, is stopped, and has time to say so. */
    (void)CAI_FAILPOINT("stop.drain.before");
    int64_t save_ms = r->o.config.drain_s * 1000 * 4 / 5;
    for (struct lease *l = r->leases; l; l = l->next)
        lease_revoke_saved(r, l, "caid is stopping", save_ms);
}

static void reload(struct run *r) {
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)cai_now_ms() * 1000);
    (void)CAI_FAILPOINT("config.reload.before");
    if (!r->o.config_path)
        cai_info("no configuration file to read again");
    else if (run_config_load(r->o.config_path, &r->o.config) < 0)
        cai_log_about(CAI_LOG_ERROR, CAI_ABOUT(EVENT_CONFIG_WRONG),
                      "%s; the old configuration stays", cai_error_text());
    else
        cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_CONFIG_READ),
                      "configuration read again from %s", r->o.config_path);
    gate_reload(r);
    r->o.front->reload(r);
    cai_log_open("caid", (enum cai_log_level)r->o.config.log_level);
    (void)CAI_FAILPOINT("config.reload.after");
    sd_notify(0, "READY=1");
}

static void on_signals(struct run *r) {
    struct signalfd_siginfo info;
    while (read(r->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            reload(r);
        } else if (r->draining) {
            cai_warn("stopping at once");
            r->drain_until_ms = 0;
        } else {
            begin_drain(r);
        }
    }
}

static void spawner_line(struct run *r, char *line) {
    char name[64];
    int pid = 0, status = 0;
    if (sscanf(line, "exit %63s %d %d", name, &pid, &status) == 3) {
        if (status < 0)
            cai_warn("%s (pid %d) was ended by signal %d", name, pid, -status);
        else
            cai_log(status ? CAI_LOG_WARN : CAI_LOG_INFO, "%s (pid %d) ended with %d", name, pid,
                    status);
        workers_process_ended(r, (uint32_t)pid);
    } else if (sscanf(line, "start %63s %d", name, &pid) == 2) {
        workers_process_started(r, name, (uint32_t)pid);
    } else {
        cai_debug("%s", line);
    }
}

static int on_spawner(struct run *r) {
    char chunk[512];
    ssize_t n = recv(r->o.spawner_fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return cai_fail(CAI_EIO, "the workers' starter is gone; start caid again");
    cai_buf_append(&r->spawner_in, chunk, (size_t)n);
    char *start = r->spawner_in.data, *end;
    while ((end = strchr(start, '\n'))) {
        *end = '\0';
        spawner_line(r, start);
        start = end + 1;
    }
    size_t rest = strlen(start);
    memmove(r->spawner_in.data, start, rest + 1);
    r->spawner_in.len = rest;
    return 0;
}

static int receive_one(struct run *r, struct channel *c) {
    struct channel_peer peer = {0};
    Cai__V1__Frame *frame = NULL;
    int rc = channel_receive(c, &peer, &frame);
    if (rc == CAI_EPROTO) {
        cai_warn("a message was dropped: %s", cai_error_text());
        return 1;
    }
    if (rc > 0) {
        gate_frame(r, &peer, frame);
        cai__v1__frame__free_unpacked(frame, NULL);
    }
    return rc;
}

/* True when all sockets are empty: only then may poll sleep. */
static int drain_sockets(struct run *r, bool *ret_empty) {
    for (int i = 0; i < FRAMES_PER_TURN; i++) {
        int a = receive_one(r, r->workers_channel);
        CAI_TRY(a);
        int b = receive_one(r, r->control_channel);
        CAI_TRY(b);
        int c = gate_turn(r, FRAMES_PER_TURN);
        CAI_TRY(c);
        if (a == 0 && b == 0 && c == 0) {
            *ret_empty = !r->dirty;
            return 0;
        }
        if (r->dirty)
            schedule(r);
    }
    *ret_empty = false;
    return 0;
}

/* ---- the loop -------------------------------------------------------------------- */

static void describe(struct run *r, char *out, size_t size) {
    size_t workers = 0;
    for (struct worker *w = r->workers; w; w = w->next)
        workers++;
    for (struct job_run *j = r->jobs; j; j = j->next) {
        if (j->state != JOB_RUNNING)
            continue;
        snprintf(out, size, "job %lld round %u %s, %zu workers", (long long)j->id, j->round,
                 j->stage ? j->stage->name : "", workers);
        return;
    }
    snprintf(out, size, "idle, %zu workers", workers);
}

/* The loop got here, so it makes progress: only then is the watchdog fed. */
static void notify(struct run *r) {
    char status[sizeof r->status];
    describe(r, status, sizeof status);
    if (strcmp(status, r->status) != 0) {
        memcpy(r->status, status, sizeof status);
        sd_notifyf(0, "WATCHDOG=1\nSTATUS=%s", status);
    } else {
        sd_notify(0, "WATCHDOG=1");
    }
}

static void timers(struct run *r) {
    int64_t now = cai_now_ms();
    if (now >= r->next_beat_ms) {
        r->next_beat_ms = now + HEARTBEAT_MS;
        workers_beat(r);
        keep_beat(r);
        gate_beat(r);
        r->o.front->beat(r);
        r->dirty = r->dirty || r->jobs; /* pauses after failures end by time */
        notify(r);
    }
    late_ask(r);
    if (now >= r->next_share_ms) {
        r->next_share_ms = now + SHARE_MS;
        turns_count(r);
    }
    if (now >= r->next_disk_ms) {
        r->next_disk_ms = now + DISK_CHECK_MS;
        jobs_disk(r);
    }
}

static bool finished(const struct run *r) {
    return r->draining && (!r->leases || cai_now_ms() >= r->drain_until_ms);
}

static int sleep_until_event(struct run *r, bool empty) {
    int64_t silence = workers_next_silence(r), ask = late_next_ask(r), next = r->next_beat_ms;
    int64_t within = -1;
    int fd = r->o.front->wait(r, &within);
    next = silence && silence < next ? silence : next;
    int64_t wait = (ask && ask < next ? ask : next) - cai_now_ms();
    if (within >= 0 && within < wait)
        wait = within;
    struct pollfd p[5 + GATE_FDS] = {{r->signal_fd, POLLIN, 0},
                                     {r->o.spawner_fd, POLLIN, 0}, /* -1 is passed over */
                                     {channel_fd(r->workers_channel), POLLIN, 0},
                                     {channel_fd(r->control_channel), POLLIN, 0},
                                     {fd, POLLIN, 0}};
    size_t fds = 5 + gate_poll(r, p + 5);
    int n = poll(p, fds, !empty || wait < 0 ? 0 : (int)wait);
    if (n < 0 && errno != EINTR)
        return cai_fail_errno("poll");
    if (n > 0 && p[0].revents)
        on_signals(r);
    if (n > 0 && p[1].revents)
        CAI_TRY(on_spawner(r));
    return 0;
}

int run_serve(struct run *r) {
    cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_STARTED), "serves %s, epoch %llu", r->o.state_dir,
                  (unsigned long long)r->epoch);
    sd_notify(0, "READY=1");
    int rc = 0;
    while (rc == 0 && !finished(r)) {
        bool empty = false;
        timers(r);
        if (r->dirty)
            schedule(r);
        rc = drain_sockets(r, &empty);
        /* Whoever spoke while caid itself was held up, is not silent. */
        if (rc == 0 && empty) {
            workers_watch(r);
            late_watch(r);
        }
        if (rc == 0)
            rc = sleep_until_event(r, empty && !r->o.front->busy(r) && !keep_busy(r));
        r->o.front->turn(r);
        keep_turn(r);
    }
    (void)CAI_FAILPOINT("stop.bye.before");
    workers_say_bye(r, "caid is stopping");
    if (rc == 0)
        cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_STOPPED), "stopped");
    return rc;
}
