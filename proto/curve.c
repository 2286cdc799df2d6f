/* curve.c: channels over TCP: CURVE on both sides, never anything weaker, and what becomes of
 * their connections. Not for which keys are accepted (zap.h). */
#include "proto/channel_internal.h"
#include "base/check.h"
#include "base/error.h"
#include "proto/zap.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

int channel_endpoint_check(const char *endpoint) {
    const char *host = endpoint + 6, *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, "tcp://", 6) != 0 || !colon || colon <= host || strlen(endpoint) > 255)
        return cai_fail(CAI_EINPUT, "'%.100s' is no endpoint: tcp://INTERFACE:PORT or "
                                    "tcp://ADDRESS:PORT is expected", endpoint);
    size_t n = (size_t)(colon - host);
    static const char *const all[] = {"*", "0.0.0.0", "[::]", "::", "0", "[::0]", "[0::0]", "[*]"};
    for (size_t i = 0; i < CAI_COUNT(all); i++)
        if (strlen(all[i]) == n && memcmp(all[i], host, n) == 0)
            return cai_fail(CAI_EINPUT, "%s: that is every interface; name one, or its address",
                            endpoint);
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5 ||
        atoi(colon + 1) < 1 || atoi(colon + 1) > 65535)
        return cai_fail(CAI_EINPUT, "%s: a port is a number from 1 to 65535", endpoint);
    return 0;
}

/* Its own end is in memory and has no limit: ZeroMQ's thread must never wait for ours. */
static int open_notes(void *context, struct channel *c, int events) {
    static _Atomic unsigned number;
    char name[64];
    int zero = 0;
    snprintf(name, sizeof name, "inproc://caid.notes.%u", atomic_fetch_add(&number, 1));
    if (zmq_socket_monitor(c->socket, name, events) != 0)
        return cai_fail(CAI_EIO, "cannot watch a socket: %s", zmq_strerror(zmq_errno()));
    c->notes = zmq_socket(context, ZMQ_PAIR);
    if (!c->notes || zmq_setsockopt(c->notes, ZMQ_RCVHWM, &zero, sizeof zero) != 0 ||
        zmq_setsockopt(c->notes, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_connect(c->notes, name) != 0)
        return cai_fail(CAI_EIO, "cannot watch a socket: %s", zmq_strerror(zmq_errno()));
    return 0;
}

static int set_text(struct channel *c, int option, const char *text) {
    return zmq_setsockopt(c->socket, option, text, strlen(text));
}

enum { BACKLOG = 256 };

static int make_server(void *context, struct channel *c, const struct key_file *own) {
    int yes = 1, backlog = BACKLOG;
    if (zmq_setsockopt(c->socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) != 0 ||
        set_text(c, ZMQ_CURVE_SECRETKEY, own->secret_key) != 0 ||
        set_text(c, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN) != 0 ||
        zmq_setsockopt(c->socket, ZMQ_BACKLOG, &backlog, sizeof backlog) != 0)
        return cai_fail(CAI_EIO, "cannot secure a socket: %s", zmq_strerror(zmq_errno()));
    return open_notes(context, c, ZMQ_EVENT_ALL);
}

int channel_bind_curve(void *context, const char *endpoint, size_t max_bytes,
                       const struct key_file *own, struct channel **ret) {
    struct channel *c = NULL;
    CAI_TRY(channel_endpoint_check(endpoint));
    CAI_TRY(channel_open_socket(context, endpoint, true, max_bytes, &c));
    c->curve = true;
    int six = strchr(endpoint, '[') != NULL;
    int rc = make_server(context, c, own);
    (void)zmq_setsockopt(c->socket, ZMQ_IPV6, &six, sizeof six); /* binding says what is wrong */
    if (rc == 0 && zmq_bind(c->socket, endpoint) != 0)
        rc = cai_fail(CAI_EIO, "cannot listen on %s: %s", endpoint, zmq_strerror(zmq_errno()));
    if (rc < 0)
        channel_close(c);
    else
        *ret = c;
    return rc;
}

static int make_client(void *context, struct channel *c, const struct key_file *own,
                       size_t server) {
    if (set_text(c, ZMQ_CURVE_SERVERKEY, own->server[server]) != 0 ||
        set_text(c, ZMQ_CURVE_PUBLICKEY, own->public_key) != 0 ||
        set_text(c, ZMQ_CURVE_SECRETKEY, own->secret_key) != 0)
        return cai_fail(CAI_EIO, "cannot secure a socket: %s", zmq_strerror(zmq_errno()));
    return open_notes(context, c, ZMQ_EVENT_ALL);
}

int channel_connect_curve(void *context, const char *endpoint, size_t max_bytes,
                          const struct key_file *own, size_t server, struct channel **ret) {
    struct channel *c = NULL;
    CAI_TRY(channel_endpoint_check(endpoint));
    if (server >= own->n_servers)
        return cai_fail(CAI_EINPUT, "%s: caid's own key is not known: give --server-key KEY, as "
                                    "`caictl key server` prints it", endpoint);
    CAI_TRY(channel_open_socket(context, endpoint, false, max_bytes, &c));
    c->curve = true;
    int six = 1; /* a name may have either kind of address */
    (void)zmq_setsockopt(c->socket, ZMQ_IPV6, &six, sizeof six);
    int rc = make_client(context, c, own, server);
    if (rc == 0 && zmq_connect(c->socket, endpoint) != 0)
        rc = cai_fail(CAI_EIO, "cannot connect to %s: %s", endpoint, zmq_strerror(zmq_errno()));
    if (rc < 0)
        channel_close(c);
    else
        *ret = c;
    return rc;
}

/* ---- what connections do ------------------------------------------------------------------- */

int channel_notes_fd(const struct channel *c) {
    int fd = -1;
    size_t len = sizeof fd;
    CAI_CHECK(zmq_getsockopt(c->notes, ZMQ_FD, &fd, &len) == 0);
    return fd;
}

/* A note is 16 bits of event and 32 of value, and the address in a second part. */
static bool read_note(struct channel *c, uint16_t *ret_event, int32_t *ret_value) {
    unsigned char note[16];
    int n;
    do {
        n = zmq_recv(c->notes, note, sizeof note, ZMQ_DONTWAIT);
    } while (n < 0 && zmq_errno() == EINTR);
    if (n != 6)
        return false;
    memcpy(ret_event, note, 2);
    memcpy(ret_value, note + 2, 4);
    (void)zmq_recv(c->notes, note, sizeof note, ZMQ_DONTWAIT);
    return true;
}

static const char *failure(int event, int value) {
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        return "";
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        return "it ended or was too slow before it had proved a key";
    switch (value) {
    case ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "it does not use CURVE";
    case ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
        return "what it sealed does not open: another server's key, or words of another session";
    case ZMQ_PROTOCOL_ERROR_ZMTP_INVALID_SEQUENCE:
        return "words of another session";
    default:
        return "it does not speak the protocol";
    }
}

bool channel_notes(struct channel *c, struct channel_note *ret) {
    uint16_t event;
    int32_t value;
    while (read_note(c, &event, &value)) {
        *ret = (struct channel_note){.fd = value};
        switch (event) {
        case ZMQ_EVENT_ACCEPTED: ret->event = CHANNEL_CAME; return true;
        case ZMQ_EVENT_DISCONNECTED: ret->event = CHANNEL_LEFT; return true;
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            ret->event = CHANNEL_FAILED;
            ret->text = failure(event, value);
            return true;
        default: break;
        }
    }
    return false;
}

int channel_standing(struct channel *c) {
    uint16_t event;
    int32_t value;
    while (c->notes && read_note(c, &event, &value)) {
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
            c->standing = 1;
        else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
            c->standing = CAI_EAUTH;
        else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
                 event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
            c->standing = CAI_EPROTO;
        else if (event == ZMQ_EVENT_DISCONNECTED && c->standing == 1)
            c->standing = 0;
    }
    if (c->standing == CAI_EAUTH)
        return cai_fail(CAI_EAUTH, "caid does not accept this key: it is unknown there, revoked or "
                                   "has ended; ask for a new one (`caictl key new`)");
    if (c->standing == CAI_EPROTO)
        return cai_fail(CAI_EPROTO, "who answers there does not have the server key that is "
                                    "expected: look at `caictl key server` on caid's machine");
    return c->standing;
}
