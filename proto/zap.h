/* zap.h: ZeroMQ's authentication (ZAP 1.0, RFC 27): its requests read strictly, and a handler
 * that runs in its owner's loop, so that no thread is made for it. Whoever is accepted is known
 * to ZeroMQ by its public key. Must be open before any socket that asks it is bound. */
#ifndef CAI_PROTO_ZAP_H
#define CAI_PROTO_ZAP_H

#include "proto/keys.h"

#define ZAP_DOMAIN "caid"
enum { ZAP_PARTS = 7, ZAP_TEXT = 64 };

struct zap_part {
    const void *data;
    size_t len;
};
struct zap_request {
    char id[ZAP_TEXT]; /* its bytes; id_len of them */
    size_t id_len;
    char address[ZAP_TEXT], public_key[KEY_SIZE];
};
/* 0, or CAI_EPROTO: not ZAP 1.0; CAI_EAUTH: another domain, or a mechanism other than CURVE.
 * ret->id is set whenever there is one, since even a bad request is answered. */
int zap_parse(const struct zap_part *part, size_t n, struct zap_request *ret);

struct zap;
/* True when the key is accepted. */
typedef bool zap_verdict(void *context, const char *public_key, const char *address);
int zap_open(void *zmq_context, zap_verdict *f, void *context, struct zap **ret);
int zap_fd(const struct zap *z);
/* Answers what waits; how many, or a code. */
int zap_turn(struct zap *z);
void zap_close(struct zap *z);

#endif
