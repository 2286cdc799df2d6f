/* loop.c: a worker's control thread: hello, heartbeats, grants, outcomes.
 *
 * Strange (no epoch: says Hello every second, once no task runs) → welcomed → strange again
 * when caid is silent for its liveness, says Bye, or has another epoch; a running task is
 * then abandoned, because its lease died with that epoch. */
#include "worker/loop.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "proto/channel.h"
#include "worker/link.h"
#include "worker/desk.h"
#include "worker/memory.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

enum { BEAT_MS = 1000, STOP_MAX_MS = 15000, RETRY_MS = 50, SAVE_MS = 30000 };

struct loop {
    const struct loop_options *o;
    struct link link;
    struct desk desk;
    const char *numeric_class;
    uint64_t memory;
    int open_code;
    bool opened;
    uint64_t epoch; /* 0: not welcomed */
    uint64_t session; /* one more each time caid was lost: tells a Hello from a late copy */
    int64_t heard_ms, said_ms, stop_ms, liveness_ms;
    int64_t save_until_ms; /* when a task that was asked to save must stop; 0 = not asked */
    int64_t standing_ms;  /* who stands longer in one collective says so; 0 = need not */
    uint64_t stood_in;    /* the collective of which that was said last */
    bool leaving;
    bool lost; /* the device; set before the task is finished, read after */
    char refused[256]; /* the last reason, so that it is logged once */
};

/* ---- compute thread -------------------------------------------------------------- */

static void open_engine(struct loop *l) {
    int rc = l->o->engine->open(l->o->threads, l->o->device, &l->numeric_class);
    uint64_t own = rc == 0 && l->o->engine->memory ? l->o->engine->memory() : 0;
    pthread_mutex_lock(&l->desk.lock);
    l->memory = memory_for_tasks(l->o->memory, l->o->machine_memory, own);
    l->open_code = rc;
    if (rc < 0)
        snprintf(l->desk.text, sizeof l->desk.text, "%s", cai_error_text());
    l->opened = true;
    pthread_cond_broadcast(&l->desk.changed);
    pthread_mutex_unlock(&l->desk.lock);
}

static void *compute(void *argument) {
    struct loop *l = argument;
    open_engine(l);
    struct loop_host host;
    desk_host(&l->desk, &host);
    while (l->open_code == 0 && desk_wait(&l->desk)) {
        Cai__V1__Result *result = NULL;
        cai_error_clear();
        int rc = l->o->engine->run(l->desk.grant->task, l->desk.grant->gang, &host, &result);
        l->lost = rc < 0 && l->o->engine->lost && l->o->engine->lost();
        desk_finish(&l->desk, rc, rc < 0 ? cai_error_text() : "", result);
    }
    return NULL;
}

static int start_compute(struct loop *l, pthread_t *ret) {
    if (pthread_create(ret, NULL, compute, l) != 0)
        return cai_fail(CAI_EIO, "cannot start the compute thread");
    pthread_mutex_lock(&l->desk.lock);
    while (!l->opened)
        pthread_cond_wait(&l->desk.changed, &l->desk.lock);
    pthread_mutex_unlock(&l->desk.lock);
    if (l->open_code == 0)
        return 0;
    pthread_join(*ret, NULL);
    return cai_fail(l->open_code, "%s", l->desk.text);
}

/* ---- saying ---------------------------------------------------------------------- */

static int say(struct loop *l, Cai__V1__Frame__BodyCase kind, void *body) {
    Cai__V1__Frame f = CAI__V1__FRAME__INIT;
    f.body_case = kind;
    f.hello = body; /* every member of the union is a pointer to its message */
    l->said_ms = cai_now_ms();
    return channel_send(l->link.channel, NULL, &f);
}

/* With the answer to a challenge, or NULL. */
static void say_hello_with(struct loop *l, const struct link_proof *proof) {
    CAI_AUTO(mem) char *path = cai_path_join(l->o->state_dir, "nonce");
    CAI_AUTO(buf) struct cai_buf nonce = {0};
    /* Of a worker of another machine caid asks for more than this (link.h). */
    if (!l->o->key && cai_file_read(path, 64, &nonce) < 0) {
        /* Written by caid when it starts; without it caid would refuse us. */
        if (strcmp(l->refused, cai_error_text()) != 0)
            cai_info("waiting for caid's state folder: %s", cai_error_text());
        snprintf(l->refused, sizeof l->refused, "%s", cai_error_text());
        l->said_ms = cai_now_ms() - BEAT_MS * 3 / 4;
        return;
    }
    char host[128] = "";
    gethostname(host, sizeof host - 1);
    Cai__V1__Hello m = CAI__V1__HELLO__INIT;
    m.version = (char *)l->o->version;
    m.numeric_class = (char *)l->numeric_class;
    m.host = host;
    m.pid = (uint32_t)getpid();
    m.name = (char *)l->o->name;
    m.memory = l->memory;
    m.protocol = l->o->protocol ? *l->o->protocol : PROTOCOL;
    m.session = l->session;
    m.nonce = nonce.data ? nonce.data : (char *)"";
    m.proof = (char *)(proof ? proof->word : "");
    m.trouble = (char *)(proof ? proof->trouble : "");
    (void)CAI_FAILPOINT("worker.hello.before");
    (void)say(l, CAI__V1__FRAME__BODY_HELLO, &m);
}

static void say_hello(struct loop *l) { say_hello_with(l, NULL); }

static void on_challenge(struct loop *l, const Cai__V1__Challenge *m) {
    struct link_proof proof;
    link_prove(l->o->state_dir, m, &proof);
    say_hello_with(l, &proof);
}

static void say_pong(struct loop *l, uint64_t time_ms) {
    Cai__V1__Pong m = CAI__V1__PONG__INIT;
    m.time_ms = time_ms;
    m.busy = (char *)(desk_busy(&l->desk) ? "busy" : "");
    if (*m.busy && l->o->engine->collective) {
        bool inside = false;
        m.lease = l->desk.grant->lease; /* given and cleared by this thread alone */
        m.collective = l->o->engine->collective(&inside);
        m.inside = inside;
        if (inside && l->o->engine->standing)
            m.standing_ms = (uint64_t)l->o->engine->standing();
    }
    (void)say(l, CAI__V1__FRAME__BODY_PONG, &m);
}

static void say_bye(struct loop *l) {
    Cai__V1__Bye m = CAI__V1__BYE__INIT;
    m.reason = (char *)"stopping";
    (void)say(l, CAI__V1__FRAME__BODY_BYE, &m);
}

/* ---- state ----------------------------------------------------------------------- */

static void stop_task(struct loop *l, bool abandoned) {
    if (!desk_busy(&l->desk))
        return;
    if (!l->stop_ms)
        l->stop_ms = cai_now_ms();
    desk_stop(&l->desk, abandoned);
    if (l->o->engine->interrupt)
        l->o->engine->interrupt();
}

/* A training task ends at its next step, its state saved, if it gets there in time; others,
 * which are short and begin again, at once. */
static void save_task(struct loop *l, int64_t within_ms) {
    if (!desk_busy(&l->desk) || l->stop_ms)
        return;
    if (l->desk.grant->task->work_case != CAI__V1__TASK__WORK_TRAIN || within_ms <= 0) {
        stop_task(l, false);
        return;
    }
    l->save_until_ms = cai_now_ms() + within_ms;
    desk_save(&l->desk);
}

static void become_strange(struct loop *l, const char *why) {
    if (l->epoch) {
        cai_warn("caid is gone (%s); waiting for it", why);
        l->session++;
    }
    l->epoch = 0;
    stop_task(l, true);
}

static void on_grant(struct loop *l, Cai__V1__Frame *f) {
    Cai__V1__Grant *g = f->grant;
    bool fits = g->epoch == l->epoch && g->task && !l->leaving;
    if (fits && !desk_busy(&l->desk)) {
        cai_debug("lease %llu: %s %s", (unsigned long long)g->lease, g->task->stage,
                  g->task->phase);
        l->stop_ms = l->save_until_ms = 0;
        l->standing_ms = 0;
        l->stood_in = 0;
        (void)CAI_FAILPOINT("worker.grant.before");
        link_interface(l->o->interface, g->gang);
        desk_give(&l->desk, f);
        return;
    }
    Cai__V1__Failed m = CAI__V1__FAILED__INIT;
    m.job = g->job;
    m.epoch = g->epoch;
    m.lease = g->lease;
    m.code = CAI_ESTATE;
    m.text = (char *)(g->task ? "the worker is busy or leaving" : "a grant without a task");
    m.refused = g->task != NULL;
    (void)say(l, CAI__V1__FRAME__BODY_FAILED, &m);
    cai__v1__frame__free_unpacked(f, NULL);
}

static void on_bye(struct loop *l, const char *reason) {
    bool strange = strcmp(reason, "hello?") == 0 || strcmp(reason, "caid is stopping") == 0;
    if (!strange && strcmp(reason, l->refused) != 0) {
        snprintf(l->refused, sizeof l->refused, "%s", reason);
        cai_error("caid refuses this worker: %s", reason);
    }
    become_strange(l, reason);
}

static void on_welcome(struct loop *l, const Cai__V1__Welcome *m) {
    /* A late one: caid does not know yet that this worker has dropped what it was given. */
    if (m->session && m->session != l->session)
        return;
    if (protocol_check(m->protocol, "caid") < 0) {
        if (strcmp(l->refused, cai_error_text()) != 0)
            cai_error("%s", cai_error_text());
        snprintf(l->refused, sizeof l->refused, "%s", cai_error_text());
        return;
    }
    cai_info("welcomed, epoch %llu", (unsigned long long)m->epoch);
    l->epoch = m->epoch;
    l->liveness_ms = (int64_t)m->heartbeat_ms * m->liveness;
    l->refused[0] = '\0';
}

/* Takes the frame. */
static void on_frame(struct loop *l, Cai__V1__Frame *f) {
    l->heard_ms = cai_now_ms();
    switch (f->body_case) {
    case CAI__V1__FRAME__BODY_GRANT: on_grant(l, f); return;
    case CAI__V1__FRAME__BODY_CHALLENGE:
        if (l->o->key && !l->epoch)
            on_challenge(l, f->challenge);
        break;
    case CAI__V1__FRAME__BODY_WELCOME: on_welcome(l, f->welcome); break;
    case CAI__V1__FRAME__BODY_PING:
        l->standing_ms = f->ping->standing_ms;
        /* A stranger says Hello alone. To caid, which may not have noticed anything, an answer
         * would mean that this worker still does what it has dropped, and go on for ever. */
        if (l->epoch)
            say_pong(l, f->ping->time_ms);
        break;
    case CAI__V1__FRAME__BODY_BYE: on_bye(l, f->bye->reason); break;
    case CAI__V1__FRAME__BODY_REPORT_ACK:
        if (desk_busy(&l->desk) && l->desk.grant->lease == f->report_ack->lease)
            desk_ack(&l->desk, f->report_ack->seq);
        break;
    case CAI__V1__FRAME__BODY_REVOKE:
        if (desk_busy(&l->desk) && l->desk.grant->lease == f->revoke->lease)
            save_task(l, f->revoke->save_ms);
        break;
    default: break; /* DoneAck needs no answer; later kinds are passed over */
    }
    cai__v1__frame__free_unpacked(f, NULL);
}

/* ---- going up -------------------------------------------------------------------- */

/* In order; one that caid cannot take now is tried again in the next turn. */
static bool send_letters(struct loop *l) {
    struct desk_letter *letter;
    while ((letter = desk_next_letter(&l->desk))) {
        Cai__V1__Report *r = cai__v1__report__unpack(NULL, letter->len, letter->packed);
        CAI_CHECK(r);
        (void)CAI_FAILPOINT("worker.report.before");
        int rc = say(l, CAI__V1__FRAME__BODY_REPORT, r);
        cai__v1__report__free_unpacked(r, NULL);
        if (rc < 0)
            return false;
        desk_drop_letter(&l->desk);
    }
    return true;
}

static int send_outcome(struct loop *l) {
    const Cai__V1__Grant *g = l->desk.grant;
    if (l->desk.code < 0 || l->desk.stop) {
        Cai__V1__Failed m = CAI__V1__FAILED__INIT;
        m.job = g->job;
        m.epoch = g->epoch;
        m.lease = g->lease;
        m.code = l->desk.code < 0 ? l->desk.code : CAI_ESTATE;
        m.text = l->desk.text;
        m.refused = l->desk.left;
        return say(l, CAI__V1__FRAME__BODY_FAILED, &m);
    }
    Cai__V1__Done m = CAI__V1__DONE__INIT;
    m.job = g->job;
    m.epoch = g->epoch;
    m.lease = g->lease;
    m.result = l->desk.result;
    return say(l, CAI__V1__FRAME__BODY_DONE, &m);
}

/* False when something waits to be sent again soon. */
static bool send_up(struct loop *l) {
    if (l->desk.abandoned && desk_finished(&l->desk)) {
        desk_clear(&l->desk);
        l->stop_ms = l->save_until_ms = 0;
        l->leaving |= l->lost;
        return true;
    }
    /* Read before the letters: those posted before the end are then all in the list. */
    bool finished = desk_finished(&l->desk);
    if (l->epoch && !send_letters(l))
        return false;
    if (!finished || !l->epoch)
        return true;
    (void)CAI_FAILPOINT("worker.outcome.before");
    if (send_outcome(l) < 0)
        return false;
    (void)CAI_FAILPOINT("worker.outcome.after");
    desk_clear(&l->desk);
    l->stop_ms = l->save_until_ms = 0;
    l->leaving |= l->lost;
    return true;
}

/* ---- the loop -------------------------------------------------------------------- */

/* caid asks once a second; of a task that stands it shall know sooner. */
static void say_standing(struct loop *l) {
    bool inside = false;
    if (!l->standing_ms || !l->epoch || !desk_busy(&l->desk) || !l->o->engine->standing ||
        l->o->engine->standing() < l->standing_ms)
        return;
    uint64_t collective = l->o->engine->collective(&inside);
    if (collective == l->stood_in)
        return;
    l->stood_in = collective;
    say_pong(l, 0);
}

static int wait_ms(const struct loop *l, bool sent) {
    int64_t look = l->standing_ms ? l->standing_ms / 4 + 1 : BEAT_MS;
    return !sent ? RETRY_MS : look < BEAT_MS / 4 ? (int)look : BEAT_MS / 4;
}

static void timers(struct loop *l) {
    int64_t now = cai_now_ms();
    if (!l->epoch)
        link_look(&l->link);
    if (l->save_until_ms && now > l->save_until_ms && !l->stop_ms)
        stop_task(l, false);
    if (l->stop_ms && now - l->stop_ms > STOP_MAX_MS && desk_busy(&l->desk)) {
        cai_error("the task did not stop within %d s; this worker ends", STOP_MAX_MS / 1000);
        _exit(70);
    }
    if (l->epoch && now - l->heard_ms > l->liveness_ms)
        become_strange(l, "silent");
    say_standing(l);
    if (now - l->said_ms < BEAT_MS)
        return;
    if (l->epoch)
        say_pong(l, 0); /* a restarted caid does not know us: its Bye says so */
    else if (!desk_busy(&l->desk) && !l->leaving)
        say_hello(l);
}

static int receive_all(struct loop *l) {
    for (;;) {
        Cai__V1__Frame *f = NULL;
        int rc = channel_receive(l->link.channel, NULL, &f);
        if (rc == CAI_EPROTO) {
            cai_warn("a message was dropped: %s", cai_error_text());
            continue;
        }
        if (rc <= 0)
            return rc;
        on_frame(l, f);
    }
}

static int sleep_until_event(struct loop *l, int signal_fd, int wait_ms) {
    struct pollfd p[3] = {{signal_fd, POLLIN, 0},
                          {l->desk.event_fd, POLLIN, 0},
                          {channel_fd(l->link.channel), POLLIN, 0}};
    int n = poll(p, 3, wait_ms);
    if (n < 0 && errno != EINTR)
        return cai_fail_errno("poll");
    if (n > 0 && p[1].revents) {
        uint64_t count;
        if (read(l->desk.event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            return cai_fail_errno("eventfd");
    }
    struct signalfd_siginfo info;
    while (n > 0 && p[0].revents && read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        l->leaving = true;
        save_task(l, SAVE_MS);
    }
    return 0;
}

static int serve(struct loop *l, int signal_fd) {
    while (!l->leaving || desk_busy(&l->desk)) {
        bool sent = send_up(l);
        CAI_TRY(receive_all(l));
        /* After what has come: when this process itself stood still, caid is not the silent one. */
        timers(l);
        /* Frames may have changed what there is to say. */
        sent = send_up(l) && sent;
        CAI_TRY(receive_all(l));
        if (l->leaving && !l->epoch)
            stop_task(l, true);
        CAI_TRY(sleep_until_event(l, signal_fd, wait_ms(l, sent)));
    }
    say_bye(l);
    return l->lost ? cai_fail(CAI_EINTERNAL, "the device is lost to this process, which ends; "
                                             "its supervisor starts another")
                   : 0;
}

static int block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return cai_fail(CAI_EIO, "signals");
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? cai_fail_errno("signals") : fd;
}

static int run_threads(struct loop *l, int signal_fd) {
    pthread_t thread;
    CAI_TRY(start_compute(l, &thread));
    void *zmq = zmq_ctx_new();
    CAI_CHECK(zmq);
    int rc = link_open(&l->link, zmq, l->o->endpoint, l->o->key);
    if (rc == 0)
        rc = serve(l, signal_fd);
    desk_leave(&l->desk);
    pthread_join(thread, NULL);
    link_close(&l->link);
    zmq_ctx_term(zmq);
    return rc;
}

int worker_loop(const struct loop_options *o) {
    struct loop l = {.o = o, .liveness_ms = 3000, .session = 1};
    int signal_fd = block_signals();
    CAI_TRY(signal_fd);
    int rc = desk_open(&l.desk);
    if (rc == 0) {
        rc = run_threads(&l, signal_fd);
        desk_close(&l.desk);
    }
    close(signal_fd);
    return rc;
}
