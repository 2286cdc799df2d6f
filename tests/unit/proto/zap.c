/* zap: requests are read strictly, and answered as their id asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "proto/zap.h"
#include <string.h>
#include <zmq.h>

static const unsigned char key[32] = "0123456789abcdef0123456789abcde";

static void fill(struct zap_part part[7]) {
    const struct zap_part good[] = {{"1.0", 3}, {"7", 1},     {"caid", 4}, {"10.0.0.1", 8},
                                    {"", 0},    {"CURVE", 5}, {key, 32}};
    memcpy(part, good, sizeof good);
}

static void a_good_request(void **state) {
    (void)state;
    struct zap_part part[7];
    struct zap_request q;
    char text[KEY_SIZE];
    fill(part);
    assert_int_equal(zap_parse(part, 7, &q), 0);
    assert_string_equal(q.public_key, zmq_z85_encode(text, key, 32));
    assert_string_equal(q.address, "10.0.0.1");
    assert_int_equal(q.id_len, 1);
}

static void everything_else_is_refused(void **state) {
    (void)state;
    char long_id[100] = {0};
    const struct {
        size_t part, n;
        struct zap_part with;
        int code;
    } bad[] = {{0, 7, {"2.0", 3}, CAI_EPROTO},   {0, 7, {"", 0}, CAI_EPROTO},
               {1, 7, {long_id, 100}, CAI_EPROTO}, {2, 7, {"", 0}, CAI_EAUTH},
               {2, 7, {"caidx", 5}, CAI_EAUTH},  {5, 7, {"NULL", 4}, CAI_EAUTH},
               {5, 7, {"PLAIN", 5}, CAI_EAUTH},  {5, 7, {"curve", 5}, CAI_EAUTH},
               {6, 7, {key, 31}, CAI_EPROTO},    {6, 7, {key, 0}, CAI_EPROTO},
               {0, 6, {"1.0", 3}, CAI_EPROTO},   {0, 2, {"1.0", 3}, CAI_EPROTO},
               {0, 0, {"1.0", 3}, CAI_EPROTO}};
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        struct zap_part part[7];
        struct zap_request q;
        fill(part);
        part[bad[i].part] = bad[i].with;
        assert_int_equal(zap_parse(part, bad[i].n, &q), bad[i].code);
    }
}

static void addresses_are_made_printable(void **state) {
    (void)state;
    struct zap_part part[7];
    struct zap_request q;
    fill(part);
    part[3] = (struct zap_part){"a\n\x1b[2J", 6};
    assert_int_equal(zap_parse(part, 7, &q), 0);
    assert_string_equal(q.address, "a??[2J");
}

static bool only_address(void *context, const char *public_key, const char *address) {
    (void)public_key;
    return strcmp(address, context) == 0;
}

static void the_handler_answers(void **state) {
    (void)state;
    void *context = zmq_ctx_new(), *peer = zmq_socket(context, ZMQ_REQ);
    struct zap *z = NULL;
    int ms = 2000;
    assert_int_equal(zap_open(context, only_address, (void *)"10.0.0.1", &z), 0);
    assert_int_equal(zap_turn(z), 0);
    zmq_setsockopt(peer, ZMQ_RCVTIMEO, &ms, sizeof ms);
    assert_int_equal(zmq_connect(peer, "inproc://zeromq.zap.01"), 0);
    static const struct {
        const char *mechanism, *address, *code;
        size_t parts;
    } cases[] = {{"CURVE", "10.0.0.1", "200", 7}, {"CURVE", "10.0.0.2", "400", 7},
                 {"NULL", "10.0.0.1", "400", 7},  {"CURVE", "10.0.0.1", "500", 4},
                 {"CURVE", "10.0.0.1", "500", 9}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct zap_part part[9] = {[7] = {"x", 1}, [8] = {"y", 1}};
        fill(part);
        part[3] = (struct zap_part){cases[i].address, strlen(cases[i].address)};
        part[5] = (struct zap_part){cases[i].mechanism, strlen(cases[i].mechanism)};
        for (size_t p = 0; p < cases[i].parts; p++)
            assert_true(zmq_send(peer, part[p].data, part[p].len,
                                 p + 1 < cases[i].parts ? ZMQ_SNDMORE : 0) >= 0);
        for (int t = 0, done = 0; !done && t < 200; t++) {
            zmq_pollitem_t item = {NULL, zap_fd(z), ZMQ_POLLIN, 0};
            done = zap_turn(z);
            if (!done)
                zmq_poll(&item, 1, 10);
        }
        char got[6][64] = {{0}};
        for (int p = 0; p < 6; p++)
            assert_true(zmq_recv(peer, got[p], 63, 0) >= 0);
        assert_string_equal(got[0], "1.0");
        assert_string_equal(got[1], "7");
        assert_string_equal(got[2], cases[i].code);
        assert_int_equal(strlen(got[4]), strcmp(cases[i].code, "200") == 0 ? 40 : 0);
    }
    zmq_close(peer);
    zap_close(z);
    zmq_ctx_term(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_good_request),
                                       cmocka_unit_test(everything_else_is_refused),
                                       cmocka_unit_test(addresses_are_made_printable),
                                       cmocka_unit_test(the_handler_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
