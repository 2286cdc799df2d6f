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
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
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

/* ---- who is at the other end -------------------------------------------------------------- */

enum { ANN = 23451 };

/* A frame by hand, as ZMTP 3 has it (rfc.zeromq.org/spec/23). */
static size_t put_frame(unsigned char *out, int flags, const void *body, size_t len) {
    out[0] = (unsigned char)flags;
    out[1] = (unsigned char)len;
    memcpy(out + 2, body, len);
    return len + 2;
}
static size_t put_property(unsigned char *out, const char *name, const char *value) {
    size_t n = strlen(name), v = strlen(value);
    out[0] = (unsigned char)n;
    memcpy(out + 1, name, n);
    memcpy(out + 1 + n, "\0\0\0", 3);
    out[4 + n] = (unsigned char)v;
    memcpy(out + 5 + n, value, v);
    return n + v + 5;
}

/* The other side does not look at what comes before it has spoken. */
static bool say(int fd, const unsigned char *out, size_t n, size_t answer) {
    unsigned char in[256];
    if (write(fd, out, n) != (ssize_t)n)
        return false;
    for (ssize_t got; answer > 0; answer -= (size_t)got)
        if ((got = read(fd, in, answer < sizeof in ? answer : sizeof in)) <= 0)
            return false;
    return true;
}

/* Speaks for itself, and says that it is root. */
static int lie(const char *path, const unsigned char *packed, size_t len) {
    unsigned char out[512] = {0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0, 'N', 'U', 'L', 'L'}, ready[256];
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return 1;
    size_t n = 64, r = 6;
    memcpy(ready, "\5READY", 6);
    r += put_property(ready + r, "Socket-Type", "DEALER");
    r += put_property(ready + r, "Peer-Address", "localhost:0:0:1");
    r += put_property(ready + r, "User-Id", "0");
    if (!say(fd, out, n, 64))
        return 2;
    n = put_frame(out, 4, ready, r);
    if (!say(fd, out, n, 2))
        return 3;
    n = put_frame(out, 1, "CAI1", 4);
    n += put_frame(out + n, 0, packed, len);
    if (!say(fd, out, n, 0))
        return 4;
    char byte;
    while (read(fd, &byte, 1) > 0) /* until the other side has had enough */
        if (getppid() == 1)
            break;
    return 0;
}

static void the_kernel_names_the_peer(void **state) {
    struct fixture *f = *state;
    struct channel *c = NULL;
    struct channel_peer peer = {0};
    Cai__V1__Frame *got = NULL;
    assert_int_equal(channel_connect(f->zmq, f->endpoint, MAX_BYTES, &c), 0);
    assert_int_equal(send_request(c, NULL, "who"), 0);
    assert_int_equal(receive(f->bound, &peer, &got, 2000), 1);
    cai__v1__frame__free_unpacked(got, NULL);
    channel_close(c);
    assert_true(peer.uid == (int64_t)geteuid() && peer.gid == (int64_t)getegid());
}

static void a_peer_cannot_say_who_it_is(void **state) {
    struct fixture *f = *state;
    struct channel_peer peer = {0};
    Cai__V1__Frame *got = NULL;
    Cai__V1__Request request = CAI__V1__REQUEST__INIT;
    Cai__V1__Frame frame = CAI__V1__FRAME__INIT;
    unsigned char packed[64];
    request.verb = (char *)"lie";
    frame.body_case = CAI__V1__FRAME__BODY_REQUEST;
    frame.request = &request;
    size_t len = cai__v1__frame__pack(&frame, packed);
    bool root = geteuid() == 0;
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(chmod(f->endpoint + 6, 0777), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(root && (setgid(ANN) < 0 || setuid(ANN) < 0) ? 3 : lie(f->endpoint + 6, packed, len));
    int rc = receive(f->bound, &peer, &got, 5000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(rc, 1);
    assert_string_equal(got->request->verb, "lie");
    cai__v1__frame__free_unpacked(got, NULL);
    assert_true(peer.uid == (root ? ANN : (int64_t)geteuid()));
    assert_true(peer.gid == (root ? ANN : (int64_t)getegid()));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CHANNEL_TEST(there_and_back),          CHANNEL_TEST(gone_peers_are_known),
        CHANNEL_TEST(a_network_takes_a_key),    CHANNEL_TEST(socket_is_for_the_group),
        CHANNEL_TEST(nonsense_is_dropped),     CHANNEL_TEST(oversize_never_arrives),
        CHANNEL_TEST(the_kernel_names_the_peer), CHANNEL_TEST(a_peer_cannot_say_who_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
