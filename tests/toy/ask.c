/* ask.c: one request to caid, its reply's JSON on stdout: `ask ENDPOINT VERB JSON [KEY]`.
 * Exit code: the reply's, or 4 when nothing answers within 5 s. For tests that must reach
 * verbs with exact arguments, wrong ones included. */
#include "base/error.h"
#include "proto/channel.h"
#include "proto/control.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

static int receive(struct channel *c) {
    for (int i = 0; i < 50; i++) {
        Cai__V1__Frame *f = NULL;
        int rc = channel_receive(c, NULL, &f);
        if (rc < 0)
            return EXIT_PROTOCOL;
        if (rc > 0) {
            int code = f->body_case == CAI__V1__FRAME__BODY_REPLY ? f->reply->exit : EXIT_PROTOCOL;
            if (code == 0)
                puts(f->reply->json);
            else if (f->body_case == CAI__V1__FRAME__BODY_REPLY)
                fprintf(stderr, "%s\n", f->reply->error);
            cai__v1__frame__free_unpacked(f, NULL);
            return code;
        }
        struct pollfd p = {channel_fd(c), POLLIN, 0};
        poll(&p, 1, 100);
    }
    return EXIT_UNREACHABLE;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return EXIT_USAGE;
    void *zmq = zmq_ctx_new();
    struct channel *c = NULL;
    if (channel_connect(zmq, argv[1], CHANNEL_CONTROL_MAX, &c) < 0) {
        fprintf(stderr, "%s\n", cai_error_text());
        return EXIT_USAGE;
    }
    Cai__V1__Request request = CAI__V1__REQUEST__INIT;
    request.verb = argv[2];
    request.json = argv[3];
    request.key = argc > 4 ? argv[4] : (char *)"";
    const char *protocol = getenv("ASK_PROTOCOL"); /* what it says; nothing, as 1 did, without */
    request.protocol = protocol ? (uint32_t)atoi(protocol) : 0;
    Cai__V1__Frame frame = CAI__V1__FRAME__INIT;
    frame.body_case = CAI__V1__FRAME__BODY_REQUEST;
    frame.request = &request;
    int code = channel_send(c, NULL, &frame) < 0 ? EXIT_UNREACHABLE : receive(c);
    channel_close(c);
    zmq_ctx_term(zmq);
    return code;
}
