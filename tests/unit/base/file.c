/* file: durable writes keep the old content or the new; removal does not follow links. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "base/file.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_then_read(void **state) {
    (void)state;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "a");
    assert_int_equal(cai_file_write_atomic(path, "one", 3), 0);
    assert_int_equal(cai_file_write_atomic(path, "two!", 4), 0);
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(cai_file_read(path, 100, &b), 0);
    assert_string_equal(b.data, "two!");
}

/* Over several chunks, with a mode and a length that stay. */
static void renewed_is_as_it_was(void **state) {
    (void)state;
    enum { BYTES = 200001 };
    CAI_AUTO(mem) char *path = cai_path_join(dir, "log"), *none = cai_path_join(dir, "none");
    CAI_AUTO(mem) char *bytes = cai_alloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 31 >> 3);
    char before[CAI_SHA256_HEX], after[CAI_SHA256_HEX];
    struct stat a, b;
    assert_int_equal(cai_file_write_atomic(path, bytes, BYTES), 0);
    assert_int_equal(cai_file_sha256(path, before), 0);
    assert_int_equal(stat(path, &a), 0);
    usleep(20000); /* a clock tick of the file system */
    assert_int_equal(cai_file_renew(path), 0);
    assert_int_equal(stat(path, &b), 0);
    assert_int_equal(cai_file_sha256(path, after), 0);
    assert_string_equal(before, after);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_true(b.st_mtim.tv_sec > a.st_mtim.tv_sec || b.st_mtim.tv_nsec > a.st_mtim.tv_nsec);
    assert_int_equal(cai_file_renew(none), 0);
    assert_false(cai_file_exists(none));
    assert_true(cai_file_renew(dir) < 0);
}

static void refuses(void **state) {
    (void)state;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "big");
    assert_int_equal(cai_file_write_atomic(path, "0123456789", 10), 0);
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(cai_file_read(path, 9, &b), CAI_ELIMIT);
    assert_int_equal(cai_file_read(dir, 9, &b), CAI_EINPUT);
    assert_int_equal(cai_file_read("/nonexistent/x", 9, &b), CAI_ENOTFOUND);
    assert_true(cai_file_write_atomic("/nonexistent/x", "a", 1) < 0);
    assert_false(cai_file_exists("/nonexistent/x.tmp"));
}

static void removal_stays_inside(void **state) {
    (void)state;
    CAI_AUTO(mem) char *kept = cai_path_join(dir, "kept");
    CAI_AUTO(mem) char *tree = cai_path_join(dir, "tree/deep/er");
    CAI_AUTO(mem) char *top = cai_path_join(dir, "tree");
    CAI_AUTO(mem) char *link = cai_path_join(dir, "tree/link");
    assert_int_equal(cai_dir_make(kept), 0);
    assert_int_equal(cai_dir_make(tree), 0);
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(cai_dir_remove(top), 0);
    assert_false(cai_file_exists(top));
    assert_true(cai_file_exists(kept));
    assert_int_equal(cai_dir_remove(top), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_then_read),
        cmocka_unit_test(refuses), cmocka_unit_test(renewed_is_as_it_was),
        cmocka_unit_test(removal_stays_inside)};
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
