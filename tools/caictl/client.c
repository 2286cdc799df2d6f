/* client.c: requests to caid over its control socket or, with a key, over a network: one try after the other on a fresh
 * connection (lazy pirate), with an idempotency key, until the time is up. */
#include "caictl.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/error.h"
#include "proto/channel.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

enum { TRY_MS = 5000, SLICE_MS = 200 };

/* What is sent, and sent again when no answer comes. */
struct message {
    const char *verb, *json, *key;
    const void *data;
    size_t len;
};

static void *context;
static struct channel *channel;
static size_t server_key; /* which of the key file's servers is tried */

static void disconnect(void) {
    channel_close(channel);
    channel = NULL;
}

void client_close(void) {
    disconnect();
    if (context)
        zmq_ctx_term(context);
    context = NULL;
}

/* ZeroMQ would try for ever in silence; the socket file says at once whether anyone listens. */
static int probe(const char *endpoint) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strncmp(endpoint, "ipc://", 6) != 0)
        return CAI_OK;
    const char *path = endpoint + 6;
    if (strlen(path) >= sizeof address.sun_path)
        return cai_fail(CAI_EINPUT, "the server's path is too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return cai_fail_errno("socket");
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address), saved = errno;
    close(fd);
    if (rc == 0)
        return CAI_OK;
    if (saved == EACCES || saved == EPERM)
        return cai_fail(CAI_EAUTH, "not allowed to use %s; join the group that owns it", path);
    return cai_fail(CAI_ETIMEOUT,
                    "no daemon answers at %s (%s); start one with "
                    "`caid --spawn 2`, or name it with -s or CAID_SERVER",
                    endpoint, strerror(saved));
}

static int connect_now(void) {
    const char *endpoint;
    const struct key_file *key;
    CAI_TRY(server_find(&endpoint, &key));
    return key ? channel_connect_curve(context, endpoint, CHANNEL_CONTROL_MAX, key,
                                       key->n_servers ? server_key % key->n_servers : 0, &channel)
               : channel_connect(context, endpoint, CHANNEL_CONTROL_MAX, &channel);
}

/* While caid's key changes the key file names two: the next one is tried. True when there was
 * another that has not been tried. */
static bool next_server(void) {
    const char *endpoint;
    const struct key_file *key;
    return server_find(&endpoint, &key) == 0 && key && ++server_key < key->n_servers;
}

static int send_request(const struct message *m) {
    Cai__V1__Request request = CAI__V1__REQUEST__INIT;
    Cai__V1__Frame frame = CAI__V1__FRAME__INIT;
    request.verb = (char *)m->verb;
    request.json = (char *)m->json;
    request.key = (char *)m->key;
    request.data.data = (uint8_t *)m->data;
    request.data.len = m->len;
    request.protocol = PROTOCOL;
    frame.body_case = CAI__V1__FRAME__BODY_REQUEST;
    frame.request = &request;
    if (!channel)
        CAI_TRY(connect_now());
    return channel_send(channel, NULL, &frame);
}

/* 1 and a reply, 0 when the time is up. */
static int receive_reply(int64_t until_ms, Cai__V1__Frame **ret) {
    for (;;) {
        struct channel_peer peer;
        int rc = channel_receive(channel, &peer, ret);
        if (rc < 0)
            return rc;
        if (rc > 0 && (*ret)->body_case == CAI__V1__FRAME__BODY_REPLY)
            return 1;
        if (rc > 0) {
            cai__v1__frame__free_unpacked(*ret, NULL);
            return cai_fail(CAI_EPROTO, "%s answered with something that is no reply",
                            client_endpoint());
        }
        CAI_TRY(channel_standing(channel)); /* a refused key is known at once */
        int64_t left = until_ms - cai_now_ms();
        if (left <= 0)
            return 0;
        struct pollfd p = {channel_fd(channel), POLLIN, 0};
        poll(&p, 1, (int)(left < SLICE_MS ? left : SLICE_MS));
    }
}

static int exchange(const struct message *m, Cai__V1__Frame **ret) {
    int64_t end = cai_now_ms() + (int64_t)(globals.timeout_s * 1000);
    if (!context)
        context = zmq_ctx_new();
    CAI_CHECK(context);
    const char *endpoint;
    const struct key_file *own;
    CAI_TRY(server_find(&endpoint, &own));
    for (;;) {
        CAI_TRY(probe(endpoint));
        CAI_TRY(send_request(m));
        int64_t until = cai_now_ms() + TRY_MS;
        int rc = receive_reply(until < end ? until : end, ret);
        if (rc == CAI_EPROTO && next_server()) {
            disconnect();
            continue;
        }
        if (rc != 0)
            return rc < 0 ? rc : 0;
        disconnect(); /* a late answer to the old try must not be taken for the new one's */
        if (cai_now_ms() >= end)
            return cai_fail(CAI_ETIMEOUT, "%s did not answer \"%s\" in %.0f s", client_endpoint(),
                            m->verb, globals.timeout_s);
    }
}

static int read_reply(const Cai__V1__Reply *reply, json_t **ret) {
    json_error_t e;
    if (protocol_check(reply->protocol, "the daemon") < 0)
        return EXIT_PROTOCOL;
    if (reply->exit != 0) {
        CAI_AUTO(buf) struct cai_buf text = {0};
        cai_text_printable(&text, reply->error, strlen(reply->error), true);
        cai_fail(CAI_ESTATE, "%s", text.len ? text.data : "the daemon refused without a reason");
        return reply->exit > 0 && reply->exit < 256 ? reply->exit : EXIT_DAEMON;
    }
    *ret = json_loads(*reply->json ? reply->json : "{}", 0, &e);
    if (json_is_object(*ret))
        return EXIT_OK;
    json_decref(*ret);
    *ret = NULL;
    cai_fail(CAI_EPROTO, "the daemon's reply is no JSON object: %s", e.text);
    return EXIT_PROTOCOL;
}

static int ask(const struct message *without_json, json_t *arguments, json_t **ret) {
    struct message m = *without_json;
    json_t *o = arguments ? arguments : json_object();
    CAI_AUTO(mem) char *json = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    CAI_CHECK(json);
    m.json = json;
    *ret = NULL;
    Cai__V1__Frame *frame = NULL;
    int rc = exchange(&m, &frame);
    if (rc < 0) {
        disconnect();
        return rc == CAI_ETIMEOUT ? EXIT_UNREACHABLE : control_exit_of(rc);
    }
    int code = read_reply(frame->reply, ret);
    cai__v1__frame__free_unpacked(frame, NULL);
    return code;
}

int client_try(const char *verb, json_t *arguments, bool changes, json_t **ret) {
    char key[33] = "";
    unsigned char random[16];
    if (changes && getrandom(random, sizeof random, 0) == (ssize_t)sizeof random)
        for (size_t i = 0; i < sizeof random; i++)
            snprintf(key + 2 * i, 3, "%02x", random[i]);
    return ask(&(struct message){verb, NULL, key, NULL, 0}, arguments, ret);
}

int client_data(const char *verb, json_t *arguments, const void *data, size_t len, json_t **ret) {
    int code = ask(&(struct message){verb, NULL, "", data, len}, arguments, ret);
    return code ? complain(code, "%s", cai_error_text()) : 0;
}

int client_call(const char *verb, json_t *arguments, bool changes, json_t **ret) {
    int code = client_try(verb, arguments, changes, ret);
    return code ? complain(code, "%s", cai_error_text()) : 0;
}
