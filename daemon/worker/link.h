/* link.h: a worker's connection to caid, over a local socket or, with keys, over a network.
 * For loop.c. Not for what is said over it. */
#ifndef CAI_WORKER_LINK_H
#define CAI_WORKER_LINK_H

#include "proto/channel.h"

struct link {
    void *zmq;
    struct channel *channel;
    const char *endpoint;
    const struct key_file *key; /* NULL: a local socket */
    size_t server;              /* which of the key file's servers is tried */
    int64_t since_ms;
    char told[256]; /* the last trouble, so that it is logged once */
};

int link_open(struct link *l, void *zmq_context, const char *endpoint, const struct key_file *key);
void link_close(struct link *l);
/* Not welcomed: says once why, and when caid's key is another than the one that is expected,
 * tries the next one of the key file. */
void link_look(struct link *l);

struct link_proof {
    char word[64], trouble[256];
};
/* Answers caid's question whether this machine sees its state folder, at the same path. */
void link_prove(const char *state_dir, const Cai__V1__Challenge *m, struct link_proof *ret);
/* This machine's name for the interface of a gang's sockets; NULL keeps caid's. */
void link_interface(const char *interface, Cai__V1__Gang *io);

#endif
