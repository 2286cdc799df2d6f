/* channel: frames arrive whole and in order, everything else is refused by code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "proto/channel.h"
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

enum { MAX_BYTES = 4096 };

struct fixture {
    char dir[32];
    char *endpoint;
    void *zmq;
    struct channel *bound;
};

static int setup(void **state) {
    struct fixture *f = cai_alloc(sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/cai-chan-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->endpoint = cai_format("ipc://%s/s", f->dir);
    f->zmq = zmq_ctx_new();
    *state = f;
    return channel_bind(f->zmq, f->endpoint, MAX_BYTES, &f->bound);
}

static int teardown(void **state) {
    struct fixture *f = *state;
    channel_close(f->bound);
    zmq_ctx_term(f->zmq);
    int rc = cai_dir_remove(f->dir);
    free(f->endpoint);
    free(f);
    return rc;
}

/* 1 a frame, or the first code that is not 0 within 2 s; 0 when nothing came. */
static int receive(struct channel *c, struct channel_peer *peer, Cai__V1__Frame **ret, int ms) {
    for (int i = 0; i <= ms / 10; i++) {
        int rc = channel_receive(c, peer, ret);
        if (rc != 0)
            return rc;
        struct pollfd p = {channel_fd(c), POLLIN, 0};
        poll(&p, 1, 10);
    }
    return 0;
}

static int send_request(struct channel *c, const struct channel_peer *peer, const char *verb) {
    Cai__V1__Request request = CAI__V1__REQUEST__INIT;
    request.verb = (char *)verb;
    Cai__V1__Frame frame = CAI__V1__FRAME__INIT;
    frame.body_case = CAI__V1__FRAME__BODY_REQUEST;
    frame.request = &request;
    return channel_send(c, peer, &frame);
}

static void there_and_back(void **state) {
    struct fixture *f = *state;
    struct channel *c = NULL;
    assert_int_equal(channel_connect(f->zmq, f->endpoint, MAX_BYTES, &c), 0);
    struct channel_peer peer = {0};
    Cai__V1__Frame *got = NULL;
    static const char *const verbs[] = {"one", "two", "three"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(send_request(c, NULL, verbs[i]), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(receive(f->bound, &peer, &got, 2000), 1);
        assert_string_equal(got->request->verb, verbs[i]);
        cai__v1__frame__free_unpacked(got, NULL);
    }
    assert_int_equal(send_request(f->bound, &peer, "back"), 0);
    assert_int_equal(receive(c, NULL, &got, 2000), 1);
    assert_string_equal(got->request->verb, "back");
    cai__v1__frame__free_unpacked(got, NULL);
    assert_int_equal(channel_receive(c, NULL, &got), 0);
    channel_close(c);
}

static void gone_peers_are_known(void **state) {
    struct fixture *f = *state;
    struct channel_peer nobody = {3, "abc"};
    assert_int_equal(send_request(f->bound, &nobody, "hello"), CAI_ENOTFOUND);
}

static void a_network_takes_a_key(void **state) {
    struct fixture *f = *state;
    struct channel *c = NULL;
    assert_int_equal(channel_bind(f->zmq, "tcp://127.0.0.1:5555", MAX_BYTES, &c), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "key"));
    assert_int_equal(channel_connect(f->zmq, "tcp://127.0.0.1:5555", MAX_BYTES, &c), CAI_EINPUT);
    CAI_AUTO(mem) char *longer = cai_format("ipc:///tmp/%0120d", 1);
    assert_int_equal(channel_bind(f->zmq, longer, MAX_BYTES, &c), CAI_EINPUT);
    assert_null(c);
}

static void socket_is_for_the_group(void **state) {
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(stat(f->endpoint + 6, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
}

static void send_parts(void *socket, const char *const *part, const size_t *len, size_t n) {
    for (size_t i = 0; i < n; i++)
        assert_true(zmq_send(socket, part[i], len[i], i + 1 < n ? ZMQ_SNDMORE : 0) >= 0);
}

/* Whatever a stranger sends is one code, and the next good frame still arrives. */
static void nonsense_is_dropped(void **state) {
    struct fixture *f = *state;
    void *stranger = zmq_socket(f->zmq, ZMQ_DEALER);
    int zero = 0;
    zmq_setsockopt(stranger, ZMQ_LINGER, &zero, sizeof zero);
    assert_int_equal(zmq_connect(stranger, f->endpoint), 0);
    const struct {
        const char *part[6];
        size_t len[6], n;
    } bad[] = {{{"x"}, {1}, 1},
               {{"CAI2", "\x6a\x00"}, {4, 2}, 2},
               {{"CAI1", "\xff\xff\xff"}, {4, 3}, 2},
               {{"CAI1", ""}, {4, 0}, 2},
               {{"CAI1", "", ""}, {4, 0, 0}, 3},
               {{"a", "b", "c", "d", "e", "f"}, {1, 1, 1, 1, 1, 1}, 6}};
    struct channel_peer peer = {0};
    Cai__V1__Frame *got = NULL;
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        send_parts(stranger, bad[i].part, bad[i].len, bad[i].n);
        assert_int_equal(receive(f->bound, &peer, &got, 2000), CAI_EPROTO);
        assert_true(peer.len > 0);
    }
    zmq_close(stranger);
    struct channel *c = NULL;
    assert_int_equal(channel_connect(f->zmq, f->endpoint, MAX_BYTES, &c), 0);
    assert_int_equal(send_request(c, NULL, "still here"), 0);
    assert_int_equal(receive(f->bound, &peer, &got, 2000), 1);
    cai__v1__frame__free_unpacked(got, NULL);
    channel_close(c);
}

/* A message over the limit costs its sender the connection, and nobody else anything. */
static void oversize_never_arrives(void **state) {
    struct fixture *f = *state;
    struct channel *c = NULL, *other = NULL;
    assert_int_equal(channel_connect(f->zmq, f->endpoint, MAX_BYTES, &c), 0);
    CAI_AUTO(mem) char *big = cai_alloc(2 * MAX_BYTES + 1);
    memset(big, 'x', 2 * MAX_BYTES);
    assert_int_equal(send_request(c, NULL, big), 0);
    struct channel_peer peer = {0};
    Cai__V1__Frame *got = NULL;
    assert_int_equal(receive(f->bound, &peer, &got, 300), 0);
    assert_int_equal(channel_connect(f->zmq, f->endpoint, MAX_BYTES, &other), 0);
    assert_int_equal(send_request(other, NULL, "small"), 0);
    assert_int_equal(receive(f->bound, &peer, &got, 2000), 1);
    assert_string_equal(got->request->verb, "small");
    cai__v1__frame__free_unpacked(got, NULL);
    channel_close(c);
    channel_close(other);
}

#define CHANNEL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CHANNEL_TEST(there_and_back),          CHANNEL_TEST(gone_peers_are_known),
        CHANNEL_TEST(a_network_takes_a_key),    CHANNEL_TEST(socket_is_for_the_group),
        CHANNEL_TEST(nonsense_is_dropped),     CHANNEL_TEST(oversize_never_arrives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
