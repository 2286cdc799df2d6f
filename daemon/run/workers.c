/* workers.c: who is connected, and whether they still live. Not for what they work on
 * (leases.c, outcomes.c).
 *
 * Both sides beat every second: caid pings, a worker answers, and speaks up by itself when
 * no ping came. A peer that is not registered is told Bye and says Hello again; so a
 * restarted caid finds its workers within a beat. */
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "run/admit.h"
#include "run/gate.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct worker *find_peer(struct run *r, const struct channel_peer *p) {
    for (struct worker *w = r->workers; w; w = w->next)
        if (w->peer.len == p->len && memcmp(w->peer.id, p->id, p->len) == 0 &&
            w->peer.from == p->from && strcmp(w->peer.public_key, p->public_key) == 0)
            return w;
    return NULL;
}

int workers_send(struct run *r, const struct channel_peer *peer, Cai__V1__Frame__BodyCase kind,
                 void *body) {
    Cai__V1__Frame f = CAI__V1__FRAME__INIT;
    f.body_case = kind;
    f.hello = body; /* every member of the union is a pointer to its message */
    return channel_send(peer->from ? peer->from : r->workers_channel, peer, &f);
}

static void say_bye(struct run *r, const struct channel_peer *peer, const char *reason) {
    Cai__V1__Bye bye = CAI__V1__BYE__INIT;
    bye.reason = (char *)reason;
    /* A peer that is gone needs no goodbye. */
    (void)workers_send(r, peer, CAI__V1__FRAME__BODY_BYE, &bye);
}

static void free_worker(struct worker *w) {
    free(w->name);
    free(w->host);
    free(w->numeric_class);
    free(w->version);
    free(w);
}

static void remove_worker(struct run *r, struct worker *w, const char *why) {
    struct worker **at = &r->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_WORKER_GONE, .worker = w->name),
                  "worker %s is gone: %s", w->name, why);
    r->o.front->lost(r, w);
    if (w->lease) {
        struct lease *l = w->lease;
        w->lease = NULL;
        l->worker = NULL;
        outcome_lost(r, l, w, why);
    }
    free_worker(w);
    r->dirty = true;
}

/* What a worker says becomes results: over the local socket it is caid's own user, or root. */
static const char *refusal(const struct run *r, const struct channel_peer *peer,
                           const Cai__V1__Hello *h) {
    if (peer->uid > 0 && peer->uid != (int64_t)geteuid())
        return "it runs as another user than caid: start it as caid's user";
    if (protocol_check(h->protocol, "it") < 0)
        return cai_error_text();
    if (strlen(h->version) > 64)
        return "its version is too long";
    if (!*peer->public_key && strcmp(h->nonce, r->nonce) != 0)
        return "it does not see caid's state folder: give it the same folder with --state";
    if (!*h->name || strlen(h->name) > 64 || !*h->numeric_class || strlen(h->numeric_class) > 200)
        return "its name or numeric class is missing or too long";
    return NULL;
}

/* ---- workers that hang ------------------------------------------------------------------ */

static struct started *find_started(struct run *r, const char *name, uint32_t pid) {
    struct started *p = r->started;
    while (p && !(p->pid == pid && strcmp(p->name, name) == 0))
        p = p->next;
    return p;
}

/* kill_ms: when it shall be ended; 0 = not. Nothing for one that was not started here. */
static void mark(struct run *r, const char *name, uint32_t pid, int64_t kill_ms) {
    struct started *p = find_started(r, name, pid);
    if (p)
        p->kill_ms = kill_ms;
}

static void end_silent(struct run *r) {
    for (struct started *p = r->started; p; p = p->next) {
        char line[64];
        if (!p->kill_ms || cai_now_ms() < p->kill_ms)
            continue;
        int n = snprintf(line, sizeof line, "kill %s %u\n", p->name, p->pid);
        p->kill_ms = 0;
        cai_warn("worker %s (pid %u) hangs: it is ended and another is started", p->name, p->pid);
        if (send(r->o.spawner_fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
            cai_warn("the workers' starter does not listen");
    }
}

void workers_process_started(struct run *r, const char *name, uint32_t pid) {
    struct started *p = cai_alloc(sizeof *p);
    *p = (struct started){.pid = pid, .next = r->started};
    snprintf(p->name, sizeof p->name, "%s", name);
    r->started = p;
}

static void forget_started(struct run *r, uint32_t pid) {
    struct started **at = &r->started;
    while (*at && (*at)->pid != pid)
        at = &(*at)->next;
    struct started *p = *at;
    if (p)
        *at = p->next;
    free(p);
}

static void insert_by_name(struct run *r, struct worker *w) {
    struct worker **at = &r->workers;
    while (*at && strcmp((*at)->name, w->name) < 0)
        at = &(*at)->next;
    w->next = *at;
    *at = w;
}

static void say_welcome(struct run *r, const struct channel_peer *peer, uint64_t session) {
    Cai__V1__Welcome welcome = CAI__V1__WELCOME__INIT;
    welcome.epoch = r->epoch;
    welcome.heartbeat_ms = HEARTBEAT_MS;
    welcome.liveness = LIVENESS;
    welcome.protocol = PROTOCOL;
    welcome.session = session;
    (void)workers_send(r, peer, CAI__V1__FRAME__BODY_WELCOME, &welcome);
}

/* A worker that waits for caid says Hello every second, and a caid that stood still finds them
 * all at once: only the first of a session is news. Taken for more, each of them would end the
 * lease that the one before has brought. */
static bool is_copy(const struct worker *w, const Cai__V1__Hello *h) {
    return w && w->pid == h->pid && h->session && h->session <= w->session;
}

/* How caid calls it. A worker of another machine is called KEY.NAME, so that a key can never
 * take the place of another's worker. */
static char *name_of(const struct run *r, const struct channel_peer *peer,
                     const Cai__V1__Hello *h) {
    const char *key = gate_name(r, peer);
    size_t n = key ? strlen(key) : 0;
    if (!key || (strncmp(h->name, key, n) == 0 && (!h->name[n] || h->name[n] == '.')))
        return cai_format("%.130s", h->name);
    return cai_format("%s.%.64s", key, h->name);
}

static bool printable(const char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

static void refuse(struct run *r, const struct channel_peer *peer, const char *name,
                   const char *why) {
    bool safe = printable(name);
    cai_log_about(CAI_LOG_WARN, CAI_ABOUT(EVENT_WORKER_REFUSED, .worker = safe ? name : NULL),
                  "worker %.64s is refused: %s", safe ? name : "of an unprintable name", why);
    say_bye(r, peer, why);
}

/* False: it was refused. Those that it takes the place of are gone. */
static bool make_room(struct run *r, const struct channel_peer *peer, const char *name) {
    struct worker *old = find_peer(r, peer);
    if (old)
        remove_worker(r, old, "it said hello again");
    for (struct worker *w = r->workers, *next; w; w = next) {
        next = w->next;
        if (strcmp(w->name, name) != 0)
            continue;
        const char *key = gate_name(r, peer), *before = gate_name(r, &w->peer);
        if (key ? !before || strcmp(key, before) != 0 : before != NULL) {
            refuse(r, peer, name, "a worker of that name is here, with another key");
            return false;
        }
        remove_worker(r, w, "another one of its name came");
    }
    return true;
}

/* True when it may come in. */
static bool admit(struct run *r, const struct channel_peer *peer, const Cai__V1__Hello *h,
                  const char *name) {
    const char *no = refusal(r, peer, h);
    if (!no && *peer->public_key && !printable(h->name))
        no = "its name is not printable";
    int proven = !no && *peer->public_key ? proof_check(r, peer, h) : 1;
    if (proven < 0)
        no = cai_error_text();
    if (no) {
        CAI_AUTO(mem) char *why = cai_strdup(no);
        refuse(r, peer, name, why);
    }
    return !no && proven == 1;
}

static void on_hello(struct run *r, const struct channel_peer *peer, const Cai__V1__Hello *h) {
    CAI_AUTO(mem) char *name = name_of(r, peer, h);
    struct worker *old = find_peer(r, peer);
    if (!*peer->public_key)
        mark(r, h->name, h->pid, 0);
    if (is_copy(old, h)) {
        old->seen_ms = cai_now_ms();
        say_welcome(r, peer, h->session);
        return;
    }
    if (!admit(r, peer, h, name) || !make_room(r, peer, name))
        return;
    struct worker *w = cai_alloc(sizeof *w);
    *w = (struct worker){.peer = *peer,
                         .name = cai_strdup(name),
                         .host = cai_strdup(h->host),
                         .numeric_class = cai_strdup(h->numeric_class),
                         .version = cai_strdup(h->version),
                         .pid = h->pid,
                         .memory = h->memory,
                         .session = h->session,
                         .seen_ms = cai_now_ms()};
    insert_by_name(r, w);
    cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_WORKER_HERE, .worker = w->name),
                  "worker %s (pid %u) is here: %s", w->name, w->pid, w->numeric_class);
    say_welcome(r, peer, h->session);
    r->dirty = true;
}

void workers_frame(struct run *r, const struct channel_peer *peer, Cai__V1__Frame *f) {
    if (f->body_case == CAI__V1__FRAME__BODY_HELLO) {
        if (!r->draining)
            on_hello(r, peer, f->hello);
        return;
    }
    struct worker *w = find_peer(r, peer);
    if (!w) {
        if (f->body_case != CAI__V1__FRAME__BODY_BYE)
            say_bye(r, peer, "hello?");
        return;
    }
    w->seen_ms = cai_now_ms();
    r->dirty = r->dirty || w->deaf;
    w->deaf = false;
    switch (f->body_case) {
    case CAI__V1__FRAME__BODY_PONG:
        late_note(r, w, f->pong);
        break;
    case CAI__V1__FRAME__BODY_REPORT: outcome_report(r, w, f->report); break;
    case CAI__V1__FRAME__BODY_DONE: outcome_done(r, w, f->done); break;
    case CAI__V1__FRAME__BODY_FAILED: outcome_failed(r, w, f->failed); break;
    case CAI__V1__FRAME__BODY_BYE: remove_worker(r, w, "it said goodbye"); break;
    default: cai_warn("worker %s sent a frame that is not a worker's", w->name);
    }
}

/* Counted from the last word, not from a beat: who falls silent is noticed within 3 s of it. */
int64_t workers_next_silence(const struct run *r) {
    int64_t first = 0;
    for (const struct worker *w = r->workers; w; w = w->next) {
        int64_t at = w->seen_ms + SILENT_MS;
        first = first && first < at ? first : at;
    }
    return first;
}

void workers_watch(struct run *r) {
    int64_t now = cai_now_ms();
    for (struct worker *w = r->workers, *next; w; w = next) {
        next = w->next;
        if (now - w->seen_ms < SILENT_MS)
            continue;
        say_bye(r, &w->peer, "hello?");
        if (!*w->peer.public_key)
            mark(r, w->name, w->pid, now + HUNG_MS);
        remove_worker(r, w, "silent for 3 s");
    }
}

int workers_ping(struct run *r, struct worker *w) {
    Cai__V1__Ping ping = CAI__V1__PING__INIT;
    ping.time_ms = (uint64_t)cai_now_ms();
    ping.standing_ms = late_standing_ms(r, w);
    return workers_send(r, &w->peer, CAI__V1__FRAME__BODY_PING, &ping);
}

void workers_beat(struct run *r) {
    for (struct worker *w = r->workers, *next; w; w = next) {
        next = w->next;
        if (workers_ping(r, w) < 0)
            remove_worker(r, w, "its connection closed");
    }
    end_silent(r);
}

void workers_process_ended(struct run *r, uint32_t pid) {
    forget_started(r, pid);
    for (struct worker *w = r->workers; w; w = w->next) {
        if (w->pid == pid && !*w->peer.public_key) {
            remove_worker(r, w, "its process ended");
            return;
        }
    }
}

void workers_say_bye(struct run *r, const char *reason) {
    for (struct worker *w = r->workers; w; w = w->next)
        say_bye(r, &w->peer, reason);
}

void workers_end_keys(struct run *r) {
    for (struct worker *w = r->workers, *next; w; w = next) {
        next = w->next;
        if (*w->peer.public_key && !gate_accepts(r, w->peer.public_key))
            remove_worker(r, w, "its key has ended");
    }
}

void workers_end_channel(struct run *r, const struct channel *c) {
    for (struct worker *w = r->workers, *next; w; w = next) {
        next = w->next;
        if (w->peer.from == c)
            remove_worker(r, w, "caid changes its own key");
    }
}

void workers_free(struct run *r) {
    while (r->workers) {
        struct worker *w = r->workers;
        r->workers = w->next;
        free_worker(w);
    }
    while (r->started)
        forget_started(r, r->started->pid);
}

uint32_t workers_alike(const struct run *r, const struct job_run *j, const char *version) {
    uint32_t n = 0;
    for (const struct worker *w = r->workers; w; w = w->next)
        n += worker_fits(r, w, j->numeric_class, j) && strcmp(w->version, version) == 0;
    return n;
}

bool worker_large(const struct run *r, const struct worker *w, const struct job_run *j) {
    return !j->memory || admit_fits(r, w, j->memory->phases[j->memory->peak].bytes);
}

bool worker_of_class(const struct worker *w, const char *numeric_class) {
    return !*numeric_class || strcmp(w->numeric_class, numeric_class) == 0;
}

bool worker_fits(const struct run *r, const struct worker *w, const char *numeric_class,
                 const struct job_run *j) {
    bool kept = w->kept_for && !(j && j->id == w->kept_for);
    return (!j || worker_large(r, w, j)) && !w->lease && !w->deaf && !kept &&
           worker_of_class(w, numeric_class);
}
