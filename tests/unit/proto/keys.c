/* keys: pairs, roles, key files: what is written reads back, what is wrong is told by line. */
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
#include <unistd.h>

static const char comment[] = "a key";

static struct key_file sample(void) {
    struct key_file k = {.name = "gpu-7", .role = ROLE_WORKER, .n_servers = 2};
    struct key_file server;
    assert_int_equal(key_make(&k), 0);
    for (size_t i = 0; i < k.n_servers; i++) {
        assert_int_equal(key_make(&server), 0);
        memcpy(k.server[i], server.public_key, KEY_SIZE);
    }
    return k;
}

static void roles_have_names(void **state) {
    (void)state;
    for (int i = ROLE_NONE + 1; i < ROLE_COUNT; i++)
        assert_int_equal(key_role_of(key_role_name((enum key_role)i)), i);
    assert_int_equal(key_role_of("none"), ROLE_NONE);
    assert_int_equal(key_role_of("root"), ROLE_NONE);
    assert_string_equal(key_role_name((enum key_role)99), "none");
}

static void keys_are_known_from_other_text(void **state) {
    (void)state;
    struct key_file k = sample();
    assert_true(key_valid(k.public_key));
    k.public_key[7] = ' ';
    assert_false(key_valid(k.public_key));
    k.public_key[7] = '\0';
    assert_false(key_valid(k.public_key));
    /* Five characters above 2^32 are no four bytes. */
    assert_false(key_valid("########################################"));
    assert_true(key_name_valid("a"));
    assert_true(key_name_valid("gpu-7"));
    static const char *const bad[] = {"", "-a", "A", "a.b", "a b", "a/b", "\xc3\xa4",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < CAI_COUNT(bad); i++)
        assert_false(key_name_valid(bad[i]));
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    struct key_file k = sample(), back;
    CAI_AUTO(buf) struct cai_buf text = {0};
    key_file_write(&k, comment, &text);
    assert_int_equal(key_file_parse(text.data, text.len, "f", &back), 0);
    assert_memory_equal(&k, &back, sizeof k);
}

static void wrong_lines_are_named(void **state) {
    (void)state;
    struct key_file k = sample(), other = sample();
    CAI_AUTO(mem) char *foreign = cai_format("public %s\nsecret %s\n", other.public_key, k.secret_key);
    CAI_AUTO(mem) char *many = cai_format("secret %s\nserver %s\nserver %s\nserver %s\nserver %s\n"
                                          "server %s\n", k.secret_key, k.public_key, k.public_key,
                                          k.public_key, k.public_key, k.public_key);
    const struct {
        const char *text, *says;
    } bad[] = {{"", "no line 'secret"},
               {"secret x\n", "f:1: secret is no key"},
               {"# c\n\nname A\n", "f:3: a name"},
               {"role root\n", "f:1: 'root' is no role"},
               {"name secret-gpu\nrole worker\nname gpu-7\n", "f:3: a second line 'name'"},
               {"role worker\nrole admin\n", "f:2: a second line 'role'"},
               {"password x\n", "f:1: 'password'"},
               {"name\n", "f:1: a line is"},
               {"name a b\n", "f:1: a line is"},
               {foreign, "is not the secret one's"},
               {many, "more than 4"}};
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        struct key_file back = {.n_servers = 9};
        assert_int_equal(key_file_parse(bad[i].text, strlen(bad[i].text), "f", &back), CAI_EINPUT);
        assert_non_null(strstr(cai_error_text(), bad[i].says));
        assert_null(strstr(cai_error_text(), k.secret_key));
        assert_int_equal(back.n_servers, 9);
    }
}

static void files_are_private(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-keys-XXXXXX";
    assert_non_null(mkdtemp(dir));
    CAI_AUTO(mem) char *path = cai_path_join(dir, "k");
    struct key_file k = sample(), back;
    struct stat st;
    assert_int_equal(key_file_save(path, &k, comment, false), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(key_file_save(path, &k, comment, false), CAI_ESTATE);
    assert_int_equal(key_file_load(path, &back), 0);
    assert_string_equal(back.secret_key, k.secret_key);
    assert_int_equal(key_file_save(path, &k, comment, true), 0);
    static const mode_t open_modes[] = {0644, 0604, 0620, 0602};
    for (size_t i = 0; i < CAI_COUNT(open_modes); i++) {
        assert_int_equal(chmod(path, open_modes[i]), 0);
        assert_int_equal(key_file_load(path, &back), CAI_EAUTH);
    }
    assert_int_equal(chmod(path, 0440), 0); /* as Kubernetes gives it */
    assert_int_equal(key_file_load(path, &back), 0);
    assert_int_equal(cai_dir_remove(dir), 0);
}

static void servers_by_commas(void **state) {
    (void)state;
    struct key_file k = sample(), got = {0};
    CAI_AUTO(mem) char *two = cai_format("%s,%s", k.server[0], k.server[1]);
    assert_int_equal(key_servers_parse(two, &got), 0);
    assert_int_equal(got.n_servers, 2);
    assert_string_equal(got.server[1], k.server[1]);
    two[3] = ',';
    assert_int_equal(key_servers_parse(two, &got), CAI_EINPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_have_names),           cmocka_unit_test(keys_are_known_from_other_text),
        cmocka_unit_test(what_is_written_reads_back), cmocka_unit_test(wrong_lines_are_named),
        cmocka_unit_test(files_are_private),          cmocka_unit_test(servers_by_commas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
