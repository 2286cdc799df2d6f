/* keep.h: which folders of models and resumable states stay: who refers to them, and taking
 * away what nobody refers to. Private to the room. */
#ifndef CAI_RUN_KEEP_H
#define CAI_RUN_KEEP_H

#include "run/state.h"

/* Sentences for people, JSON arrays of strings. `live` forbids removal; `ended` is about jobs
 * that are over, and a person may overrule it; `kept` is the job file's keep: alone, which only
 * gc heeds. */
struct keep_refs {
    json_t *live, *ended, *kept;
};
/* What is the same for all folders of one request: which folders jobs start from. */
struct keep_look {
    struct run *run;
    json_t *named;     /* real path → who */
    json_t *real;      /* path as written → real path */
    int64_t keep;      /* instead of the job files' keep: of finished jobs; 0 = theirs */
};
int keep_look_open(struct run *r, struct keep_look *ret);
void keep_look_close(struct keep_look *look);
int keep_refs_of(struct keep_look *look, const struct store_folder *f, struct keep_refs *ret);
void keep_refs_free(struct keep_refs *refs);
/* Below the state folder's jobs/: only such folders are ever removed. */
bool keep_owns(const struct run *r, const char *path);
bool keep_is_free(const struct keep_refs *refs); /* nothing refers to it */

/* A folder that a person removed although its job could have been requeued. */
#define KEEP_BY_PERSON "removed by a person although its job could go on"
int keep_requeue_check(struct run *r, int64_t job);
/* CAI_ESTATE when a model that the job names is being removed. */
int keep_submit_check(struct run *r, const struct job_spec *spec);

/* After a stage, and at a job's end: what its keep: does not keep is marked. */
void keep_after_stage(struct run *r, int64_t job);
/* These folders go, in one transaction; they are unlinked in turns of the loop. */
int keep_mark(struct run *r, const int64_t *numbers, size_t n, const char *why);
/* The folder of a task's resumable states goes, but for what is pinned: marked in the transaction
 * that the task is done in, so that a crash before its removal leaves nothing; and removed. */
int keep_mark_states(struct run *r, int64_t job, const char *folder);
void keep_clear_states(struct run *r, const char *folder);
/* At start: goes on with what was marked, marks pins on the disk, and says what is orphaned. */
int keep_start(struct run *r);
/* Unlinks one marked folder; a turn of the loop. */
void keep_turn(struct run *r);
void keep_beat(struct run *r); /* what could not be unlinked is tried again */
bool keep_busy(const struct run *r);
char *keep_trash(const struct run *r); /* what lies in it is unlinked in turns; the caller's */
/* The file that tells a trainer to leave a state alone. */
int keep_marker(const char *path, bool pinned);

/* ---- keep_disk.c: what lies in the state folder ------------------------------------------ */
enum keep_kind { KEEP_MODEL, KEEP_STATE, KEEP_ORPHAN, KEEP_BLOB, KEEP_KINDS };
/* Folders below jobs/ID that nothing in the store names, of jobs without open tasks. f's return
 * value other than 0 ends it. */
int keep_orphans(struct run *r, int64_t job, int (*f)(void *c, int64_t job, const char *path),
                 void *c);
/* Names of blobs in use, as an object: name → the first job that names it. *ret is the
 * caller's. */
int keep_blobs_used(struct run *r, json_t **ret);
int keep_blobs_each(struct run *r, int (*f)(void *c, const char *name, const char *path), void *c);

#endif
