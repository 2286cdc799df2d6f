/* du.c: the verb `du`: the state folder's bytes by job, stage and kind, and what
 * `ckpt gc` would free of them. A page is some jobs; the first has what belongs to none. */
#include "base/error.h"
#include "base/file.h"
#include "control/control.h"
#include "run/keep.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DU_JOBS = 200 };

struct du {
    struct run *run;
    struct keep_look look;
    json_t *rows, *used;
    int64_t job, known; /* known: bytes of this job's folders that have rows */
};

static void put(json_t *rows, int64_t job, const char *stage, const char *kind, int64_t bytes,
                int64_t files, int64_t freed) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (json_integer_value(json_object_get(row, "job")) == job &&
            strcmp(json_string_value(json_object_get(row, "stage")), stage) == 0 &&
            strcmp(json_string_value(json_object_get(row, "kind")), kind) == 0) {
            bytes += json_integer_value(json_object_get(row, "bytes"));
            files += json_integer_value(json_object_get(row, "files"));
            freed += json_integer_value(json_object_get(row, "free"));
            json_array_remove(rows, i);
            break;
        }
    }
    json_array_append_new(rows, json_pack("{s:I, s:s, s:s, s:I, s:I, s:I}", "job",
                                          (json_int_t)job, "stage", stage, "kind", kind, "bytes",
                                          (json_int_t)bytes, "files", (json_int_t)files, "free",
                                          (json_int_t)freed));
}

struct role {
    char stage[40];
    bool state;
};
static int take_role(void *c, const struct store_model *m) {
    struct role *r = c;
    snprintf(r->stage, sizeof r->stage, "%s", m->stage);
    r->state = strcmp(m->kind, "checkpoint") == 0;
    return 1;
}

static int du_folder(void *c, const struct store_folder *f) {
    struct du *d = c;
    int64_t bytes, files;
    struct role role = {.stage = ""};
    struct keep_refs refs = {0};
    if (f->state == FOLDER_GONE || !keep_owns(d->run, f->path) || !cai_file_exists(f->path))
        return 0;
    CAI_TRY(cai_dir_size(f->path, &bytes, &files));
    int rc = store_models_of_path(d->run->store, f->path, take_role, &role);
    CAI_TRY(rc);
    bool goes = f->state == FOLDER_GOING;
    if (!goes && !f->pinned) {
        CAI_TRY(keep_refs_of(&d->look, f, &refs));
        goes = keep_is_free(&refs);
        keep_refs_free(&refs);
    }
    put(d->rows, f->job, role.stage, role.state ? "states" : "models", bytes, files,
        goes ? bytes : 0);
    d->known += bytes;
    return 0;
}

static int du_orphan(void *c, int64_t job, const char *path) {
    struct du *d = c;
    int64_t bytes, files;
    CAI_TRY(cai_dir_size(path, &bytes, &files));
    put(d->rows, job, "", "orphans", bytes, files, bytes);
    d->known += bytes;
    return 0;
}

/* The rest of a job's folder: what a running task is writing. */
static int du_job(struct du *d, int64_t job) {
    CAI_AUTO(mem) char *dir = cai_format("%s/jobs/%lld", d->run->o.state_dir, (long long)job);
    int64_t bytes = 0, files = 0;
    d->known = 0;
    CAI_TRY(store_folders_each(d->run->store, job, 0, du_folder, d));
    CAI_TRY(keep_orphans(d->run, job, du_orphan, d));
    if (cai_file_exists(dir))
        CAI_TRY(cai_dir_size(dir, &bytes, &files));
    if (bytes > d->known)
        put(d->rows, job, "", "unfinished", bytes - d->known, 0, 0);
    return 0;
}

static int du_blob(void *c, const char *name, const char *path) {
    struct du *d = c;
    int64_t bytes, files;
    const json_t *job = json_object_get(d->used, name);
    CAI_TRY(cai_dir_size(path, &bytes, &files));
    put(d->rows, json_integer_value(job), "", "blobs", bytes, files, job ? 0 : bytes);
    return 0;
}

static int du_one(struct du *d, const char *name, const char *kind) {
    CAI_AUTO(mem) char *path = cai_path_join(d->run->o.state_dir, name);
    int64_t bytes, files;
    if (!cai_file_exists(path))
        return 0;
    CAI_TRY(cai_dir_size(path, &bytes, &files));
    if (bytes)
        put(d->rows, 0, "", kind, bytes, files, strcmp(kind, "trash") == 0 ? bytes : 0);
    return 0;
}

static int du_shared(struct du *d) {
    static const char *const names[][2] = {{"caid.db", "database"}, {"caid.db-wal", "database"},
                                           {"backup.db", "backup"}, {"gangs", "other"},
                                           {"nonce", "other"},      {"trash", "trash"}};
    for (size_t i = 0; i < CAI_COUNT(names); i++)
        CAI_TRY(du_one(d, names[i][0], names[i][1]));
    CAI_TRY(keep_blobs_used(d->run, &d->used));
    int rc = keep_blobs_each(d->run, du_blob, d);
    json_decref(d->used);
    return rc;
}

struct ids {
    int64_t at[DU_JOBS];
    size_t n;
    bool more;
};
static int note_id(void *c, int64_t job) {
    struct ids *ids = c;
    ids->more = ids->n == DU_JOBS;
    if (!ids->more)
        ids->at[ids->n++] = job;
    return ids->more;
}

static int du(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    struct du d = {.run = r, .rows = json_array()};
    struct ids ids = {.n = 0};
    int64_t after = request_int(q, "after", 0);
    int rc = keep_look_open(r, &d.look);
    if (rc < 0) {
        json_decref(d.rows);
        return rc;
    }
    if (after == 0)
        rc = du_shared(&d);
    if (rc == 0)
        rc = store_folders_jobs(r->store, after, note_id, &ids);
    rc = rc > 0 ? 0 : rc;
    for (size_t i = 0; i < ids.n && rc == 0; i++)
        rc = du_job(&d, ids.at[i]);
    keep_look_close(&d.look);
    *ret = json_pack("{s:o, s:o, s:I}", "rows", d.rows, "next",
                     ids.more ? json_integer(ids.at[ids.n - 1]) : json_null(), "disk_free",
                     (json_int_t)cai_dir_free_bytes(r->o.state_dir));
    return rc;
}

const struct verb du_verbs[] = {
    {"du", false, "after:i", du},
    {0},
};
