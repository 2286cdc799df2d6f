/* curve: endpoints, and who gets in over TCP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "proto/channel.h"
#include "proto/zap.h"
#include <poll.h>
#include <string.h>
#include <zmq.h>

static void endpoints_name_one_interface(void **state) {
    (void)state;
    static const char *const good[] = {"tcp://127.0.0.1:7707", "tcp://eth1:1", "tcp://[::1]:65535",
                                       "tcp://gpu-box.lan:7707"};
    static const char *const bad[] = {"tcp://*:7707", "tcp://0.0.0.0:7707", "tcp://[::]:7707",
                                      "tcp://:7707", "tcp://lo", "tcp://lo:0", "tcp://lo:65536",
                                      "tcp://lo:*", "tcp://lo:77x", "udp://lo:7707", "lo:7707", ""};
    for (size_t i = 0; i < CAI_COUNT(good); i++)
        assert_int_equal(channel_endpoint_check(good[i]), 0);
    for (size_t i = 0; i < CAI_COUNT(bad); i++)
        assert_int_equal(channel_endpoint_check(bad[i]), CAI_EINPUT);
}

struct fixture {
    void *zmq;
    struct zap *zap;
    struct channel *bound;
    struct key_file server, client;
    char endpoint[64], accepted[KEY_SIZE];
};

static bool verdict(void *context, const char *public_key, const char *address) {
    const struct fixture *f = context;
    return strcmp(address, "127.0.0.1") == 0 && strcmp(public_key, f->accepted) == 0;
}

static int setup(void **state) {
    struct fixture *f = cai_alloc(sizeof *f);
    *state = f;
    f->zmq = zmq_ctx_new();
    if (key_make(&f->server) < 0 || key_make(&f->client) < 0 ||
        zap_open(f->zmq, verdict, f, &f->zap) < 0)
        return -1;
    memcpy(f->accepted, f->client.public_key, KEY_SIZE);
    memcpy(f->client.server[0], f->server.public_key, KEY_SIZE);
    f->client.n_servers = 1;
    int rc = -1;
    for (int port = 20000 + (int)(random() % 20000), i = 0; rc < 0 && i < 50; i++) {
        snprintf(f->endpoint, sizeof f->endpoint, "tcp://127.0.0.1:%d", port + i);
        rc = channel_bind_curve(f->zmq, f->endpoint, CHANNEL_CONTROL_MAX, &f->server, &f->bound);
    }
    return rc;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    channel_close(f->bound);
    zap_close(f->zap);
    zmq_ctx_term(f->zmq);
    free(f);
    return 0;
}

/* Connects with a key, says one thing; its standing after a while, or what was received. */
static int come(struct fixture *f, const struct key_file *k, struct channel_peer *ret_peer) {
    struct channel *c = NULL;
    Cai__V1__Ping ping = CAI__V1__PING__INIT;
    Cai__V1__Frame frame = CAI__V1__FRAME__INIT, *got = NULL;
    frame.body_case = CAI__V1__FRAME__BODY_PING;
    frame.ping = &ping;
    assert_int_equal(channel_connect_curve(f->zmq, f->endpoint, CHANNEL_CONTROL_MAX, k, 0, &c), 0);
    assert_int_equal(channel_send(c, NULL, &frame), 0);
    int rc = 0;
    for (int i = 0; i < 500 && rc == 0; i++) {
        assert_true(zap_turn(f->zap) >= 0);
        rc = channel_receive(f->bound, ret_peer, &got);
        if (rc == 0 && channel_standing(c) < 0)
            rc = channel_standing(c);
        if (rc == 0)
            poll(NULL, 0, 10);
    }
    if (rc > 0)
        cai__v1__frame__free_unpacked(got, NULL);
    channel_close(c);
    return rc;
}

static void the_right_key_gets_in(void **state) {
    struct fixture *f = *state;
    struct channel_peer peer = {0};
    assert_int_equal(come(f, &f->client, &peer), 1);
    assert_string_equal(peer.public_key, f->client.public_key);
    assert_ptr_equal(peer.from, f->bound);
    assert_true(peer.fd >= 0);
    struct channel_note note;
    assert_true(channel_notes(f->bound, &note));
    assert_int_equal(note.event, CHANNEL_CAME);
    assert_int_equal(note.fd, peer.fd);
}

static void others_know_why_not(void **state) {
    struct fixture *f = *state;
    struct channel_peer peer = {0};
    struct key_file other = {.n_servers = 1};
    assert_int_equal(key_make(&other), 0);
    memcpy(other.server[0], f->server.public_key, KEY_SIZE);
    assert_int_equal(come(f, &other, &peer), CAI_EAUTH);
    memcpy(f->client.server[0], other.public_key, KEY_SIZE);
    assert_int_equal(come(f, &f->client, &peer), CAI_EPROTO);
    f->client.n_servers = 0;
    struct channel *c = NULL;
    assert_int_equal(channel_connect_curve(f->zmq, f->endpoint, CHANNEL_CONTROL_MAX, &f->client, 0, &c),
                     CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "--server-key"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_name_one_interface),
        cmocka_unit_test_setup_teardown(the_right_key_gets_in, setup, teardown),
        cmocka_unit_test_setup_teardown(others_know_why_not, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
