/* manifest.c: MANIFEST.json: every file of a folder with its size and SHA-256, so that damage
 * has a name. Not for the model hash (folder.c), which says what a model is. */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"
#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MANIFEST_MAX = 16 << 20 };

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int ordinary(const struct dirent *d) {
    return d->d_name[0] != '.' && strcmp(d->d_name, "MANIFEST.json") != 0 &&
           strcmp(d->d_name, "PINNED") != 0 && !strstr(d->d_name, ".tmp-"); /* a write cut short */
}

static int add_entry(const char *dir, const char *name, json_t *files) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    char hash[CAI_SHA256_HEX];
    struct stat st;
    if (stat(path, &st) < 0)
        return cai_fail_errno("%s", path);
    if (!S_ISREG(st.st_mode))
        return 0;
    CAI_TRY(cai_file_sha256(path, hash));
    json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", name, "bytes",
                                           (json_int_t)st.st_size, "sha256", hash));
    return 0;
}

int hf_manifest_write(const char *dir) {
    struct dirent **list = NULL;
    int n = scandir(dir, &list, ordinary, by_name), rc = 0;
    if (n < 0)
        return cai_fail_errno("%s", dir);
    json_t *files = json_array();
    for (int i = 0; i < n; i++) {
        rc = rc == 0 ? add_entry(dir, list[i]->d_name, files) : rc;
        free(list[i]);
    }
    free(list);
    json_t *o = json_pack("{s:i, s:o}", "format", 1, "files", files);
    CAI_AUTO(mem) char *path = cai_path_join(dir, "MANIFEST.json");
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS);
    json_decref(o);
    CAI_CHECK(text);
    return rc < 0 ? rc : cai_file_write_atomic(path, text, strlen(text));
}

/* ---- checking ----------------------------------------------------------------------------- */

struct check {
    const char *dir;
    int (*f)(void *c, const char *name, const char *what);
    void *c;
};

static int differs(const struct check *k, const char *name, const char *what) {
    return k->f(k->c, name, what);
}

static int check_entry(const struct check *k, const json_t *entry) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *hash = json_string_value(json_object_get(entry, "sha256"));
    json_int_t bytes = json_integer_value(json_object_get(entry, "bytes"));
    char found[CAI_SHA256_HEX], what[200];
    struct stat st;
    if (!name || !hash || strchr(name, '/'))
        return differs(k, "MANIFEST.json", "has a malformed entry");
    CAI_AUTO(mem) char *path = cai_path_join(k->dir, name);
    if (stat(path, &st) < 0)
        return differs(k, name, "is missing");
    if (st.st_size != bytes) {
        snprintf(what, sizeof what, "has %lld bytes, %lld were written", (long long)st.st_size,
                 (long long)bytes);
        return differs(k, name, what);
    }
    if (cai_file_sha256(path, found) < 0)
        return differs(k, name, cai_error_text());
    if (strcmp(found, hash) == 0)
        return 0;
    snprintf(what, sizeof what, "has SHA-256 %.12s…, %.12s… was written", found, hash);
    return differs(k, name, what);
}

static bool has_entry(const json_t *files, const char *name) {
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)(uintptr_t)files, i, e) {
        const char *n = json_string_value(json_object_get(e, "name"));
        if (n && strcmp(n, name) == 0)
            return true;
    }
    return false;
}

static int check_extra(const struct check *k, const json_t *files) {
    struct dirent **list = NULL;
    int n = scandir(k->dir, &list, ordinary, by_name), rc = 0;
    for (int i = 0; i < n; i++) {
        if (rc == 0 && list[i]->d_type != DT_DIR && !has_entry(files, list[i]->d_name))
            rc = differs(k, list[i]->d_name, "came later: the manifest does not know it");
        free(list[i]);
    }
    free(list);
    return rc;
}

int hf_manifest_check(const char *dir, const char *manifest_hash,
                      int (*f)(void *c, const char *name, const char *what), void *c) {
    const struct check k = {dir, f, c};
    CAI_AUTO(mem) char *path = cai_path_join(dir, "MANIFEST.json");
    CAI_AUTO(buf) struct cai_buf text = {0};
    char found[CAI_SHA256_HEX];
    json_error_t e;
    size_t i;
    json_t *entry;
    if (!cai_file_exists(path))
        return cai_fail(CAI_ENOTFOUND, "%s has no MANIFEST.json", dir);
    CAI_TRY(cai_file_read(path, MANIFEST_MAX, &text));
    cai_sha256(text.data ? text.data : "", text.len, found);
    if (manifest_hash && *manifest_hash && strcmp(found, manifest_hash) != 0)
        return differs(&k, "MANIFEST.json", "is not the one that was committed");
    json_auto_t *o = json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &e);
    json_t *files = json_object_get(o, "files");
    if (!json_is_array(files))
        return differs(&k, "MANIFEST.json", "is damaged: no list of files");
    json_array_foreach(files, i, entry)
        CAI_TRY(check_entry(&k, entry));
    return check_extra(&k, files);
}
