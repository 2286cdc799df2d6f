/* keep.c: see keep.h.
 *
 * there → marked in the store, durable → unlinked in turns of the loop → gone. A crash between
 * leaves a mark, and the start goes on from it; what cannot be unlinked is tried again every
 * minute; nothing is unlinked that is not marked. Not for
 * requests (control/ckpt.c), nor for files that the store does not name (keep_disk.c). */
#include "run/keep.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "hf/adapter.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AGAIN_MS = 60000 };

/* ---- who names a folder -------------------------------------------------------------- */

static const char *real_of(struct keep_look *look, const char *path) {
    const char *known = json_string_value(json_object_get(look->real, path));
    if (known)
        return known;
    char real[PATH_MAX];
    json_object_set_new(look->real, path, json_string(realpath(path, real) ? real : path));
    return json_string_value(json_object_get(look->real, path));
}

static void name(struct keep_look *look, const char *path, const char *who) {
    const char *real = real_of(look, path);
    if (!json_object_get(look->named, real))
        json_object_set_new(look->named, real, json_string(who));
    /* An adapter is nothing without its base. */
    struct hf_adapter a;
    CAI_AUTO(mem) char *base = NULL;
    if (!hf_adapter_is(real) || hf_adapter_load(real, &a) < 0 || hf_adapter_base(real, &a, &base))
        return;
    CAI_AUTO(mem) char *under = cai_format("%s, whose adapter lies over it", who);
    real = real_of(look, base);
    if (!json_object_get(look->named, real))
        json_object_set_new(look->named, real, json_string(under));
}

static int take_started(void *c, int64_t job, const char *kind, const char *path) {
    struct keep_look *look = c;
    const char *role = strcmp(kind, "policy") == 0     ? "start"
                       : strcmp(kind, "pm_start") == 0 ? "pm"
                                                       : kind;
    CAI_AUTO(mem) char *who = cai_format("job %lld begins with it (models.%s)", (long long)job, role);
    name(look, path, who);
    return 0;
}

/* Of a job that has not begun, the store knows the file alone. */
static int take_waiting(void *c, int64_t job, const char *role, const char *path) {
    struct keep_look *look = c;
    if (path[0] != '/' || json_object_get(look->named, real_of(look, path)))
        return 0;
    CAI_AUTO(mem) char *who = cai_format("job %lld names it (models.%s)", (long long)job, role);
    name(look, path, who);
    return 0;
}

int keep_look_open(struct run *r, struct keep_look *ret) {
    *ret = (struct keep_look){.run = r, .named = json_object(), .real = json_object()};
    int rc = store_models_wanted(r->store, take_waiting, ret);
    if (rc == 0)
        rc = store_models_started(r->store, take_started, ret);
    if (rc < 0)
        keep_look_close(ret);
    return rc;
}

void keep_look_close(struct keep_look *look) {
    json_decref(look->named);
    json_decref(look->real);
}

/* ---- what a job does with its own ---------------------------------------------------- */

static void say(json_t *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(json_t *list, const char *format, ...) {
    char text[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    json_array_append_new(list, json_string(text));
}

static int64_t number_at(const json_t *o, const char *a, const char *b) {
    o = json_object_get(o, a);
    return json_integer_value(b ? json_object_get(o, b) : o);
}

/* So many newest rounds of a stage's models stay; 0 = all. */
static int64_t kept_rounds(const struct store_job *job, const char *stage) {
    json_t *spec = json_loads(job->spec, 0, NULL);
    const json_t *keep = json_object_get(spec, "keep");
    int64_t own = number_at(keep, stage, "models"), all = number_at(keep, "models", NULL);
    json_decref(spec);
    return own ? own : all;
}

/* Models of the same kind that are newer than m: rounds of the same stage, and any. */
struct newer {
    const struct store_model *m;
    uint32_t last_round;
    int64_t rounds;
    bool any;
};
static int count_newer(void *c, const struct store_model *x) {
    struct newer *n = c;
    if (strcmp(x->kind, n->m->kind) != 0)
        return 0;
    n->any = n->any || x->round > n->m->round || (x->round == n->m->round && x->step > n->m->step);
    if (strcmp(x->stage, n->m->stage) != 0 || x->round <= n->m->round || x->round == n->last_round)
        return 0;
    n->last_round = x->round;
    n->rounds++;
    return 0;
}

static bool is_over(enum job_state s) {
    return s == JOB_COMPLETED || s == JOB_FAILED || s == JOB_CANCELLED;
}

struct asking {
    struct keep_look *look;
    const struct store_folder *folder;
    struct store_job *job; /* the folder's first */
    struct keep_refs *refs;
};

static void say_completed(const struct asking *a, const struct store_model *m,
                          const struct newer *n) {
    int64_t keep = a->look->keep ? a->look->keep : kept_rounds(a->job, m->stage);
    if (strcmp(m->kind, "checkpoint") == 0)
        return; /* its training is over; it stayed because it was pinned */
    if (!n->any)
        say(a->refs->ended, "it is the last %s of job %lld, which its report and export name",
            m->kind, (long long)m->job);
    else if (strcmp(m->stage, "rollback") != 0 && (keep == 0 || n->rounds < keep))
        say(a->refs->kept, "job %lld keeps %s%.0lld rounds of %s", (long long)m->job,
            keep ? "the newest " : "all", (long long)keep, m->stage);
}

static void say_unfinished(const struct asking *a, const struct store_model *m,
                           const struct newer *n) {
    enum job_state state = a->job->state;
    json_t *list = is_over(state) ? a->refs->ended : a->refs->live;
    const char *could = is_over(state) ? " when it is requeued" : "";
    int64_t keep = kept_rounds(a->job, m->stage);
    if (strcmp(m->kind, "pm") == 0 && n->rounds > 0) {
        if (keep == 0 || n->rounds < keep)
            say(a->refs->kept, "job %lld keeps %s", (long long)m->job, m->stage);
    } else if (strcmp(m->kind, "checkpoint") == 0) {
        say(list, "job %lld, %s, goes on from it in %s%s", (long long)m->job,
            job_state_name(state), m->stage, could);
    } else if (strcmp(m->kind, "policy") == 0) {
        say(list, "job %lld, %s, goes on with it or can be rolled back to it%s",
            (long long)m->job, job_state_name(state), could);
    } else {
        say(list, "job %lld, %s, uses it (%s)%s", (long long)m->job, job_state_name(state),
            m->kind, could);
    }
}

static int say_own(void *c, const struct store_model *m) {
    struct asking *a = c;
    if (m->job != a->folder->job || strcmp(m->stage, "start") == 0)
        return 0;
    struct newer n = {.m = m};
    CAI_TRY(store_models_each(a->look->run->store, m->job, count_newer, &n));
    if (a->job->state == JOB_COMPLETED)
        say_completed(a, m, &n);
    else
        say_unfinished(a, m, &n);
    return 0;
}

/* A task's payload names it, as far as bytes can tell: rather once too often. */
static int say_task(void *c, const struct store_task *t) {
    struct asking *a = c;
    const char *path = a->folder->path;
    if (memmem(t->payload, t->payload_len, path, strlen(path)))
        say(a->refs->live, "task %s %s of job %lld", t->stage, t->phase, (long long)t->job);
    return 0;
}

int keep_refs_of(struct keep_look *look, const struct store_folder *f, struct keep_refs *ret) {
    struct run *r = look->run;
    struct store_job job = {0};
    *ret = (struct keep_refs){json_array(), json_array(), json_array()};
    const char *who = json_string_value(json_object_get(look->named, real_of(look, f->path)));
    if (who)
        say(ret->live, "%s", who);
    if (r->o.front->uses(r, f->path))
        say(ret->live, "a 'constitution try' asks it");
    struct asking a = {look, f, &job, ret};
    int rc = store_job_get(r->store, f->job, &job);
    if (rc == 0)
        rc = store_models_of_path(r->store, f->path, say_own, &a);
    if (rc == 0 && keep_is_free(ret) && job.state != JOB_COMPLETED)
        rc = store_tasks_open(r->store, f->job, say_task, &a);
    store_job_free(&job);
    if (rc < 0)
        keep_refs_free(ret);
    return rc;
}

bool keep_is_free(const struct keep_refs *refs) {
    return !json_array_size(refs->live) && !json_array_size(refs->ended) &&
           !json_array_size(refs->kept);
}

void keep_refs_free(struct keep_refs *refs) {
    json_decref(refs->live);
    json_decref(refs->ended);
    json_decref(refs->kept);
    *refs = (struct keep_refs){0};
}

bool keep_owns(const struct run *r, const char *path) {
    size_t n = strlen(r->o.state_dir);
    return strncmp(path, r->o.state_dir, n) == 0 && strncmp(path + n, "/jobs/", 6) == 0 &&
           !strstr(path, "/../");
}

/* ---- before jobs ---------------------------------------------------------------------- */

static int refuse_removed(void *c, const struct store_folder *f) {
    (void)c;
    if (f->state == FOLDER_THERE || strcmp(f->why, KEEP_BY_PERSON) != 0)
        return 0;
    return cai_fail(CAI_ESTATE, "job %lld cannot go on: %s was removed with 'caictl ckpt rm'; "
                    "submit it again", (long long)f->job, f->path);
}

int keep_requeue_check(struct run *r, int64_t job) {
    return store_folders_each(r->store, job, 0, refuse_removed, NULL);
}

int keep_submit_check(struct run *r, const struct job_spec *spec) {
    const char *const paths[] = {spec->models.start, spec->models.generator, spec->models.overseer,
                                 spec->models.second_overseer, spec->models.pm,
                                 spec->models.red};
    for (size_t i = 0; i < CAI_COUNT(paths); i++) {
        struct store_folder f;
        char real[PATH_MAX];
        if (!paths[i] || paths[i][0] != '/' || !realpath(paths[i], real))
            continue;
        int rc = store_folder_find(r->store, real, &f);
        if (rc == CAI_ENOTFOUND)
            continue;
        CAI_TRY(rc);
        bool there = f.state == FOLDER_THERE;
        store_folder_free(&f);
        if (!there)
            return cai_fail(CAI_ESTATE, "%s is being removed; name another model", paths[i]);
    }
    return 0;
}

/* ---- taking away ------------------------------------------------------------------------ */

struct marking {
    struct keep_look look;
    int64_t numbers[64];
    size_t n;
};

static int note_free(void *c, const struct store_folder *f) {
    struct marking *m = c;
    if (f->state != FOLDER_THERE || f->pinned || !keep_owns(m->look.run, f->path) ||
        m->n == CAI_COUNT(m->numbers))
        return 0;
    struct keep_refs refs;
    CAI_TRY(keep_refs_of(&m->look, f, &refs));
    if (keep_is_free(&refs))
        m->numbers[m->n++] = f->number;
    keep_refs_free(&refs);
    return 0;
}

int keep_mark(struct run *r, const int64_t *numbers, size_t n, const char *why) {
    if (n == 0)
        return 0;
    CAI_TRY(store_begin(r->store));
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = store_folder_mark(r->store, numbers[i], why);
    CAI_TRY(store_end(r->store, rc));
    r->keep_going = true;
    return 0;
}

static bool keeps_all(struct run *r, int64_t job) {
    struct store_job row;
    if (store_job_get(r->store, job, &row) < 0)
        return true;
    bool all = kept_rounds(&row, "sft") == 0 && kept_rounds(&row, "prefer") == 0 &&
               kept_rounds(&row, "") == 0;
    store_job_free(&row);
    return all;
}

void keep_after_stage(struct run *r, int64_t job) {
    struct marking m = {.n = 0};
    if (keeps_all(r, job))
        return;
    int rc = keep_look_open(r, &m.look);
    if (rc == 0) {
        rc = store_folders_each(r->store, job, 0, note_free, &m);
        keep_look_close(&m.look);
    }
    if (rc == 0)
        rc = keep_mark(r, m.numbers, m.n, "keep: of its job");
    /* Nothing was lost by it; the next stage, or `ckpt gc`, asks again. */
    if (rc < 0)
        cai_warn("job %lld: what its keep: lets go stays for now: %s", (long long)job,
                 cai_error_text());
}

#define STATES_DONE "its training is done" /* as store_models_prune says of each state */

int keep_mark_states(struct run *r, int64_t job, const char *folder) {
    struct store_folder f;
    CAI_TRY(store_folder_add(r->store, job, folder));
    CAI_TRY(store_folder_find(r->store, folder, &f));
    int rc = store_folder_mark(r->store, f.number, STATES_DONE);
    store_folder_free(&f);
    return rc;
}

/* Durable before the store forgets it: a power cut must not bring it back. */
static int remove_durably(const char *path) {
    if (!cai_file_exists(path))
        return 0;
    CAI_AUTO(mem) char *above = cai_strdup(path);
    char *slash = strrchr(above, '/');
    CAI_TRY(cai_dir_remove(path));
    if (slash && slash != above)
        *slash = '\0';
    return cai_file_sync(above);
}

/* A state, or what a crash left of one. 1: it is pinned, and stays. */
static int clear_state(struct run *r, const char *path) {
    struct store_folder f = {0};
    int rc = store_folder_find(r->store, path, &f);
    bool known = rc == 0, pinned = known && f.pinned;
    rc = rc == CAI_ENOTFOUND ? 0 : rc;
    if (rc == 0 && !pinned)
        rc = cai_dir_remove(path);
    if (rc == 0 && known && !pinned)
        rc = store_folder_gone(r->store, f.number);
    store_folder_free(&f);
    return rc < 0 ? rc : pinned;
}

static int clear_states(struct run *r, const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    bool left = false;
    if (fd < 0)
        return errno == ENOENT ? 0 : cai_fail_errno("%s", folder);
    DIR *d = fdopendir(fd);
    CAI_CHECK(d);
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        CAI_AUTO(mem) char *path = cai_path_join(folder, e->d_name);
        rc = clear_state(r, path);
        left = left || rc > 0;
        rc = rc > 0 ? 0 : rc;
    }
    closedir(d);
    return rc < 0 || left ? rc : remove_durably(folder);
}

void keep_clear_states(struct run *r, const char *folder) {
    struct store_folder f;
    int rc = store_folder_find(r->store, folder, &f);
    if (rc == 0) {
        rc = clear_states(r, folder);
        if (rc == 0)
            rc = store_folder_gone(r->store, f.number);
        store_folder_free(&f);
    }
    if (rc < 0)
        cai_warn("%s: its states stay for now: %s", folder, cai_error_text());
    r->keep_going = true; /* those that the trainer removed itself are marked, too */
}

char *keep_trash(const struct run *r) { return cai_path_join(r->o.state_dir, "trash"); }

static int first_going(void *c, const struct store_folder *f) {
    struct store_folder *ret = c;
    *ret = *f;
    ret->path = cai_strdup(f->path);
    ret->note = cai_strdup("");
    ret->why = cai_strdup(f->why);
    return 1;
}

static void wait_a_minute(struct run *r) {
    r->keep_going = false;
    r->keep_again_ms = cai_now_ms() + AGAIN_MS;
}

void keep_beat(struct run *r) {
    if (!r->keep_again_ms || cai_now_ms() < r->keep_again_ms)
        return;
    r->keep_again_ms = 0;
    r->keep_going = true;
}

static void unlink_marked(struct run *r, const struct store_folder *f) {
    bool there = cai_file_exists(f->path);
    /* A path that is not ours was never marked; look again before it is too late. */
    bool states = strcmp(f->why, STATES_DONE) == 0;
    int rc = !keep_owns(r, f->path) ? 0
             : states               ? clear_states(r, f->path)
                                    : remove_durably(f->path);
    if (rc == 0)
        rc = store_folder_gone(r->store, f->number);
    if (rc == 0 && there && !states)
        cai_log_about(CAI_LOG_INFO, CAI_ABOUT(EVENT_REMOVED, f->job), "removed %s: %s", f->path,
                      f->why);
    if (rc < 0) {
        cai_warn("%s; tried again in a minute", cai_error_text());
        wait_a_minute(r);
    }
}

/* One entry of trash/; false when it is empty. */
static bool empty_trash(struct run *r) {
    CAI_AUTO(mem) char *trash = keep_trash(r);
    DIR *d = opendir(trash);
    bool more = false;
    for (struct dirent *e; d && !more && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        CAI_AUTO(mem) char *path = cai_path_join(trash, e->d_name);
        more = cai_dir_remove(path) == 0;
    }
    if (d)
        closedir(d);
    return more;
}

bool keep_busy(const struct run *r) { return r->keep_going; }

void keep_turn(struct run *r) {
    if (!r->keep_going)
        return;
    struct store_folder f = {0};
    int rc = store_folders_going(r->store, first_going, &f);
    if (rc > 0)
        unlink_marked(r, &f);
    else if (rc == 0)
        r->keep_going = empty_trash(r);
    else
        wait_a_minute(r);
    store_folder_free(&f);
}

/* ---- at start -------------------------------------------------------------------------------- */

int keep_marker(const char *path, bool pinned) {
    CAI_AUTO(mem) char *marker = cai_path_join(path, "PINNED");
    if (pinned)
        return cai_file_write_atomic(marker, "", 0);
    unlink(marker);
    return 0;
}

static bool is_state(const char *path) {
    CAI_AUTO(mem) char *manifest = cai_path_join(path, "MANIFEST.json");
    CAI_AUTO(mem) char *state = cai_path_join(path, "state.json");
    return cai_file_exists(manifest) && cai_file_exists(state);
}

static int mark_pin(void *c, const struct store_folder *f) {
    (void)c;
    if (f->pinned && f->state == FOLDER_THERE && is_state(f->path) &&
        keep_marker(f->path, true) < 0)
        cai_warn("%s is pinned, and cannot be marked so: %s", f->path, cai_error_text());
    return 0;
}

struct orphans {
    size_t n;
    char *first;
};
static int count_orphan(void *c, int64_t job, const char *path) {
    struct orphans *o = c;
    (void)job;
    if (o->n++ == 0)
        o->first = cai_strdup(path);
    return 0;
}

int keep_start(struct run *r) {
    struct orphans o = {0};
    r->keep_going = true;
    CAI_TRY(store_folders_each(r->store, 0, 0, mark_pin, NULL));
    CAI_TRY(keep_orphans(r, 0, count_orphan, &o));
    if (o.n)
        cai_warn("%zu folder%s that nothing names, first %s; 'caictl ckpt gc' removes them", o.n,
                 o.n == 1 ? "" : "s", o.first);
    free(o.first);
    return 0;
}
