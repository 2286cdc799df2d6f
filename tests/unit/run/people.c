/* people: who may change what; names of users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "run/people.h"
#include <string.h>
#include <unistd.h>

enum { ANN = 23451, BOB = 23452 };

static void owners_and_rulers_may(void **state) {
    (void)state;
    struct run r = {0};
    struct channel_peer ann = {.uid = ANN, .gid = ANN}, bob = {.uid = BOB, .gid = BOB},
                        root = {.uid = 0, .gid = 0}, own = {.uid = geteuid(), .gid = getegid()},
                        nobody = {.uid = -1, .gid = -1};
    assert_int_equal(person_may(&r, &ann, ANN, "job 1"), 0);
    assert_int_equal(person_may(&r, &root, ANN, "job 1"), 0);
    assert_int_equal(person_may(&r, &own, ANN, "job 1"), 0);
    assert_int_equal(person_may(&r, &bob, ANN, "job 1"), CAI_EAUTH);
    assert_non_null(strstr(cai_error_text(), "job 1 belongs to uid 23451"));
    /* A job of before owners were known is nobody's, and whom the kernel does not name is not
     * its owner. */
    assert_int_equal(person_may(&r, &bob, -1, "job 1"), CAI_EAUTH);
    assert_int_equal(person_may(&r, &nobody, -1, "job 1"), CAI_EAUTH);
    assert_int_equal(person_may(&r, &nobody, ANN, "job 1"), CAI_EAUTH);
}

static void a_group_rules(void **state) {
    (void)state;
    struct run r = {0};
    struct channel_peer bob = {.uid = BOB, .gid = 12}; /* "man", in every Debian */
    snprintf(r.o.config.admins, sizeof r.o.config.admins, "man");
    assert_int_equal(person_may(&r, &bob, ANN, "job 1"), 0);
    bob.gid = 13;
    assert_int_equal(person_may(&r, &bob, ANN, "job 1"), CAI_EAUTH);
    assert_non_null(strstr(cai_error_text(), "the group man"));
    struct channel_peer man = {.uid = 6, .gid = 13}; /* the user man, whose own group it is */
    assert_int_equal(person_may(&r, &man, ANN, "job 1"), 0);
    snprintf(r.o.config.admins, sizeof r.o.config.admins, "no-such-group");
    assert_int_equal(person_may(&r, &man, ANN, "job 1"), CAI_EAUTH);
}

static void names_and_numbers(void **state) {
    (void)state;
    char name[PERSON_MAX];
    int64_t uid = -1;
    assert_string_equal(person_name(0, name), "root");
    assert_string_equal(person_name(ANN, name), "uid 23451");
    assert_string_equal(person_name(-1, name), "unknown");
    assert_int_equal(person_find("root", &uid), 0);
    assert_int_equal(uid, 0);
    assert_int_equal(person_find("23451", &uid), 0);
    assert_int_equal(uid, ANN);
    assert_int_equal(person_find("no-such-user", &uid), CAI_ENOTFOUND);
    assert_int_equal(person_find("-1", &uid), CAI_ENOTFOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(owners_and_rulers_may),
                                       cmocka_unit_test(a_group_rules),
                                       cmocka_unit_test(names_and_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
