/* keep_disk.c: what lies in the state folder: files that the store does not name, and which of
 * the blobs something names. Not for deciding what stays (keep.c). */
#include "run/keep.h"

#include "base/error.h"
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char blob_folder[] = "/blobs/";
enum { HASH = 64 };

/* Calls back with each folder or file below `dir`; a folder that is not there has none. */
static int each_entry(const char *dir, int (*f)(void *c, const char *name, const char *path),
                      void *c) {
    DIR *d = opendir(dir);
    int rc = 0;
    if (!d)
        return errno == ENOENT || errno == ENOTDIR ? 0 : cai_fail_errno("%s", dir);
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        CAI_AUTO(mem) char *path = cai_path_join(dir, e->d_name);
        rc = f(c, e->d_name, path);
    }
    closedir(d);
    return rc;
}

/* ---- orphans -------------------------------------------------------------------------- */

struct search {
    struct run *run;
    int64_t job;
    json_t *known; /* path → true: a folder of the store; false: one lies below it */
    int (*f)(void *c, int64_t job, const char *path);
    void *c;
};

static int note_folder(void *c, const struct store_folder *f) {
    json_t *known = c;
    if (f->state == FOLDER_GONE)
        return 0;
    json_object_set_new(known, f->path, json_true());
    CAI_AUTO(mem) char *above = cai_strdup(f->path);
    for (char *slash; (slash = strrchr(above, '/')) && slash != above;) {
        *slash = '\0';
        if (!json_object_get(known, above))
            json_object_set_new(known, above, json_false());
    }
    return 0;
}

static int look_at(void *c, const char *name, const char *path) {
    struct search *s = c;
    (void)name;
    const json_t *known = json_object_get(s->known, path);
    if (json_is_true(known))
        return 0;
    return known ? each_entry(path, look_at, s) : s->f(s->c, s->job, path);
}

/* models/ and checkpoints/, which hold nothing but such folders, are none themselves. */
static int look_in_group(void *c, const char *name, const char *path) {
    struct search *s = c;
    bool group = strcmp(name, "models") == 0 || strcmp(name, "checkpoints") == 0;
    return group ? each_entry(path, look_at, s) : look_at(s, name, path);
}

static int any_task(void *c, int64_t id, bool gang, uint32_t failures) {
    (void)c, (void)id, (void)gang, (void)failures;
    return 1;
}

/* A worker may be writing what a task will name. */
static int orphans_of(struct search *s, int64_t job, const char *dir) {
    int busy = store_tasks_queue(s->run->store, job, any_task, NULL);
    if (busy)
        return busy < 0 ? busy : 0;
    s->job = job;
    s->known = json_object();
    int rc = store_folders_each(s->run->store, job, 0, note_folder, s->known);
    if (rc == 0)
        rc = each_entry(dir, look_in_group, s);
    json_decref(s->known);
    return rc;
}

/* Of a job that the store does not know nothing is an orphan: the store may be an older one. */
static int look_at_job(void *c, const char *name, const char *path) {
    struct search *s = c;
    char *end;
    int64_t job = strtoll(name, &end, 10);
    struct store_job row;
    if (*end || job <= 0 || store_job_get(s->run->store, job, &row) < 0)
        return 0;
    store_job_free(&row);
    return orphans_of(s, job, path);
}

int keep_orphans(struct run *r, int64_t job, int (*f)(void *c, int64_t job, const char *path),
                 void *c) {
    struct search s = {.run = r, .f = f, .c = c};
    CAI_AUTO(mem) char *jobs = cai_path_join(r->o.state_dir, "jobs");
    if (!job)
        return each_entry(jobs, look_at_job, &s);
    CAI_AUTO(mem) char *dir = cai_format("%s/%lld", jobs, (long long)job);
    return orphans_of(&s, job, dir);
}

/* ---- blobs ---------------------------------------------------------------------------- */

struct use {
    struct store *store;
    json_t *used;
    int64_t job;
};

static void use(json_t *used, const char *hash, size_t len, int64_t job) {
    char name[HASH + 1];
    if (len < HASH || strspn(hash, "0123456789abcdef") < HASH)
        return;
    memcpy(name, hash, HASH);
    name[HASH] = '\0';
    if (!json_object_get(used, name))
        json_object_set_new(used, name, json_integer(job));
}

static int use_text(void *c, int64_t job, const char *text) {
    const char *at = strstr(text, blob_folder);
    at = at ? at + strlen(blob_folder) : text;
    use(c, at, strlen(at), job);
    return 0;
}

/* A dataset's path, wherever it stands in the task. */
static int use_task(void *c, const struct store_task *t) {
    const char *at = t->payload, *end = at + t->payload_len;
    const size_t n = strlen(blob_folder);
    while (at && at < end && (at = memmem(at, (size_t)(end - at), blob_folder, n))) {
        at += n;
        if ((size_t)(end - at) >= HASH) {
            CAI_AUTO(mem) char *hash = cai_strndup(at, HASH);
            use(((struct use *)c)->used, hash, strlen(hash), t->job);
        }
    }
    return 0;
}

static int use_tasks(void *c, int64_t job) {
    struct use *u = c;
    u->job = job;
    return store_tasks_open(u->store, job, use_task, u);
}

int keep_blobs_used(struct run *r, json_t **ret) {
    json_t *used = json_object();
    int rc = store_blobs_named(r->store, use_text, used);
    /* Of jobs that failed or were cancelled too: they may be requeued. */
    struct use u = {r->store, used, 0};
    if (rc == 0)
        rc = store_tasks_jobs(r->store, use_tasks, &u);
    if (rc < 0)
        json_decref(used);
    else
        *ret = used;
    return rc;
}

int keep_blobs_each(struct run *r, int (*f)(void *c, const char *name, const char *path),
                    void *c) {
    CAI_AUTO(mem) char *blobs = cai_path_join(r->o.state_dir, "blobs");
    return each_entry(blobs, f, c);
}
