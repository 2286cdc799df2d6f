/* zap.c: answers ZeroMQ's question whether a public key may come in. Not for which keys may
 * (its owner says), nor for what they may do. */
#include "proto/zap.h"
#include "base/check.h"
#include "base/error.h"
#include <errno.h>
#include <string.h>
#include <zmq.h>

struct zap {
    void *socket;
    zap_verdict *f;
    void *context;
};

static bool is(const struct zap_part *p, const char *text) {
    return p->len == strlen(text) && memcmp(p->data, text, p->len) == 0;
}

int zap_parse(const struct zap_part *part, size_t n, struct zap_request *ret) {
    enum { VERSION, ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS };
    *ret = (struct zap_request){0};
    if (n > ID && part[ID].len <= sizeof ret->id) {
        memcpy(ret->id, part[ID].data, part[ID].len);
        ret->id_len = part[ID].len;
    }
    if (n < CREDENTIALS || !is(&part[VERSION], "1.0"))
        return cai_fail(CAI_EPROTO, "not a request of ZAP 1.0");
    if (part[ID].len != ret->id_len)
        return cai_fail(CAI_EPROTO, "a ZAP request with an id of %zu bytes", part[ID].len);
    size_t address = part[ADDRESS].len < ZAP_TEXT - 1 ? part[ADDRESS].len : ZAP_TEXT - 1;
    for (size_t i = 0; i < address; i++) {
        char c = ((const char *)part[ADDRESS].data)[i];
        ret->address[i] = c > ' ' && c < 127 ? c : '?';
    }
    if (!is(&part[DOMAIN], ZAP_DOMAIN))
        return cai_fail(CAI_EAUTH, "a ZAP request of another domain");
    if (!is(&part[MECHANISM], "CURVE"))
        return cai_fail(CAI_EAUTH, "its mechanism is not CURVE");
    if (n != CREDENTIALS + 1 || part[CREDENTIALS].len != 32)
        return cai_fail(CAI_EPROTO, "credentials that are no public key");
    CAI_CHECK(zmq_z85_encode(ret->public_key, part[CREDENTIALS].data, 32));
    return 0;
}

int zap_open(void *context, zap_verdict *f, void *verdict_context, struct zap **ret) {
    void *socket = zmq_socket(context, ZMQ_REP);
    int zero = 0;
    if (!socket || zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_bind(socket, "inproc://zeromq.zap.01") != 0) {
        int rc = cai_fail(CAI_EIO, "cannot open the door's authentication: %s",
                          zmq_strerror(zmq_errno()));
        if (socket)
            zmq_close(socket);
        return rc;
    }
    struct zap *z = cai_alloc(sizeof *z);
    *z = (struct zap){socket, f, verdict_context};
    *ret = z;
    return 0;
}

int zap_fd(const struct zap *z) {
    int fd = -1;
    size_t len = sizeof fd;
    CAI_CHECK(zmq_getsockopt(z->socket, ZMQ_FD, &fd, &len) == 0);
    return fd;
}

void zap_close(struct zap *z) {
    if (!z)
        return;
    zmq_close(z->socket);
    free(z);
}

/* All parts of one request; those over ZAP_PARTS are counted and dropped. 0: nothing waits. */
static int receive(struct zap *z, zmq_msg_t msg[ZAP_PARTS]) {
    int n = 0;
    for (bool more = true; more; n++) {
        zmq_msg_t extra, *m = n < ZAP_PARTS ? &msg[n] : &extra;
        zmq_msg_init(m);
        int rc;
        do {
            rc = zmq_msg_recv(m, z->socket, ZMQ_DONTWAIT);
        } while (rc < 0 && zmq_errno() == EINTR);
        if (rc < 0) { /* a message is whole or not there */
            zmq_msg_close(m);
            return zmq_errno() == EAGAIN && n == 0
                       ? 0
                       : cai_fail(CAI_EIO, "authentication: %s", zmq_strerror(zmq_errno()));
        }
        more = zmq_msg_more(m);
        if (m == &extra)
            zmq_msg_close(m);
    }
    return n;
}

/* An answer that cannot be sent leaves that one peer without one: it stays outside. */
static void answer(struct zap *z, const struct zap_request *q, const char *code,
                   const char *text) {
    const char *user = *code == '2' ? q->public_key : "";
    const struct zap_part part[] = {{"1.0", 3},           {q->id, q->id_len},
                                    {code, strlen(code)}, {text, strlen(text)},
                                    {user, strlen(user)}, {"", 0}};
    for (size_t i = 0; i < CAI_COUNT(part); i++)
        if (zmq_send(z->socket, part[i].data, part[i].len,
                     ZMQ_DONTWAIT | (i + 1 < CAI_COUNT(part) ? ZMQ_SNDMORE : 0)) < 0)
            return;
}

int zap_turn(struct zap *z) {
    zmq_msg_t msg[ZAP_PARTS];
    int done = 0;
    for (int n; (n = receive(z, msg)) != 0; done++) {
        CAI_TRY(n);
        struct zap_part part[ZAP_PARTS];
        struct zap_request q;
        int kept = n < ZAP_PARTS ? n : ZAP_PARTS;
        for (int i = 0; i < kept; i++)
            part[i] = (struct zap_part){zmq_msg_data(&msg[i]), zmq_msg_size(&msg[i])};
        int rc = n > ZAP_PARTS ? cai_fail(CAI_EPROTO, "a ZAP request of too many parts")
                               : zap_parse(part, (size_t)kept, &q);
        if (n > ZAP_PARTS)
            (void)zap_parse(part, 2, &q); /* for its id */
        if (rc == 0 && z->f(z->context, q.public_key, q.address))
            answer(z, &q, "200", "OK");
        else
            answer(z, &q, rc == CAI_EPROTO ? "500" : "400", "not accepted");
        for (int i = 0; i < kept; i++)
            zmq_msg_close(&msg[i]);
    }
    return done;
}
