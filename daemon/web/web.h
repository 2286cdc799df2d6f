/* web.h: caid's pages for people, over HTTP: who gets in, what is answered, and how slow clients
 * are ended. It knows no job and no store: what a page shows, it asks its host, by the names of
 * api.c's table. One thread: the caller polls web_fd and calls web_turn.
 *
 * Getting in: a person who reaches caid's control socket asks for a link (web_invite), which holds
 * good once and for five minutes; it gives the browser a session: a cookie that scripts cannot
 * read, and a second secret that its scripts send along and that no form or picture can. */
#ifndef CAI_WEB_WEB_H
#define CAI_WEB_WEB_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEB_NAME_SIZE = 64, WEB_KEY_SIZE = 41, WEB_ADDRESS_SIZE = 256, WEB_LINK_S = 300 };

/* For whom a session acts: as the control socket saw them. */
struct web_person {
    char name[WEB_NAME_SIZE];
    int64_t uid, gid;        /* -1: not known */
    char key[WEB_KEY_SIZE];  /* of a person of another machine, else "" */
};

struct web_host {
    void *of;
    /* 0 and *ret (the caller's), or a code with a message that this person may read. `args` holds
     * what the page sent, of the types in api.c's table. */
    int (*ask)(void *of, const struct web_person *who, const char *what, const json_t *args,
               json_t **ret);
};

struct web_options {
    const char *listen;      /* as web_listen_check takes it */
    const char *host;        /* a name under which a TLS proxy serves the pages; "" = none */
    const char *state_dir;   /* web/ in it keeps sessions and the port over restarts */
    const char *runtime_dir; /* where the socket of "unix" lies */
    int64_t idle_s;          /* after which a session that nobody uses ends */
};

struct web;
/* 0 for "auto" (a free port of 127.0.0.1, the same after a restart), "127.0.0.1:PORT", "unix" and
 * "off"; else CAI_EINPUT, with how pages are reached from other machines. */
int web_listen_check(const char *listen);
int web_host_check(const char *host); /* a host name, or "" */

/* Listens; "off" gives *ret NULL and 0. */
int web_open(const struct web_options *o, const struct web_host *host, struct web **ret);
void web_close(struct web *w); /* sessions stay, for the next start */
/* These take NULL, which serves nothing. */
int web_fd(const struct web *w);         /* readable: call web_turn; -1 of NULL */
int64_t web_wait_ms(const struct web *w); /* after which web_turn is due all the same; -1: never */
void web_turn(struct web *w);             /* serves what is there, ends who is too slow */
const char *web_address(const struct web *w); /* "127.0.0.1:PORT" or "unix:PATH" */

/* A link that lets this person in, once: *ret is the caller's. */
int web_invite(struct web *w, const struct web_person *who, char **ret_url);
size_t web_sessions(const struct web *w); /* that have not ended */

#endif
