/* ckpt.c: verbs about folders of models and resumable states: ckpt.list, show, pin, rm,
 * gc. Everything that is removed is marked first (keep.c). Not for what lies on the disk as a
 * whole (du.c). */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "control/control.h"
#include "run/keep.h"
#include "run/people.h"
#include <string.h>

enum { LIST_ROWS = 100, GC_ROWS = 200 };

static const char *state_word(const struct store_folder *f) {
    return f->state == FOLDER_GOING   ? "going"
           : f->state == FOLDER_GONE  ? "gone"
           : cai_file_exists(f->path) ? "there"
                                      : "missing";
}

/* ---- one row --------------------------------------------------------------------------- */

/* The first role that it has in the job it belongs to. */
static int take_role(void *c, const struct store_model *m) {
    json_t *o = c;
    json_object_set_new(o, "round", json_integer(m->round));
    json_object_set_new(o, "stage", json_string(m->stage));
    json_object_set_new(o, "kind",
                        json_string(strcmp(m->kind, "checkpoint") == 0 ? "state" : m->kind));
    json_object_set_new(o, "k", json_integer(strcmp(m->kind, "checkpoint") == 0 ? 0 : m->k));
    json_object_set_new(o, "step", json_integer((json_int_t)m->step));
    json_object_set_new(o, "hash", json_string(m->hash));
    json_t *about = json_loads(m->provenance, 0, NULL);
    json_object_set_new(o, "provenance", about ? about : json_object());
    return 1;
}

static json_t *joined(const struct keep_refs *refs) {
    json_t *all = json_copy(refs->live);
    json_array_extend(all, refs->ended);
    json_array_extend(all, refs->kept);
    return all;
}

static int row_of(struct keep_look *look, const struct store_folder *f, json_t **ret) {
    struct run *r = look->run;
    int64_t bytes = 0, files = 0;
    struct keep_refs refs = {0};
    if (f->state != FOLDER_GONE && cai_dir_size(f->path, &bytes, &files) < 0)
        bytes = files = 0; /* not ours to read: a model that a person gave */
    json_t *o = json_pack("{s:I, s:I, s:s, s:s, s:b, s:s, s:s, s:b, s:I, s:I}", "number",
                          (json_int_t)f->number, "job", (json_int_t)f->job, "path", f->path,
                          "state", state_word(f), "pinned", (int)f->pinned, "note", f->note,
                          "why", f->why, "owned", (int)keep_owns(r, f->path), "bytes",
                          (json_int_t)bytes, "files", (json_int_t)files);
    int rc = store_models_of_path(r->store, f->path, take_role, o);
    if (rc >= 0)
        rc = f->state == FOLDER_THERE ? keep_refs_of(look, f, &refs) : 0;
    if (rc == 0) {
        json_object_set_new(o, "refers", refs.live ? joined(&refs) : json_array());
        keep_refs_free(&refs);
        *ret = o;
        return 0;
    }
    json_decref(o);
    return rc;
}

/* ---- list, show ------------------------------------------------------------------------ */

struct listing {
    struct keep_look look;
    const char *kind;
    bool all;
    json_t *rows;
    int64_t limit, last;
    bool full;
};

static int list_one(void *c, const struct store_folder *f) {
    struct listing *l = c;
    json_t *o = NULL;
    if (!l->all && (f->state != FOLDER_THERE || !cai_file_exists(f->path))) {
        l->last = f->number;
        return 0;
    }
    if ((int64_t)json_array_size(l->rows) >= l->limit) {
        l->full = true;
        return 1;
    }
    CAI_TRY(row_of(&l->look, f, &o));
    l->last = f->number;
    const char *kind = json_string_value(json_object_get(o, "kind"));
    if (l->kind && (!kind || strcmp(kind, l->kind) != 0))
        json_decref(o);
    else
        json_array_append_new(l->rows, o);
    return 0;
}

static int list(const struct request *q, json_t **ret) {
    struct listing l = {.kind = request_text(q, "kind"), .all = request_flag(q, "all"),
                        .rows = json_array(), .limit = request_int(q, "limit", LIST_ROWS)};
    if (l.limit < 1 || l.limit > LIST_ROWS)
        l.limit = LIST_ROWS;
    int rc = keep_look_open(q->run, &l.look);
    if (rc == 0) {
        rc = store_folders_each(q->run->store, request_int(q, "id", 0),
                                request_int(q, "after", 0), list_one, &l);
        keep_look_close(&l.look);
    }
    *ret = json_pack("{s:o, s:o}", "rows", l.rows, "next",
                     l.full ? json_integer(l.last) : json_null());
    return rc < 0 ? rc : 0;
}

static int reply_row(struct run *r, int64_t number, json_t **ret) {
    struct store_folder f;
    struct keep_look look;
    CAI_TRY(store_folder_get(r->store, number, &f));
    int rc = keep_look_open(r, &look);
    if (rc == 0) {
        rc = row_of(&look, &f, ret);
        keep_look_close(&look);
    }
    store_folder_free(&f);
    return rc;
}

static int show(const struct request *q, json_t **ret) {
    return reply_row(q->run, request_int(q, "number", 0), ret);
}

/* ---- pin --------------------------------------------------------------------------------- */

/* A state's trainer removes older ones by itself: it heeds a file, which comes after the pin is
 * durable and goes before the pin does. */
static int set_pin(struct run *r, const struct store_folder *f, bool pinned, const char *note) {
    CAI_AUTO(mem) char *state = cai_path_join(f->path, "state.json");
    bool marks = keep_owns(r, f->path) && cai_file_exists(state);
    if (marks && !pinned)
        CAI_TRY(keep_marker(f->path, false));
    CAI_TRY(store_folder_pin(r->store, f->number, pinned, note));
    if (marks && pinned)
        CAI_TRY(keep_marker(f->path, true));
    if (pinned && !cai_file_exists(f->path)) {
        (void)store_folder_pin(r->store, f->number, false, "");
        return cai_fail(CAI_ESTATE, "%lld is gone: its training has removed it meanwhile",
                        (long long)f->number);
    }
    return 0;
}

/* A folder is its job's, and so its owner's. */
static int may_change(const struct request *q, const struct store_folder *f) {
    struct store_job job;
    CAI_AUTO(mem) char *what = cai_format("%lld, a folder of job %lld,", (long long)f->number,
                                          (long long)f->job);
    CAI_TRY(store_job_get(q->run->store, f->job, &job));
    int rc = person_may(q->run, q->who, job.uid, what);
    store_job_free(&job);
    return rc;
}

static int pin(const struct request *q, json_t **ret) {
    struct store_folder f;
    int64_t number = request_int(q, "number", 0);
    CAI_TRY(store_folder_get(q->run->store, number, &f));
    const char *note = request_text(q, "note");
    int rc = may_change(q, &f);
    if (rc == 0)
        rc = set_pin(q->run, &f, request_flag(q, "pinned"), note ? note : "");
    store_folder_free(&f);
    return rc < 0 ? rc : reply_row(q->run, number, ret);
}

/* ---- rm ----------------------------------------------------------------------------------- */

static int refuse(const struct store_folder *f, const json_t *list, const char *help) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    size_t i;
    json_t *who;
    json_array_foreach(list, i, who)
        cai_buf_printf(&b, "%s%s", i ? "; " : "", json_string_value(who));
    return cai_fail(CAI_ESTATE, "%lld stays: %s%s", (long long)f->number, b.data ? b.data : "",
                    help);
}

static int may_remove(struct run *r, const struct store_folder *f, bool ended, bool *ret_ended) {
    struct keep_look look;
    struct keep_refs refs;
    if (f->state != FOLDER_THERE)
        return cai_fail(CAI_ESTATE, "%lld was removed before: %s", (long long)f->number, f->why);
    if (!keep_owns(r, f->path))
        return cai_fail(CAI_ESTATE, "%s is not in caid's state folder; whoever put it there may "
                        "remove it", f->path);
    if (f->pinned)
        return cai_fail(CAI_ESTATE, "%lld is pinned%s%s; 'caictl ckpt unpin %lld' first",
                        (long long)f->number, *f->note ? ": " : "", f->note,
                        (long long)f->number);
    CAI_TRY(keep_look_open(r, &look));
    int rc = keep_refs_of(&look, f, &refs);
    keep_look_close(&look);
    CAI_TRY(rc);
    *ret_ended = json_array_size(refs.ended) > 0;
    if (json_array_size(refs.live))
        rc = refuse(f, refs.live, "");
    else if (*ret_ended && !ended)
        rc = refuse(f, refs.ended, "; --ended removes it all the same");
    keep_refs_free(&refs);
    return rc;
}

static int rm(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    struct store_folder f;
    struct store_job job;
    bool last = false;
    int64_t bytes = 0, files = 0;
    CAI_TRY(store_folder_get(r->store, request_int(q, "number", 0), &f));
    int rc = may_change(q, &f);
    if (rc == 0)
        rc = may_remove(r, &f, request_flag(q, "ended"), &last);
    if (rc == 0)
        rc = store_job_get(r->store, f.job, &job);
    if (rc == 0) {
        bool could = last && job.state != JOB_COMPLETED;
        store_job_free(&job);
        (void)cai_dir_size(f.path, &bytes, &files);
        rc = keep_mark(r, &f.number, 1, could ? KEEP_BY_PERSON : "removed by a person");
    }
    if (rc == 0)
        *ret = json_pack("{s:I, s:s, s:I}", "number", (json_int_t)f.number, "path", f.path,
                         "bytes", (json_int_t)bytes);
    store_folder_free(&f);
    return rc;
}

/* ---- gc ------------------------------------------------------------------------------------ */

struct gc {
    struct keep_look look;
    json_t *rows, *used;
    bool dry;
    int64_t bytes, looked, last, limit;
    bool full;
    int64_t numbers[GC_ROWS]; /* of folders in rows */
    size_t n;
};

static void gc_row(struct gc *g, json_t *o, const char *path) {
    int64_t bytes = 0, files = 0;
    (void)cai_dir_size(path, &bytes, &files);
    g->bytes += bytes;
    json_object_set_new(o, "path", json_string(path));
    json_object_set_new(o, "bytes", json_integer(bytes));
    json_array_append_new(g->rows, o);
}

static int gc_folder(void *c, const struct store_folder *f) {
    struct gc *g = c;
    if (++g->looked > g->limit) {
        g->full = true;
        return 1;
    }
    g->last = f->number;
    if (f->state != FOLDER_THERE || f->pinned || !keep_owns(g->look.run, f->path) ||
        !cai_file_exists(f->path))
        return 0;
    struct keep_refs refs;
    CAI_TRY(keep_refs_of(&g->look, f, &refs));
    bool goes = keep_is_free(&refs);
    keep_refs_free(&refs);
    if (!goes)
        return 0;
    json_t *o = json_pack("{s:I, s:I}", "number", (json_int_t)f->number, "job",
                          (json_int_t)f->job);
    int rc = store_models_of_path(g->look.run->store, f->path, take_role, o);
    gc_row(g, o, f->path);
    g->numbers[g->n++] = f->number; /* at most `limit` were looked at */
    return rc < 0 ? rc : 0;
}

/* What the store never named goes by way of trash/, so that a request unlinks nothing itself. */
static int throw_away(struct run *r, const char *path) {
    CAI_AUTO(mem) char *trash = keep_trash(r);
    CAI_TRY(cai_dir_make(trash));
    CAI_AUTO(mem) char *to = cai_format("%s/%llu-%lld-%zu", trash, (unsigned long long)r->epoch,
                                        (long long)cai_now_ms(), (size_t)r->trash_count++);
    CAI_TRY(cai_file_rename_durable(path, to));
    r->keep_going = true;
    return 0;
}

static int gc_orphan(void *c, int64_t job, const char *path) {
    struct gc *g = c;
    if (json_array_size(g->rows) >= GC_ROWS)
        return 0;
    gc_row(g, json_pack("{s:I, s:s}", "job", (json_int_t)job, "kind", "orphan"), path);
    return g->dry ? 0 : throw_away(g->look.run, path);
}

static int gc_blob(void *c, const char *name, const char *path) {
    struct gc *g = c;
    if (!cai_is_sha256(name) || json_object_get(g->used, name) || json_array_size(g->rows) >= GC_ROWS)
        return 0;
    gc_row(g, json_pack("{s:n, s:s}", "job", "kind", "blob"), path);
    return g->dry ? 0 : throw_away(g->look.run, path);
}

/* A backup that is being copied away may still want any of them. */
static bool blobs_wanted(const struct run *r) {
    return r->front->backup || cai_now_ms() < r->front->backup_until_ms;
}

static int gc_files(struct gc *g) {
    struct run *r = g->look.run;
    CAI_TRY(keep_orphans(r, 0, gc_orphan, g));
    if (blobs_wanted(r))
        return 0;
    CAI_TRY(keep_blobs_used(r, &g->used));
    int rc = keep_blobs_each(r, gc_blob, g);
    json_decref(g->used);
    return rc;
}

static int gc(const struct request *q, json_t **ret) {
    struct gc g = {.rows = json_array(), .dry = request_flag(q, "dry_run"), .limit = GC_ROWS,
                   .last = request_int(q, "after", 0)};
    int rc = keep_look_open(q->run, &g.look);
    if (rc < 0) {
        json_decref(g.rows);
        return rc;
    }
    g.look.keep = request_int(q, "keep", 0);
    rc = store_folders_each(q->run->store, 0, g.last, gc_folder, &g);
    rc = rc > 0 ? 0 : rc;
    if (rc == 0 && !g.dry)
        rc = keep_mark(q->run, g.numbers, g.n, "nothing refers to it");
    if (rc == 0 && !g.full)
        rc = gc_files(&g);
    keep_look_close(&g.look);
    *ret = json_pack("{s:o, s:I, s:o}", "rows", g.rows, "bytes", (json_int_t)g.bytes, "next",
                     g.full ? json_integer(g.last) : json_null());
    return rc;
}

const struct verb ckpt_verbs[] = {
    {"ckpt.list", false, "id:i kind:s all:b after:i limit:i", list},
    {"ckpt.show", false, "number:i!", show},
    {"ckpt.pin", true, "number:i! pinned:b! note:s", pin},
    {"ckpt.rm", true, "number:i! ended:b", rm},
    {"ckpt.gc", true, "dry_run:b keep:i after:i", gc},
    {0},
};
