/* keyring: caid's list of keys: adding, revoking, overlaps, and its file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "proto/keys.h"
#include <string.h>
#include <sys/stat.h>

enum { NOW = 1800000000 };

static char a[KEY_SIZE], b[KEY_SIZE], c[KEY_SIZE];

static int make_keys(void **state) {
    (void)state;
    char *const keys[] = {a, b, c};
    for (size_t i = 0; i < 3; i++) {
        struct key_file k = {0};
        if (key_make(&k) < 0)
            return -1;
        memcpy(keys[i], k.public_key, KEY_SIZE);
    }
    return 0;
}

static void revoked_keys_are_not_found(void **state) {
    (void)state;
    struct keyring k = {0};
    assert_int_equal(keyring_add(&k, ROLE_CLIENT, "alice", a, NOW, -1), 0);
    assert_int_equal(keyring_find(&k, a, NOW)->role, ROLE_CLIENT);
    assert_null(keyring_find(&k, b, NOW));
    assert_int_equal(keyring_revoke(&k, "bob", NOW), CAI_ENOTFOUND);
    assert_int_equal(keyring_revoke(&k, "alice", NOW + 5), 0);
    assert_null(keyring_find(&k, a, NOW + 5));
    assert_non_null(keyring_known(&k, a));
    assert_int_equal(keyring_revoke(&k, "alice", NOW + 6), CAI_ENOTFOUND);
    /* A revoked key never comes back; the name may have another. */
    assert_int_equal(keyring_add(&k, ROLE_CLIENT, "alice", a, NOW + 6, -1), CAI_ESTATE);
    assert_int_equal(keyring_add(&k, ROLE_CLIENT, "alice", b, NOW + 6, -1), 0);
    keyring_free(&k);
}

static void a_name_has_one_key_or_an_overlap(void **state) {
    (void)state;
    struct keyring k = {0};
    assert_int_equal(keyring_add(&k, ROLE_WORKER, "gpu", a, NOW, -1), 0);
    assert_int_equal(keyring_add(&k, ROLE_WORKER, "gpu", b, NOW, -1), CAI_ESTATE);
    assert_int_equal(keyring_add(&k, ROLE_WORKER, "gpu", b, NOW, 100), 0);
    assert_non_null(keyring_find(&k, a, NOW + 99));
    assert_non_null(keyring_find(&k, b, NOW + 99));
    assert_null(keyring_find(&k, a, NOW + 100));
    /* A second rotation does not lengthen the first one's overlap. */
    assert_int_equal(keyring_add(&k, ROLE_WORKER, "gpu", c, NOW + 50, 1000), 0);
    assert_null(keyring_find(&k, a, NOW + 100));
    assert_non_null(keyring_find(&k, b, NOW + 1049));
    assert_int_equal(keyring_revoke(&k, b, NOW + 60), 0); /* one key by itself */
    assert_null(keyring_find(&k, b, NOW + 60));
    assert_non_null(keyring_find(&k, c, NOW + 60));
    keyring_free(&k);
}

static void the_file_reads_back(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-ring-XXXXXX";
    assert_non_null(mkdtemp(dir));
    CAI_AUTO(mem) char *path = cai_path_join(dir, "clients");
    struct keyring k = {0}, back;
    assert_int_equal(keyring_load(path, &back), 0);
    assert_int_equal(back.n, 0);
    assert_int_equal(keyring_add(&k, ROLE_WORKER, "gpu", a, NOW, -1), 0);
    assert_int_equal(keyring_add(&k, ROLE_ADMIN, "root", b, NOW, -1), 0);
    assert_int_equal(keyring_revoke(&k, "gpu", NOW + 7), 0);
    assert_int_equal(keyring_save(path, &k), 0);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(keyring_load(path, &back), 0);
    assert_int_equal(back.n, 2);
    assert_memory_equal(back.entries, k.entries, 2 * sizeof *k.entries);
    keyring_free(&back);
    assert_int_equal(chmod(path, 0620), 0);
    assert_int_equal(keyring_load(path, &back), CAI_EAUTH);
    keyring_free(&k);
    assert_int_equal(cai_dir_remove(dir), 0);
}

static void wrong_lines_are_named(void **state) {
    (void)state;
    static const struct {
        const char *before, *after, *says;
    } bad[] = {{"root x ", " - -\n", "f:1: 'root' is no role"},
               {"worker X ", " - -\n", "f:1: a name"},
               {"worker x z", " - -\n", "f:1: no key"},
               {"worker x ", " yesterday -\n", "f:1: a time"},
               {"worker x ", " - 2026-01-31\n", "f:1: a time"},
               {"worker x ", " -\n", "f:1: a line is"},
               {"worker x ", " - - -\n", "f:1: a line is"}};
    struct keyring k;
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        CAI_AUTO(mem) char *text = cai_format("%s%s%s", bad[i].before, a, bad[i].after);
        assert_int_equal(keyring_parse(text, strlen(text), "f", &k), CAI_EINPUT);
        assert_non_null(strstr(cai_error_text(), bad[i].says));
    }
    CAI_AUTO(mem) char *twice = cai_format("worker x %s - -\n\nadmin y %s - -\n", a, a);
    assert_int_equal(keyring_parse(twice, strlen(twice), "f", &k), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "f:3: the key of y is there twice"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(revoked_keys_are_not_found),
                                       cmocka_unit_test(a_name_has_one_key_or_an_overlap),
                                       cmocka_unit_test(the_file_reads_back),
                                       cmocka_unit_test(wrong_lines_are_named)};
    return cmocka_run_group_tests(tests, make_keys, NULL);
}
