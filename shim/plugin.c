/* plugin.c: see plugin.h. */
#include "shim/plugin.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { FOLDERS_ABOVE = 5 };

/* The loader's words are lost when the next thing is tried: the first refusal of a file
 * that is there tells most. */
static void *open_one(const char *path, int flags, char **why) {
    void *handle = cai_file_exists(path) ? dlopen(path, flags) : NULL;
    if (!handle && !*why && cai_file_exists(path))
        *why = cai_strdup(dlerror());
    return handle;
}

int plugin_open(const char *file, int flags, void **ret) {
    char exe[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[len > 0 ? len : 0] = 0;
    CAI_AUTO(mem) char *why = NULL;
    *ret = NULL;
    for (int up = 0; !*ret && up < FOLDERS_ABOVE; up++) {
        char *slash = strrchr(exe, '/');
        if (!slash || slash == exe)
            break;
        *slash = 0;
        CAI_AUTO(mem) char *path = cai_format("%s/shim/%s", exe, file);
        *ret = open_one(path, flags, &why);
    }
    CAI_AUTO(mem) char *installed = cai_format("%s/%s", CAI_PLUGIN_DIR, file);
    if (!*ret)
        *ret = open_one(installed, flags, &why);
    if (*ret)
        return 0;
    return cai_fail(CAI_ENOTFOUND,
                    "the plug-in %s cannot be opened (%s); it stands in shim/ of the build or in %s",
                    file, why ? why : "there is none", CAI_PLUGIN_DIR);
}
