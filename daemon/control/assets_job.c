/* assets_job.c: what a job's file names: stored models and data by name, and paths, which caid
 * must be able to read. Not for the stored content itself (assets.c). */
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "input/report.h"
#include "control/assets.h"
#include "run/people.h"
#include "store/assets.h"
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHECK_BYTES_MAX = 64 << 20 }; /* of a data file that is read at submit */

struct named {
    const char *setting, **at;
    bool model;
    enum job_data role;
};
enum { MODELS = 6, NAMED = MODELS + JOB_DATA_FILES };

static void list_named(struct job_spec *j, struct named ret[NAMED]) {
    const struct named models[MODELS] = {
        {"models.start", &j->models.start, true, 0},
        {"models.generator", &j->models.generator, true, 0},
        {"models.overseer", &j->models.overseer, true, 0},
        {"models.second_overseer", &j->models.second_overseer, true, 0},
        {"models.pm", &j->models.pm, true, 0},
        {"models.red", &j->models.red, true, 0},
    };
    memcpy(ret, models, sizeof models);
    for (int k = 0; k < JOB_DATA_FILES; k++)
        ret[MODELS + k] = (struct named){
            cai_arena_printf(&j->arena, "data.%s", job_data_name((enum job_data)k)),
            job_data_at(j, (enum job_data)k), false, (enum job_data)k};
}

/* caictl cannot read what is stored, so its rows are checked here. */
static int check_rows(const struct job_spec *j, const struct named *n, const char *name) {
    struct job_rows rows;
    CAI_AUTO(mem) char *shown = cai_format("data:%s", name);
    struct input_report report = {.file = shown};
    int rc = job_read_data(n->role, *n->at, j->data.skip, &report, NULL, NULL, &rows);
    if (rc < 0 && report.errors && report.text.len)
        rc = cai_fail(rc, "%s: %s", n->setting, report.text.data);
    input_report_free(&report);
    return rc;
}

static int resolve(struct run *r, struct job_spec *j, const struct named *n, json_t *uses) {
    const char *kind = n->model ? "model" : "data", *name = job_stored_name(*n->at);
    struct store_asset a;
    if (!name)
        return 0;
    if ((**n->at == 'm') != n->model)
        return cai_fail(CAI_EINPUT, "%s: %s names a stored %s; expected %s:NAME", n->setting,
                        *n->at, n->model ? "data file" : "model", kind);
    CAI_TRY(store_asset_get(r->store, kind, name, &a) < 0 ? cai_fail_in("%s", n->setting) : 0);
    CAI_AUTO(mem) char *path = asset_path(r, kind, a.hash);
    if (!cai_file_exists(path))
        return cai_fail(CAI_ENOTFOUND, "%s: the content of %s:%s is missing in caid's store; add it "
                        "again with 'caictl %s add'", n->setting, kind, name, kind);
    json_array_append_new(uses, json_pack("{s:s, s:s, s:s}", "kind", kind, "name", name, "hash",
                                          a.hash));
    *n->at = cai_arena_strdup(&j->arena, path);
    return n->model || a.bytes > CHECK_BYTES_MAX ? 0 : check_rows(j, n, name);
}

int assets_resolve(struct run *r, struct job_spec *j, json_t *uses) {
    struct named all[NAMED];
    list_named(j, all);
    for (size_t i = 0; i < NAMED; i++)
        CAI_TRY(resolve(r, j, &all[i], uses));
    return 0;
}

int assets_note_uses(struct run *r, int64_t job, const json_t *uses) {
    size_t i;
    json_t *u;
    json_array_foreach(uses, i, u) {
        CAI_AUTO(mem) char *text =
            cai_format("%s:%s is %.12s", json_string_value(json_object_get(u, "kind")),
                       json_string_value(json_object_get(u, "name")),
                       json_string_value(json_object_get(u, "hash")));
        CAI_TRY(store_event_add(r->store, job, CAI_LOG_INFO, text));
    }
    return 0;
}

/* ---- paths ------------------------------------------------------------------------- */

/* The last part of a path as a name of the store. */
static void name_for(const char *path, char *out, size_t size) {
    size_t n = 0, len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t from = len;
    while (from > 0 && path[from - 1] != '/')
        from--;
    for (size_t i = from; i < len && n + 1 < size; i++) {
        char c = path[i] >= 'A' && path[i] <= 'Z' ? (char)(path[i] + 32) : path[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                    (c == '.' && n > 0);
        if (good)
            out[n++] = c;
    }
    snprintf(out + n, size - n, "%s", n ? "" : "name");
}

/* The file itself, or every file of a folder. errno says why not. */
static bool can_read(const char *path, bool folder, char *ret_what, size_t size) {
    snprintf(ret_what, size, "%s", path);
    if (!folder)
        return access(path, R_OK) == 0;
    DIR *d = opendir(path);
    int why = errno;
    bool good = d != NULL;
    for (struct dirent *e; good && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        bool ours = n > 5 && (strcmp(e->d_name + n - 5, ".json") == 0 ||
                              strstr(e->d_name, ".safetensors"));
        if (!ours || faccessat(dirfd(d), e->d_name, R_OK, 0) == 0)
            continue;
        why = errno;
        snprintf(ret_what, size, "%s/%s", path, e->d_name);
        good = false;
    }
    if (d)
        closedir(d);
    errno = why;
    return good;
}

static int refuse(const struct named *n, const char *what, int why) {
    char name[64], own[PERSON_MAX];
    const char *kind = n->model ? "model" : "data";
    name_for(*n->at, name, sizeof name);
    return cai_fail(CAI_EINPUT,
                    "%s: caid, which runs as %s, cannot read %s: %s; put it into caid's store with "
                    "'caictl %s add %s %s', and write %s: %s:%s",
                    n->setting, person_name((int64_t)geteuid(), own), what, strerror(why), kind,
                    name, *n->at, n->setting, kind, name);
}

int assets_readable(const struct job_spec *spec) {
    struct named all[NAMED];
    char what[4096];
    list_named((struct job_spec *)spec, all);
    for (size_t i = 0; i < NAMED; i++) {
        const char *path = *all[i].at;
        if (path && path[0] == '/' && !can_read(path, all[i].model, what, sizeof what))
            return refuse(&all[i], what, errno);
    }
    return 0;
}
