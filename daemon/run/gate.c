/* gate.c: the door to other machines (CURVE, ZAP in this loop), and the check of every message
 * against what its sender may do. Not for what a message means (control.c, workers.c).
 *
 * Closed (nothing to listen on, or being moved to another key) → open. A key that is revoked
 * has no connection any more when the answer to `key revoke` leaves: those that are proved by
 * it are ended, and those that have not said yet who they are, too. */
#include "run/gate.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "proto/control.h"
#include "proto/zap.h"
#include "run/people.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 65536 };

struct gate {
    char *folder;
    struct keyring keys;
    struct key_file own, next; /* next: with an empty key when none is prepared */
    struct zap *zap;
    struct channel *channel; /* NULL: closed */
    bool moving;             /* to another key of caid's: the channel closes at the next beat */
    struct sessions sessions;
};

static const char own_comment[] = "caid's own key. Keep it secret: who has it can pass for caid.";

static char *file_of(const struct gate *g, const char *name) {
    return cai_path_join(g->folder, name);
}

/* ---- keys ---------------------------------------------------------------------------------------- */

/* Private from its first moment. */
static int make_folder(const char *path) {
    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return cai_fail_errno("%s", path);
    struct stat st;
    if (stat(path, &st) < 0)
        return cai_fail_errno("%s", path);
    if (!S_ISDIR(st.st_mode) || st.st_mode & 0027)
        return cai_fail(CAI_EAUTH, "%s: must be a folder that others cannot look into: chmod 700 it",
                        path);
    return 0;
}

static int load_own(struct gate *g) {
    CAI_AUTO(mem) char *path = file_of(g, "server.key"), *next = file_of(g, "server.next.key");
    g->next = (struct key_file){0};
    if (cai_file_exists(next))
        CAI_TRY(key_file_load(next, &g->next));
    if (cai_file_exists(path))
        return key_file_load(path, &g->own);
    CAI_TRY(key_make(&g->own));
    return key_file_save(path, &g->own, own_comment, false);
}

static int load_keys(struct gate *g) {
    CAI_AUTO(mem) char *path = file_of(g, "clients");
    struct keyring fresh;
    CAI_TRY(keyring_load(path, &fresh));
    keyring_free(&g->keys);
    g->keys = fresh;
    return 0;
}

static int save_keys(struct gate *g) {
    CAI_AUTO(mem) char *path = file_of(g, "clients");
    CAI_TRY(keyring_save(path, &g->keys));
    return chmod(path, 0600) < 0 ? cai_fail_errno("%s", path) : 0;
}

static int64_t now_s(void) { return cai_wall_ms() / 1000; }

bool gate_accepts(const struct run *r, const char *public_key) {
    return keyring_find(&r->gate->keys, public_key, now_s()) != NULL;
}

/* ZeroMQ asks before it lets a connection speak. */
static bool verdict(void *context, const char *public_key, const char *address) {
    struct gate *g = context;
    if (keyring_find(&g->keys, public_key, now_s()))
        return true;
    const struct key_entry *e = keyring_known(&g->keys, public_key);
    if (e)
        sessions_refusal(&g->sessions, "a connection from %s is refused: the key of %s was revoked",
                         address, e->name);
    else
        sessions_refusal(&g->sessions, "a connection from %s is refused: its key %s is unknown",
                         address, public_key);
    return false;
}

/* ---- opening and closing --------------------------------------------------------------------------- */

/* Each connection is a descriptor; the usual 1024 would be spent by a few hundred machines. */
static void allow_many_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    rlim_t wanted = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int listen_tcp(struct run *r) {
    struct gate *g = r->gate;
    CAI_TRY(channel_bind_curve(r->zmq, r->o.config.listen, CHANNEL_TASK_MAX, &g->own, &g->channel));
    cai_info("listens on %s; its public key is %s", r->o.config.listen, g->own.public_key);
    return 0;
}

int gate_open(struct run *r) {
    struct gate *g = r->gate = cai_alloc(sizeof *g);
    g->folder = r->o.keys_dir ? cai_strdup(r->o.keys_dir) : cai_path_join(r->o.state_dir, "keys");
    CAI_TRY(make_folder(g->folder));
    CAI_TRY(load_own(g));
    CAI_TRY(load_keys(g));
    if (!*r->o.config.listen)
        return 0;
    allow_many_files();
    if (!r->o.keys_dir)
        cai_warn("caid's own key is in the state folder, which workers of other machines mount: give "
                 "--keys a folder that they do not see");
    /* Before the socket: where no handler is, ZeroMQ would let every key in. */
    CAI_TRY(zap_open(r->zmq, verdict, g, &g->zap));
    return listen_tcp(r);
}

void gate_close(struct run *r) {
    struct gate *g = r->gate;
    if (!g)
        return;
    proofs_free(r);
    channel_close(g->channel);
    zap_close(g->zap);
    sessions_free(&g->sessions);
    keyring_free(&g->keys);
    free(g->folder);
    explicit_bzero(g, sizeof *g);
    free(g);
    r->gate = NULL;
}

void gate_reload(struct run *r) {
    if (load_keys(r->gate) < 0)
        cai_log_about(CAI_LOG_ERROR, CAI_ABOUT(EVENT_CONFIG_WRONG), "%s; the old keys stay",
                      cai_error_text());
    gate_beat(r);
}

/* ---- who may what ------------------------------------------------------------------------------------ */

struct caller {
    enum key_role role;
    const char *name; /* "" for the local sockets */
};

static struct caller caller_of(const struct run *r, const struct channel_peer *peer) {
    if (peer->from == r->control_channel)
        return (struct caller){ROLE_ADMIN, ""};
    if (peer->from == r->workers_channel)
        return (struct caller){ROLE_WORKER, ""};
    const struct key_entry *e =
        *peer->public_key ? keyring_find(&r->gate->keys, peer->public_key, now_s()) : NULL;
    return e ? (struct caller){e->role, e->name} : (struct caller){ROLE_NONE, ""};
}

const char *gate_name(const struct run *r, const struct channel_peer *peer) {
    if (!*peer->public_key)
        return NULL;
    return caller_of(r, peer).name;
}

enum key_role gate_role(const struct run *r, const struct channel_peer *peer) {
    return caller_of(r, peer).role;
}

int64_t gate_person(const struct run *r, const struct channel_peer *peer) {
    char hash[CAI_SHA256_HEX], part[9] = "";
    const char *name = caller_of(r, peer).name;
    cai_sha256(name, strlen(name), hash);
    memcpy(part, hash, 8);
    return -2 - (int64_t)strtoul(part, NULL, 16);
}

bool gate_rules(const struct run *r, const struct channel_peer *peer) {
    return *peer->public_key && caller_of(r, peer).role == ROLE_ADMIN;
}

/* Everybody on this machine may look, review and change what is his own; keys and backups are
 * for root, caid's own user and its administrators. */
static bool may(const struct run *r, const struct channel_peer *peer, enum key_role role,
                enum act act) {
    bool local = peer->from == r->control_channel;
    return role_may(role, act) && !(local && act == ACT_ADMINISTER && !person_rules(r, peer));
}

static void refuse(struct run *r, const struct channel_peer *peer, const struct caller *c,
                   const Cai__V1__Frame *f, enum act act) {
    bool request = f->body_case == CAI__V1__FRAME__BODY_REQUEST;
    CAI_AUTO(mem) char *what = request ? cai_format("ask '%.40s'", f->request->verb)
                                       : cai_strdup("do a worker's work");
    for (char *s = what; *s; s++)
        *s = *s < ' ' || *s > '~' ? '?' : *s;
    CAI_AUTO(mem) char *who = *c->name ? cai_format("%s (%s)", c->name, key_role_name(c->role))
                                       : cai_format("the local %s socket", key_role_name(c->role));
    sessions_refusal(&r->gate->sessions, "%s at %s may not %s", who,
                     *c->name ? sessions_address(&r->gate->sessions, peer->fd) : "this machine", what);
    if (request) {
        CAI_AUTO(mem) char *text =
            cai_format("%s may not %s; it takes a key whose role may %s", who, what, act_name(act));
        r->o.front->refuse(r, peer, EXIT_AUTH, text);
    } else if (f->body_case != CAI__V1__FRAME__BODY_BYE) {
        Cai__V1__Bye bye = CAI__V1__BYE__INIT;
        bye.reason = (char *)"its key is not a worker's: `caictl key new NAME --role worker`";
        (void)workers_send(r, peer, CAI__V1__FRAME__BODY_BYE, &bye);
    }
}

void gate_frame(struct run *r, const struct channel_peer *peer, Cai__V1__Frame *f) {
    struct caller c = caller_of(r, peer);
    bool request = f->body_case == CAI__V1__FRAME__BODY_REQUEST;
    enum act act = request ? act_of_verb(f->request->verb, r->o.front->changes(f->request->verb))
                           : ACT_WORK;
    if (c.role == ROLE_NONE) /* of a key that was revoked while this was under way */
        sessions_refusal(&r->gate->sessions, "a message from %s is dropped: its key has ended",
                         sessions_address(&r->gate->sessions, peer->fd));
    else if (!may(r, peer, c.role, act))
        refuse(r, peer, &c, f, act);
    else if (request)
        r->o.front->frame(r, peer, f);
    else
        workers_frame(r, peer, f);
}

/* ---- the loop's part ----------------------------------------------------------------------------------- */

static int take_notes(struct gate *g, int max) {
    struct channel_note note;
    int n = 0;
    while (n < max && channel_notes(g->channel, &note)) {
        sessions_note(&g->sessions, &note);
        n++;
    }
    return n;
}

static int receive_one(struct run *r) {
    struct gate *g = r->gate;
    struct channel_peer peer = {0};
    Cai__V1__Frame *frame = NULL;
    int rc = channel_receive(g->channel, &peer, &frame);
    if (rc == 0)
        return 0;
    if (rc > 0 || rc == CAI_EPROTO)
        sessions_spoke(&g->sessions, &peer);
    if (rc == CAI_EPROTO) {
        const char *name = gate_name(r, &peer);
        sessions_refusal(&g->sessions, "a message of %s was dropped: %s", name ? name : "nobody",
                         cai_error_text());
        return 1;
    }
    CAI_TRY(rc);
    gate_frame(r, &peer, frame);
    cai__v1__frame__free_unpacked(frame, NULL);
    return 1;
}

int gate_turn(struct run *r, int max) {
    struct gate *g = r->gate;
    if (!g->channel)
        return 0;
    int n = take_notes(g, max);
    int asked = zap_turn(g->zap);
    CAI_TRY(asked);
    int got = receive_one(r);
    CAI_TRY(got);
    return n + asked + got;
}

size_t gate_poll(const struct run *r, struct pollfd ret[GATE_FDS]) {
    const struct gate *g = r->gate;
    if (!g->channel)
        return 0;
    ret[0] = (struct pollfd){zap_fd(g->zap), POLLIN, 0};
    ret[1] = (struct pollfd){channel_fd(g->channel), POLLIN, 0};
    ret[2] = (struct pollfd){channel_notes_fd(g->channel), POLLIN, 0};
    return GATE_FDS;
}

struct ending {
    const struct run *r;
    bool unspoken; /* end those as well that have not said who they are */
};

static bool ends(void *c, const char *public_key, int64_t age_ms) {
    (void)age_ms;
    const struct ending *e = c;
    return *public_key ? !gate_accepts(e->r, public_key) : e->unspoken;
}

static size_t end_sessions(struct run *r, bool unspoken) {
    struct ending e = {r, unspoken};
    workers_end_keys(r);
    return sessions_end(&r->gate->sessions, ends, &e);
}

void gate_beat(struct run *r) {
    struct gate *g = r->gate;
    sessions_beat(&g->sessions);
    (void)end_sessions(r, false);
    if (g->moving) {
        g->moving = false;
        workers_end_channel(r, g->channel);
        proofs_free(r);
        channel_close(g->channel);
        g->channel = NULL;
        sessions_free(&g->sessions);
        return;
    }
    /* After a change of caid's key the old socket may still be closing. */
    if (*r->o.config.listen && g->zap && !g->channel && listen_tcp(r) < 0)
        cai_debug("%s", cai_error_text());
}

/* ---- for control/keys.c ---------------------------------------------------------------------------------- */

const struct keyring *gate_keyring(const struct run *r) { return &r->gate->keys; }
const char *gate_server_key(const struct run *r) { return r->gate->own.public_key; }
const char *gate_next_key(const struct run *r) { return r->gate->next.public_key; }

size_t gate_connections(const struct run *r, const char *public_key) {
    return sessions_of(&r->gate->sessions, public_key);
}

/* What cannot be written, does not hold: the list is read again. */
static int keep(struct gate *g) {
    int rc = save_keys(g);
    if (rc < 0) {
        CAI_AUTO(mem) char *why = cai_strdup(cai_error_text());
        (void)load_keys(g);
        return cai_fail(rc, "%s", why);
    }
    return 0;
}

int gate_add_key(struct run *r, enum key_role role, const char *name, const char *public_key,
                 int64_t overlap_s) {
    CAI_TRY(keyring_add(&r->gate->keys, role, name, public_key, now_s(), overlap_s));
    CAI_TRY(keep(r->gate));
    cai_info("a key for %s (%s) is accepted from now on", name, key_role_name(role));
    (void)end_sessions(r, false);
    return 0;
}

int gate_revoke_key(struct run *r, const char *name_or_key, size_t *ret_closed) {
    CAI_TRY(keyring_revoke(&r->gate->keys, name_or_key, now_s()));
    CAI_TRY(keep(r->gate));
    if (r->gate->channel)
        take_notes(r->gate, INT32_MAX);
    *ret_closed = end_sessions(r, true);
    cai_info("the key of %.64s is revoked; %zu connections ended", name_or_key, *ret_closed);
    return 0;
}

int gate_make_next(struct run *r) {
    struct gate *g = r->gate;
    CAI_AUTO(mem) char *path = file_of(g, "server.next.key");
    if (*g->next.public_key)
        return cai_fail(CAI_ESTATE, "the next key is made already: give it to every machine, then "
                                    "`caictl key server switch`");
    struct key_file next = {0};
    CAI_TRY(key_make(&next));
    CAI_TRY(key_file_save(path, &next, own_comment, false));
    g->next = next;
    return 0;
}

int gate_take_next(struct run *r) {
    struct gate *g = r->gate;
    CAI_AUTO(mem) char *path = file_of(g, "server.key"), *next = file_of(g, "server.next.key");
    if (!*g->next.public_key)
        return cai_fail(CAI_ESTATE, "there is no next key: `caictl key server rotate` makes it");
    CAI_TRY(cai_file_rename_durable(next, path));
    g->own = g->next;
    g->next = (struct key_file){0};
    cai_info("caid's own key is now %s; connections begin anew", g->own.public_key);
    /* The caller's answer leaves first: the beat closes the channel. */
    g->moving = g->channel != NULL;
    return 0;
}
