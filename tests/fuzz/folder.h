/* folder.h: a folder for the whole life of a fuzzer, removed when it ends. */
#ifndef CAI_FUZZ_FOLDER_H
#define CAI_FUZZ_FOLDER_H

#include "base/check.h"
#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>

static char folder[64]; /* "" until it is made */

static void folder_remove(void) { (void)cai_dir_remove(folder); }

/* `where`: "/tmp", or "/dev/shm" so that no disk waits for fsync. */
static inline void folder_make(const char *where) {
    snprintf(folder, sizeof folder, "%s/cai-fuzz-XXXXXX", where);
    CAI_CHECK(mkdtemp(folder));
    atexit(folder_remove);
}

#endif
