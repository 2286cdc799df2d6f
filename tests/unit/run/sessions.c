/* sessions: connections are counted, bounded and ended, and never a file that has their number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "run/gate.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char key[] = "0000000000000000000000000000000000000000";

static int listener(struct sockaddr_in *ret) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof *ret;
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)ret, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

static void pair(int fds[2]) {
    struct sockaddr_in at;
    int l = listener(&at);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[0], (struct sockaddr *)&at, sizeof at), 0);
    fds[1] = accept(l, NULL, NULL);
    close(l);
}

static void tell(struct sessions *s, enum channel_event event, int fd) {
    struct channel_note note = {.event = event, .fd = fd, .text = "it is a test"};
    sessions_note(s, &note);
}

static bool ended(int fd) {
    char c;
    return recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

static bool of_key(void *c, const char *public_key, int64_t age_ms) {
    (void)age_ms;
    return strcmp(public_key, c) == 0;
}

static void a_key_ends_its_own(void **state) {
    (void)state;
    struct sessions s = {0};
    int a[2], b[2];
    pair(a), pair(b);
    tell(&s, CHANNEL_CAME, a[1]);
    tell(&s, CHANNEL_CAME, b[1]);
    assert_int_equal(s.unspoken, 2);
    assert_string_equal(sessions_address(&s, a[1]), "127.0.0.1");
    struct channel_peer peer = {.fd = a[1]};
    memcpy(peer.public_key, key, sizeof key);
    sessions_spoke(&s, &peer);
    sessions_spoke(&s, &peer);
    assert_int_equal(s.unspoken, 1);
    assert_int_equal(sessions_of(&s, key), 1);
    assert_int_equal(sessions_end(&s, of_key, (void *)key), 1);
    assert_true(ended(a[0]));
    assert_false(ended(b[0]));
    assert_int_equal(sessions_of(&s, key), 0);
    tell(&s, CHANNEL_LEFT, a[1]);
    assert_int_equal(s.n, 1);
    sessions_free(&s);
    for (int i = 0; i < 2; i++)
        close(a[i]), close(b[i]);
}

/* ZeroMQ closed the connection, and another has its number now. */
static void another_with_its_number_lives(void **state) {
    (void)state;
    struct sessions s = {0};
    int a[2], b[2];
    pair(a), pair(b);
    tell(&s, CHANNEL_CAME, a[1]);
    assert_int_equal(dup2(b[1], a[1]), a[1]);
    assert_int_equal(sessions_end(&s, of_key, (void *)""), 0);
    assert_false(ended(b[0]));
    sessions_free(&s);
    for (int i = 0; i < 2; i++)
        close(a[i]), close(b[i]);
}

static void silent_ones_are_bounded(void **state) {
    (void)state;
    enum { MANY = 70 };
    struct sessions s = {0};
    int fds[MANY][2], over = 0;
    for (int i = 0; i < MANY; i++) {
        pair(fds[i]);
        tell(&s, CHANNEL_CAME, fds[i][1]);
    }
    for (int i = 0; i < MANY; i++)
        over += ended(fds[i][0]);
    assert_int_equal(over, MANY - 64);
    assert_true(ended(fds[0][0])); /* the oldest */
    for (int i = 0; i < MANY; i++) {
        tell(&s, CHANNEL_FAILED, 0);
        tell(&s, CHANNEL_LEFT, fds[i][1]);
        close(fds[i][0]), close(fds[i][1]);
    }
    assert_int_equal(s.n, 0);
    assert_int_equal(s.unspoken, 0);
    assert_int_equal(s.told, 50); /* the others are a number */
    assert_int_equal(s.untold, MANY - 50);
    sessions_free(&s);
}

int main(void) {
    cai_log_open("test", (enum cai_log_level)0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_key_ends_its_own),
                                       cmocka_unit_test(another_with_its_number_lives),
                                       cmocka_unit_test(silent_ones_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
