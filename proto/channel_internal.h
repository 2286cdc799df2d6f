/* channel_internal.h: what channel.c and curve.c share; for this room only. */
#ifndef CAI_PROTO_CHANNEL_INTERNAL_H
#define CAI_PROTO_CHANNEL_INTERNAL_H

#include "proto/channel.h"

struct channel {
    void *socket;
    bool router, curve;
    void *notes; /* of curve channels: what their connections do */
    int standing; /* as channel_standing says */
};

/* A socket with every limit set, not bound or connected. */
int channel_open_socket(void *zmq_context, const char *endpoint, bool router, size_t max_bytes,
                        struct channel **ret);

#endif
