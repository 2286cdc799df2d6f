/* visits: links hold once and for a while; sessions last over a restart, and end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "web/inside.h"
#include <stdio.h>
#include <unistd.h>

enum { IDLE = 600 };
static const struct web_person ann = {"ann", 1000, 100, ""};
static struct visits v;
static char path[128];

static int set_up(void **state) {
    (void)state;
    snprintf(path, sizeof path, "%s/sessions.json", dir);
    unlink(path);
    return visits_load(&v, path, IDLE, 1000);
}
static int tear_down(void **state) {
    (void)state;
    visits_free(&v);
    return 0;
}

static struct visit *enter(int64_t now, char cookie[SECRET_SIZE], char secret[SECRET_SIZE]) {
    char token[SECRET_SIZE];
    visits_invite(&v, &ann, now, token);
    assert_int_equal(visits_enter(&v, token, now, cookie, secret), 0);
    return visits_find(&v, cookie, now);
}

static void a_link_holds_once(void **state) {
    (void)state;
    char token[SECRET_SIZE], cookie[SECRET_SIZE], secret[SECRET_SIZE];
    visits_invite(&v, &ann, 1000, token);
    assert_int_equal(strlen(token), SECRET_SIZE - 1);
    assert_int_equal(visits_enter(&v, "nonsense", 1000, cookie, secret), CAI_EAUTH);
    assert_int_equal(visits_enter(&v, token, 1000, cookie, secret), 0);
    assert_int_equal(visits_enter(&v, token, 1000, cookie, secret), CAI_EAUTH);
    assert_int_equal(v.n, 1);
}

static void a_link_grows_old(void **state) {
    (void)state;
    char token[SECRET_SIZE], cookie[SECRET_SIZE], secret[SECRET_SIZE];
    visits_invite(&v, &ann, 1000, token);
    assert_int_equal(visits_enter(&v, token, 1001 + WEB_LINK_S, cookie, secret), CAI_EAUTH);
    assert_int_equal(visits_enter(&v, token, 1000, cookie, secret), CAI_EAUTH); /* it is used up */
}

static void many_links_push_out_the_oldest(void **state) {
    (void)state;
    char tokens[LINKS_MAX + 1][SECRET_SIZE], cookie[SECRET_SIZE], secret[SECRET_SIZE];
    for (int i = 0; i <= LINKS_MAX; i++)
        visits_invite(&v, &ann, 1000 + i, tokens[i]);
    assert_int_equal(visits_enter(&v, tokens[0], 1000, cookie, secret), CAI_EAUTH);
    assert_int_equal(visits_enter(&v, tokens[1], 1000, cookie, secret), 0);
    assert_int_equal(visits_enter(&v, tokens[LINKS_MAX], 1000, cookie, secret), 0);
}

static void a_session_is_of_its_person(void **state) {
    (void)state;
    char cookie[SECRET_SIZE], secret[SECRET_SIZE], other[SECRET_SIZE], others[SECRET_SIZE];
    const struct visit *one = enter(1000, cookie, secret);
    assert_non_null(one);
    assert_string_equal(one->who.name, "ann");
    assert_int_equal(one->who.uid, 1000);
    (void)enter(1000, other, others);
    one = visits_find(&v, cookie, 1000);
    assert_true(visit_knows(one, secret));
    assert_false(visit_knows(one, others));
    assert_false(visit_knows(one, cookie));
    assert_false(visit_knows(one, ""));
    assert_false(visit_knows(one, NULL));
    assert_null(visits_find(&v, "nonsense", 1000));
}

static void idle_ones_end(void **state) {
    (void)state;
    char cookie[SECRET_SIZE], secret[SECRET_SIZE];
    struct visit *one = enter(1000, cookie, secret);
    assert_non_null(visits_find(&v, cookie, 1000 + IDLE));
    visits_use(&v, one, 1500);
    assert_non_null(visits_find(&v, cookie, 1500 + IDLE));
    assert_null(visits_find(&v, cookie, 1501 + IDLE));
    visits_beat(&v, 1501 + IDLE);
    assert_int_equal(v.n, 0);
}

static void a_restart_keeps_them_and_no_secret(void **state) {
    (void)state;
    char cookie[SECRET_SIZE], secret[SECRET_SIZE];
    CAI_AUTO(buf) struct cai_buf text = {0};
    enter(1000, cookie, secret);
    assert_int_equal(cai_file_read(path, 1 << 20, &text), 0);
    assert_null(strstr(text.data, cookie));
    assert_null(strstr(text.data, secret));
    visits_free(&v);
    assert_int_equal(visits_load(&v, path, IDLE, 1100), 0);
    struct visit *one = visits_find(&v, cookie, 1100);
    assert_non_null(one);
    assert_true(visit_knows(one, secret));
    assert_string_equal(one->who.name, "ann");
    visits_leave(&v, one);
    visits_beat(&v, 1100);
    visits_free(&v);
    assert_int_equal(visits_load(&v, path, IDLE, 1100), 0);
    assert_int_equal(v.n, 0);
}

static void a_wrong_file_ends_sessions_alone(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{}", "[1,2]", "[{\"cookie\":\"zz\"}]", "[{", "[[[[[["};
    char cookie[SECRET_SIZE], secret[SECRET_SIZE];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        visits_free(&v);
        assert_int_equal(cai_file_write_atomic(path, texts[i], strlen(texts[i])), 0);
        (void)visits_load(&v, path, IDLE, 1000);
        assert_int_equal(v.n, 0);
        assert_non_null(enter(1000, cookie, secret));
    }
}

static void many_sessions_push_out_the_idlest(void **state) {
    (void)state;
    char first[SECRET_SIZE], cookie[SECRET_SIZE], secret[SECRET_SIZE];
    enter(1000, first, secret);
    for (int i = 1; i <= VISITS_MAX; i++)
        enter(1000 + i % 2, cookie, secret);
    assert_int_equal(v.n, VISITS_MAX);
    assert_null(visits_find(&v, first, 1000));
    assert_non_null(visits_find(&v, cookie, 1000));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_link_holds_once), TEST(a_link_grows_old), TEST(many_links_push_out_the_oldest),
        TEST(a_session_is_of_its_person), TEST(idle_ones_end), TEST(a_restart_keeps_them_and_no_secret),
        TEST(a_wrong_file_ends_sessions_alone), TEST(many_sessions_push_out_the_idlest)};
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
