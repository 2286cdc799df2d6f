/* channel.c: Frames over ZeroMQ, with every limit that ZeroMQ leaves open set. Not for
 * what a frame means.
 *
 * A message is "CAI1" and one packed Frame; a ROUTER sees the peer's id before them. The
 * first part is the protocol's version: a peer of another version is told apart before
 * anything is parsed. */
#include "proto/channel_internal.h"
#include "base/error.h"
#include "base/check.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

enum {
    HANDSHAKE_MS = 5000,
    HEARTBEAT_MS = 5000,
    HEARTBEAT_TIMEOUT_MS = 15000,
    RECONNECT_MS = 50,
    RECONNECT_MAX_MS = 1000,
    LINGER_MS = 500, /* so that a last Done or Bye leaves; bounded, never the default of ever */
    QUEUE = 256,     /* messages per peer and direction */
    PARTS_MAX = 4,
    NOBODY = 65534 /* what the kernel shows in place of a user that this namespace has not */
};

static const char version[4] = {'C', 'A', 'I', '1'};


static int fail_zmq(const char *what, const char *endpoint) {
    return cai_fail(CAI_EIO, "cannot %s %s: %s", what, endpoint, zmq_strerror(zmq_errno()));
}

static int set(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static int set_limits(void *socket, bool router, size_t max_bytes) {
    int64_t max = (int64_t)max_bytes;
    int rc = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max, sizeof max);
    rc |= set(socket, ZMQ_LINGER, LINGER_MS);
    rc |= set(socket, ZMQ_SNDHWM, QUEUE) | set(socket, ZMQ_RCVHWM, QUEUE);
    rc |= set(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    rc |= set(socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS);
    rc |= set(socket, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS);
    if (router)
        return rc | set(socket, ZMQ_ROUTER_MANDATORY, 1);
    rc |= set(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    return rc | set(socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
}

static int check_local(const char *endpoint) {
    if (strncmp(endpoint, "ipc://", 6) != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: over a network caid is spoken to with a key alone: give tcp://HOST:PORT "
                        "and --key FILE, which `caictl key new` writes", endpoint);
    /* sun_path's 108 bytes with the NUL; ZeroMQ's own message does not say so. */
    if (strlen(endpoint + 6) > 107)
        return cai_fail(CAI_EINPUT,
                        "%s: a socket's path has at most 107 bytes; give a shorter --runtime",
                        endpoint);
    return 0;
}

int channel_open_socket(void *context, const char *endpoint, bool router, size_t max_bytes,
                        struct channel **ret) {
    void *socket = zmq_socket(context, router ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!socket)
        return fail_zmq("make a socket for", endpoint);
    if (set_limits(socket, router, max_bytes) != 0) {
        zmq_close(socket);
        return fail_zmq("set the limits of", endpoint);
    }
    struct channel *c = cai_alloc(sizeof *c);
    *c = (struct channel){.socket = socket, .router = router};
    *ret = c;
    return 0;
}

int channel_bind(void *context, const char *endpoint, size_t max_bytes, struct channel **ret) {
    struct channel *c = NULL;
    CAI_TRY(check_local(endpoint));
    CAI_TRY(channel_open_socket(context, endpoint, true, max_bytes, &c));
    /* The mask covers the moment between bind and chmod. */
    mode_t old = umask(0117);
    int rc = zmq_bind(c->socket, endpoint) != 0 ? fail_zmq("listen on", endpoint) : 0;
    umask(old);
    if (rc == 0 && chmod(endpoint + 6, 0660) < 0)
        rc = cai_fail_errno("%s", endpoint);
    if (rc < 0)
        channel_close(c);
    else
        *ret = c;
    return rc;
}

int channel_connect(void *context, const char *endpoint, size_t max_bytes, struct channel **ret) {
    struct channel *c = NULL;
    CAI_TRY(check_local(endpoint));
    CAI_TRY(channel_open_socket(context, endpoint, false, max_bytes, &c));
    if (zmq_connect(c->socket, endpoint) != 0) {
        int rc = fail_zmq("connect to", endpoint);
        channel_close(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void channel_close(struct channel *c) {
    if (!c)
        return;
    if (c->notes) {
        zmq_socket_monitor(c->socket, NULL, 0);
        zmq_close(c->notes);
    }
    zmq_close(c->socket);
    free(c);
}

int channel_fd(const struct channel *c) {
    int fd = -1;
    size_t len = sizeof fd;
    CAI_CHECK(zmq_getsockopt(c->socket, ZMQ_FD, &fd, &len) == 0);
    return fd;
}

static int send_part(struct channel *c, const void *data, size_t len, int flags) {
    while (zmq_send(c->socket, data, len, ZMQ_DONTWAIT | flags) < 0) {
        if (zmq_errno() == EINTR)
            continue;
        if (zmq_errno() == EAGAIN || zmq_errno() == EHOSTUNREACH)
            return cai_fail(CAI_ENOTFOUND, "the peer is gone or does not read");
        return cai_fail(CAI_EIO, "cannot send: %s", zmq_strerror(zmq_errno()));
    }
    return 0;
}

int channel_send(struct channel *c, const struct channel_peer *peer, const Cai__V1__Frame *frame) {
    CAI_CHECK(c->router == (peer != NULL));
    size_t len = cai__v1__frame__get_packed_size(frame);
    uint8_t *packed = cai_alloc(len + 1);
    cai__v1__frame__pack(frame, packed);
    /* Whether the peer can take a message is decided at the first part; the rest follows. */
    int rc = peer ? send_part(c, peer->id, peer->len, ZMQ_SNDMORE) : 0;
    if (rc == 0)
        rc = send_part(c, version, sizeof version, ZMQ_SNDMORE);
    if (rc == 0)
        rc = send_part(c, packed, len, 0);
    free(packed);
    return rc;
}

/* Receives all parts of one message; more than PARTS_MAX are counted and dropped. Returns
 * their number, 0 when nothing waits, or a code. */
static int receive_parts(struct channel *c, zmq_msg_t part[PARTS_MAX]) {
    int n = 0;
    for (bool more = true; more; n++) {
        zmq_msg_t extra, *m = n < PARTS_MAX ? &part[n] : &extra;
        zmq_msg_init(m);
        int rc;
        do {
            rc = zmq_msg_recv(m, c->socket, ZMQ_DONTWAIT);
        } while (rc < 0 && zmq_errno() == EINTR);
        if (rc < 0) {
            zmq_msg_close(m);
            if (n == 0 && zmq_errno() == EAGAIN)
                return 0;
            for (int i = 0; i < n && i < PARTS_MAX; i++)
                zmq_msg_close(&part[i]);
            return cai_fail(CAI_EIO, "cannot receive: %s", zmq_strerror(zmq_errno()));
        }
        more = zmq_msg_more(m);
        if (m == &extra)
            zmq_msg_close(m);
    }
    return n;
}

/* Who ZeroMQ says that the message is from. */
static void read_peer(struct channel *c, zmq_msg_t *id, zmq_msg_t *body,
                      struct channel_peer *ret) {
    size_t len = zmq_msg_size(id);
    *ret = (struct channel_peer){.from = c, .fd = -1, .uid = -1, .gid = -1};
    ret->len = len < CHANNEL_PEER_MAX ? len : 0;
    memcpy(ret->id, zmq_msg_data(id), ret->len);
    if (!c->curve)
        return;
    const char *user = zmq_msg_gets(body, "User-Id");
    if (user && key_valid(user))
        memcpy(ret->public_key, user, KEY_SIZE);
    ret->fd = zmq_msg_get(body, ZMQ_SRCFD);
}

static int parse(zmq_msg_t *part, int n, int first, Cai__V1__Frame **ret) {
    if (n != first + 2)
        return cai_fail(CAI_EPROTO, "a message of %d parts, expected %d", n - first, 2);
    zmq_msg_t *head = &part[first], *body = &part[first + 1];
    if (zmq_msg_size(head) != sizeof version ||
        memcmp(zmq_msg_data(head), version, sizeof version) != 0)
        return cai_fail(CAI_EPROTO, "the peer speaks another version of the protocol");
    Cai__V1__Frame *f =
        cai__v1__frame__unpack(NULL, zmq_msg_size(body), (const uint8_t *)zmq_msg_data(body));
    if (!f)
        return cai_fail(CAI_EPROTO, "a frame of %zu bytes that cannot be read",
                        zmq_msg_size(body));
    if (f->body_case == CAI__V1__FRAME__BODY__NOT_SET) {
        cai__v1__frame__free_unpacked(f, NULL);
        return cai_fail(CAI_EPROTO, "a frame of a kind unknown here");
    }
    *ret = f;
    return 1;
}

/* libzmq asks the kernel who has connected and puts it behind the connection's address, as
 * "localhost:UID:GID:PID", before it looks at what the peer says of itself; the first value of a
 * name stays, so a peer that sends a "Peer-Address" of its own changes nothing (tested). */
static void read_owner(zmq_msg_t *body, struct channel_peer *ret) {
    long long uid, gid, pid;
    char end;
    ret->uid = ret->gid = -1;
    const char *address = zmq_msg_gets(body, "Peer-Address");
    if (!address || sscanf(address, "localhost:%lld:%lld:%lld%c", &uid, &gid, &pid, &end) != 3 ||
        uid < 0 || uid == NOBODY)
        return;
    ret->uid = uid;
    ret->gid = gid;
}

int channel_receive(struct channel *c, struct channel_peer *ret_peer, Cai__V1__Frame **ret) {
    zmq_msg_t part[PARTS_MAX];
    int n = receive_parts(c, part);
    if (n <= 0)
        return n;
    int first = 0;
    if (c->router) {
        read_peer(c, &part[0], &part[n > 1 ? 1 : 0], ret_peer);
        if (!c->curve)
            read_owner(&part[n < PARTS_MAX ? n - 1 : 0], ret_peer);
        first = 1;
    }
    int rc = parse(part, n, first, ret);
    if (rc > 0 && c->router && ret_peer->len == 0) {
        cai__v1__frame__free_unpacked(*ret, NULL);
        rc = cai_fail(CAI_EPROTO, "a peer with an id of more than %d bytes", CHANNEL_PEER_MAX - 1);
    }
    for (int i = 0; i < n && i < PARTS_MAX; i++)
        zmq_msg_close(&part[i]);
    return rc;
}
