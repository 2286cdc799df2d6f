/* temporary.h: a folder of a test program's own: made before its tests, removed after. Include
 * it after cmocka.h. */
#ifndef CAI_TEST_TEMPORARY_H
#define CAI_TEST_TEMPORARY_H

#include "base/file.h"
#include <stdlib.h>
#include <string.h>

static char dir[] = "/tmp/cai-test-XXXXXX";

/* Set-up and tear-down of a group. */
static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return cai_dir_remove(dir);
}

/* A file of `folder` ("." = the test's own), which is made where it is missing. */
static inline void put_text(const char *folder, const char *name, const char *text) {
    CAI_AUTO(mem) char *at = cai_path_join(dir, folder);
    CAI_AUTO(mem) char *path = cai_path_join(at, name);
    assert_int_equal(cai_dir_make(at), 0);
    assert_int_equal(cai_file_write_atomic(path, text, strlen(text)), 0);
}

#endif
