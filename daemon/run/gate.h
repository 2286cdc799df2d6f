/* gate.h: the one place where requests and workers' messages come in: who sent it, what that
 * role may do, and over a network with which key. For the files of this room only.
 *
 * What is sent through caid's own local sockets comes from people and workers whom the file's
 * mode lets in: they act as admin and as worker. What comes over TCP acts as the role of its key. */
#ifndef CAI_RUN_GATE_H
#define CAI_RUN_GATE_H

#include "proto/keys.h"
#include "run/state.h"
#include <poll.h>

/* ---- roles.c: what each role may do ---------------------------------------------------------- */
enum act {
    ACT_GREET,      /* ping, version */
    ACT_LOOK,       /* verbs that change nothing */
    ACT_REVIEW,     /* judging what people are asked to judge */
    ACT_CHANGE,     /* submit, cancel, constitutions, … */
    ACT_ADMINISTER, /* keys, backups */
    ACT_WORK,       /* everything a worker says */
    ACT_COUNT
};
const char *act_name(enum act act);
enum act act_of_verb(const char *verb, bool changes);
bool role_may(enum key_role role, enum act act);

/* ---- gate.c ---------------------------------------------------------------------------------- */
enum { GATE_FDS = 3 };

struct gate;
/* Reads the keys (caid's own is made at its first start) and listens where the configuration
 * says so. */
int gate_open(struct run *r);
void gate_close(struct run *r);
/* Handles what came from other machines, at most `max` messages; how many, or a code. */
int gate_turn(struct run *r, int max);
/* What to wait for; how many. */
size_t gate_poll(const struct run *r, struct pollfd ret[GATE_FDS]);
void gate_beat(struct run *r); /* ends connections whose key has ended, or that prove none */
void gate_reload(struct run *r); /* reads the keys again; wrong ones change nothing */
/* One message of any door. */
void gate_frame(struct run *r, const struct channel_peer *peer, Cai__V1__Frame *f);
/* The name of the key that a peer of another machine has, or NULL. */
const char *gate_name(const struct run *r, const struct channel_peer *peer);
/* Whose jobs a peer of another machine submits: a number below -1 that its key's name has, so
 * that a new key of the same name owns them still. */
int64_t gate_person(const struct run *r, const struct channel_peer *peer);
enum key_role gate_role(const struct run *r, const struct channel_peer *peer); /* now */
bool gate_rules(const struct run *r, const struct channel_peer *peer); /* with an admin's key */
bool gate_accepts(const struct run *r, const char *public_key);

/* For control/keys.c. */
const struct keyring *gate_keyring(const struct run *r);
size_t gate_connections(const struct run *r, const char *public_key);
int gate_add_key(struct run *r, enum key_role role, const char *name, const char *public_key,
                 int64_t overlap_s);
int gate_revoke_key(struct run *r, const char *name_or_key, size_t *ret_closed);
const char *gate_server_key(const struct run *r);
const char *gate_next_key(const struct run *r); /* "" when there is none */
int gate_make_next(struct run *r);
int gate_take_next(struct run *r);

/* ---- sessions.c: the connections of other machines --------------------------------------------- */
struct sessions {
    struct session *first;
    size_t n, unspoken;
    int64_t quiet_until_ms; /* of the log */
    unsigned told, untold;
    char failed[128]; /* what was wrong with the connection that leaves next */
    bool told_why;    /* the log says it already */
};
void sessions_note(struct sessions *s, const struct channel_note *note);
/* A message came over that connection with that key. */
void sessions_spoke(struct sessions *s, const struct channel_peer *peer);
/* Ends those for which f says so; how many. f sees "" of those that have said nothing yet. */
size_t sessions_end(struct sessions *s, bool (*f)(void *c, const char *public_key, int64_t age_ms),
                    void *c);
size_t sessions_of(const struct sessions *s, const char *public_key);
const char *sessions_address(const struct sessions *s, int fd);
/* A refusal in the log; in a flood of them their number alone. */
__attribute__((format(printf, 2, 3))) void sessions_refusal(struct sessions *s, const char *format,
                                                            ...);
void sessions_beat(struct sessions *s);
void sessions_free(struct sessions *s);

/* ---- proof.c: whether a worker of another machine sees the state folder --------------------------- */
/* 1: it does; 0: it was asked, and says Hello again; a code: it does not, with what to do. */
int proof_check(struct run *r, const struct channel_peer *peer, const Cai__V1__Hello *h);
void proofs_free(struct run *r);

#endif
