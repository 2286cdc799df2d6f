/* channel.h: Frames over ZeroMQ with limits. One side binds (ROUTER), others connect
 * (DEALER). Local endpoints are ipc:// only in this version; TCP is refused until CURVE
 * keys are given. */
#ifndef CAI_PROTO_CHANNEL_H
#define CAI_PROTO_CHANNEL_H

#include "cai.pb-c.h"
#include <stddef.h>

/* What Hello, Welcome, Request and Reply mean, and which of them there are. caid serves the
 * number before its own too, so that machines are upgraded one after the other:
 *   1  before peers said a number
 *   2  peers say their number */
enum { PROTOCOL = 2, PROTOCOL_OLDEST = PROTOCOL - 1 };
/* CAI_EPROTO with what to do when a peer's number is not served; 0 is 1. who: "worker w", of
 * version `version`. */
int protocol_check(uint32_t number, const char *who);

struct channel;
enum { CHANNEL_PEER_MAX = 32, CHANNEL_CONTROL_MAX = 1 << 20, CHANNEL_TASK_MAX = 16 << 20 };

/* uid and gid: of the process at the other end of an ipc socket when it connected, from the
 * kernel (SO_PEERCRED): nothing that the peer sends can change them. -1 when they are not
 * known: not an ipc socket, or a user of another user namespace, whom the kernel shows to
 * everybody as the same nobody. Filled in by channel_receive on the bound side. */
struct channel_peer {
    size_t len;
    unsigned char id[CHANNEL_PEER_MAX];
    int64_t uid, gid;
};

int channel_bind(void *zmq_context, const char *endpoint, size_t max_bytes, struct channel **ret);
int channel_connect(void *zmq_context, const char *endpoint, size_t max_bytes,
                    struct channel **ret);
void channel_close(struct channel *c);
int channel_fd(const struct channel *c);
/* Sends to a peer (ROUTER) or to the bound side (peer NULL). Never blocks: a peer that is
 * gone or full is CAI_ENOTFOUND. */
int channel_send(struct channel *c, const struct channel_peer *peer, const Cai__V1__Frame *frame);
/* 1 and a frame (free with cai__v1__frame__free_unpacked(f, NULL)), 0 if nothing waits, or
 * CAI_EPROTO for a malformed message (dropped; *ret_peer is set when known). */
int channel_receive(struct channel *c, struct channel_peer *ret_peer, Cai__V1__Frame **ret);

#endif
