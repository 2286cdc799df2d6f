/* temporary.h: a folder of a test program's own: made before its tests, removed after. Include
 * it after cmocka.h. */
#ifndef CAI_TEST_TEMPORARY_H
#define CAI_TEST_TEMPORARY_H

#include "base/file.h"
#include <stdlib.h>

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

#endif
