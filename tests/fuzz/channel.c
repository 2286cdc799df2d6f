/* Any parts as a ZeroMQ message to a bound channel: a frame, or refused; the next good frame
 * always comes through. Each part is a byte for its length (255: the rest) and its bytes. */
#include "folder.h"
#include "base/error.h"
#include "proto/channel.h"
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct channel *bound;
static void *peer; /* speaks without channel.h's care */

static void open_all(void) {
    folder_make("/tmp");
    void *context = zmq_ctx_new();
    char *endpoint = cai_format("ipc://%s/s", folder);
    CAI_CHECK(channel_bind(context, endpoint, CHANNEL_CONTROL_MAX, &bound) == 0);
    peer = zmq_socket(context, ZMQ_DEALER);
    CAI_CHECK(peer && zmq_connect(peer, endpoint) == 0);
    free(endpoint);
}

static void send_parts(const uint8_t *data, size_t size) {
    for (size_t at = 0, parts = 0; at < size && parts < 8; parts++) {
        size_t n = data[at] == 255 ? size : data[at];
        at++;
        n = n < size - at ? n : size - at;
        bool last = at + n == size || parts == 7;
        CAI_CHECK(zmq_send(peer, data + at, n, last ? 0 : ZMQ_SNDMORE) == (int)n);
        at += n;
    }
}

static void send_sentinel(void) {
    uint8_t packed[64];
    Cai__V1__Ping ping = CAI__V1__PING__INIT;
    Cai__V1__Frame f = CAI__V1__FRAME__INIT;
    ping.time_ms = UINT64_C(0x5E471E15E471E1);
    f.body_case = CAI__V1__FRAME__BODY_PING;
    f.ping = &ping;
    size_t n = cai__v1__frame__pack(&f, packed);
    CAI_CHECK(zmq_send(peer, "CAI1", 4, ZMQ_SNDMORE) == 4);
    CAI_CHECK(zmq_send(peer, packed, n, 0) == (int)n);
}

/* What comes packs again to as many bytes as its size says. */
static bool take(Cai__V1__Frame *f) {
    size_t n = cai__v1__frame__get_packed_size(f);
    uint8_t *packed = cai_alloc(n + 1);
    CAI_CHECK(cai__v1__frame__pack(f, packed) == n);
    free(packed);
    bool sentinel = f->body_case == CAI__V1__FRAME__BODY_PING &&
                    f->ping->time_ms == UINT64_C(0x5E471E15E471E1);
    cai__v1__frame__free_unpacked(f, NULL);
    return sentinel;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!bound)
        open_all();
    send_parts(data, size);
    send_sentinel();
    bool waited = false;
    for (bool done = false; !done;) {
        struct channel_peer from = {0};
        Cai__V1__Frame *f = NULL;
        int rc = channel_receive(bound, &from, &f);
        CAI_CHECK(rc == 1 || rc == 0 || rc == CAI_EPROTO);
        if (rc == 1)
            done = take(f);
        /* What came while the descriptor was silent would be a lost wake-up. */
        CAI_CHECK(rc == 0 || !waited);
        if (rc != 0)
            continue;
        if (waited)
            send_sentinel(); /* ZeroMQ drops what was under way when it connects again */
        struct pollfd p = {channel_fd(bound), POLLIN, 0};
        waited = poll(&p, 1, 5000) == 0;
    }
    return 0;
}
