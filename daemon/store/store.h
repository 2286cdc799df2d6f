/* store.h: everything durable that caid knows, in one SQLite file: WAL,
 * synchronous=FULL, one connection, one thread. Rows that touch training have natural
 * keys (job, round, stage, item, k); no order ever depends on a rowid or a time.
 *
 * Nothing here commits by itself except where said: callers group what belongs together
 * between store_begin and store_commit. CAI_ENOSPC after a failed write leaves the
 * transaction to be rolled back. */
#ifndef CAI_STORE_STORE_H
#define CAI_STORE_STORE_H

#include "base/buf.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct store;

/* Creates, or upgrades after a copy beside it (PATH.schema-N, N the old one); refuses newer. */
int store_open(const char *path, struct store **ret);
/* The schema that was upgraded at opening, and the copy's path; 0 and NULL when none was. */
int store_upgraded(const struct store *s, const char **ret_copy);
void store_close(struct store *s);
/* ---- a copy of the database while it is in use ------------------------------------ */
struct store_backup;
int store_backup_begin(struct store *s, const char *path, struct store_backup **ret);
/* Copies `pages` more (-1: all): 1 when it is whole and durable, 0 when there is more. Outside of
 * transactions. */
int store_backup_step(struct store_backup *b, int pages);
void store_backup_free(struct store_backup *b); /* removes the file unless it is whole */

/* Before store_open, by whoever alone may use the database: what is read of SQLite's log is on the
 * disk from here on. After a failed fsync, and a restart, the log would else be read from pages
 * that the kernel calls clean and has not written, and all that follows them would go with them
 * when the power does. */
int store_renew_log(const char *path);
int store_begin(struct store *s);
int store_commit(struct store *s);
void store_rollback(struct store *s);
/* The end of what store_begin began: committed where rc, the work's outcome, is no error, else
 * rolled back. Returns rc, or the commit's own error. */
int store_end(struct store *s, int rc);
int64_t store_epoch_next(struct store *s); /* raises and returns the epoch; own transaction */

/* ---- jobs ------------------------------------------------------------------------ */
enum job_state {
    JOB_PENDING, JOB_HELD, JOB_RUNNING, JOB_WAITING_REVIEW, JOB_COMPLETING, JOB_SUSPENDED,
    JOB_COMPLETED, JOB_FAILED, JOB_CANCELLED
};
const char *job_state_name(enum job_state s); /* "PENDING" … */

struct store_job {
    int64_t id;
    char *name, *spec, *constitution; /* spec: JSON; constitution: revision hash */
    enum job_state state;
    char *reason;  /* why it waits or failed: for people */
    char *gate;    /* what `resume --accept NAME` would accept, "" if nothing */
    char *accepted; /* names accepted so far, space-separated */
    uint32_t round; /* 1 … rounds; PPO runs as round rounds + 1 */
    char *stage;    /* present stage; "" before the first */
    bool planned;   /* its plan is committed */
    char *numeric_class; /* pinned at the first lease; "" before */
    int64_t uid, submitted_ms, started_ms, finished_ms; /* uid: whose it is; -1 = not known */
    int64_t priority;  /* among the jobs of its owner */
    char *stopped_by;  /* who held or suspended it; "" = nobody did */
};
int store_job_add(struct store *s, const char *name, const char *spec_json, const char *revision,
                  int64_t uid, const char *request_key, int64_t *ret_id);
/* ret's strings are the caller's: store_job_free. CAI_ENOTFOUND. */
int store_job_get(struct store *s, int64_t id, struct store_job *ret);
void store_job_free(struct store_job *j);
int store_job_set_state(struct store *s, int64_t id, enum job_state state, const char *reason,
                        const char *gate);
int store_job_set_stage(struct store *s, int64_t id, uint32_t round, const char *stage,
                        bool planned);
int store_job_set_priority(struct store *s, int64_t id, int64_t priority);
int store_job_set_stopped(struct store *s, int64_t id, const char *by); /* "" = nobody */
int store_job_accept(struct store *s, int64_t id, const char *gate);
int store_job_pin_class(struct store *s, int64_t id, const char *numeric_class);
/* Calls back in id order; a non-zero return stops and is returned. */
int store_jobs_each(struct store *s, int (*f)(void *c, const struct store_job *j), void *c);

/* Jobs that have not ended, in id order. */
int store_jobs_active(struct store *s, int (*f)(void *c, const struct store_job *j), void *c);
int store_jobs_count(struct store *s, int64_t ret[JOB_CANCELLED + 1]); /* by state */
/* Those after an id that have not ended before a time (0 = any); f returns 1 to stop. */
int store_jobs_page(struct store *s, int64_t after, int64_t ended_after_ms,
                    int (*f)(void *c, const struct store_job *j), void *c);

/* Requests already answered, by idempotency key. CAI_ENOTFOUND; CAI_ESTATE when the key was
 * used for another verb. */
int store_request_get(struct store *s, const char *key, const char *verb, int *ret_exit,
                      char **ret_error, char **ret_json);
int store_request_add(struct store *s, const char *key, const char *verb, int exit_code,
                      const char *error, const char *json);

/* ---- tasks and ledger ------------------------------------------------------------ */
struct store_task {
    int64_t id, job;
    uint32_t round, chunk;
    const char *stage, *phase;
    bool gang;            /* all of the job's ranks together */
    const void *payload;  /* packed Cai__V1__Task without its id; dropped when done */
    size_t payload_len;
    uint32_t failures;    /* set by reading: times it failed */
};
/* UNIQUE(job, round, stage, phase, chunk): adding the same again is CAI_ESTATE. */
int store_task_add(struct store *s, const struct store_task *t, int64_t *ret_id);
/* Tasks not done, in (round, stage order of adding is irrelevant) phase, chunk order. */
int store_tasks_open(struct store *s, int64_t job,
                     int (*f)(void *c, const struct store_task *t), void *c);
/* The same tasks in the same order, without their payloads: what the scheduler asks. */
int store_tasks_queue(struct store *s, int64_t job,
                      int (*f)(void *c, int64_t id, bool gang, uint32_t failures), void *c);
/* The jobs that have open tasks. */
int store_tasks_jobs(struct store *s, int (*f)(void *c, int64_t job), void *c);
/* ret's pointers are into `payload`. */
int store_task_get(struct store *s, int64_t id, struct cai_buf *payload, struct store_task *ret);
/* Counts a failure of an open task. */
int store_task_failed(struct store *s, int64_t id, uint32_t *ret_failures);
int store_tasks_reset_failures(struct store *s, int64_t job); /* requeue */
/* Marks done in the caller's transaction; CAI_ESTATE if it already was. */
int store_task_done(struct store *s, int64_t id, const char *result_hash, double seconds,
                    uint64_t tokens);
/* What its worker held at most while it was done, in bytes. */
int store_task_held(struct store *s, int64_t id, int64_t bytes);
int store_task_counts(struct store *s, int64_t job, uint32_t round, const char *stage,
                      int64_t *ret_done, int64_t *ret_total);
/* Seconds and tokens of all done tasks. */
int store_task_costs(struct store *s, int64_t job, double *ret_seconds, int64_t *ret_tokens);
/* Done tasks by phase, in the order in which the first of each was added. */
struct store_phase {
    uint32_t round;
    const char *stage, *phase;
    int64_t tasks, tokens;
    double seconds;
    int64_t held; /* bytes, the most of any of them; 0 = not known */
};
int store_phases_each(struct store *s, int64_t job, int (*f)(void *c, const struct store_phase *p),
                      void *c);
/* The ledger's digest: SHA-256 over (round, stage, phase, chunk, result hash), ordered. */
int store_ledger_digest(struct store *s, int64_t job, char ret_hex[65]);

/* ---- examples -------------------------------------------------------------------- */
/* One text of one step. kind: "prompt", "reply", "critique", "revision", "reply_a",
 * "reply_b", … ; k orders texts of a kind within an item. */
struct store_example {
    int64_t job;
    uint32_t round;
    const char *stage;
    uint64_t item;
    uint32_t k;
    const char *kind;
    const char *text;
    const char *principle, *revision, *model; /* provenance; "" where it does not apply */
    const char *detail; /* JSON object: flags, counts, messages of the prompt */
};
int store_example_add(struct store *s, const struct store_example *e); /* CAI_ESTATE if there */
/* Ordered by (round, stage, item, kind, k). stage/kind NULL = any; round 0 = any. */
int store_examples_each(struct store *s, int64_t job, uint32_t round, const char *stage,
                        const char *kind, int (*f)(void *c, const struct store_example *e),
                        void *c);
/* One text; *ret_text is the caller's. CAI_ENOTFOUND. */
int store_example_get(struct store *s, int64_t job, uint32_t round, const char *stage,
                      uint64_t item, const char *kind, uint32_t k, char **ret_text,
                      char **ret_detail);
int store_examples_count(struct store *s, int64_t job, uint32_t round, const char *stage,
                         const char *kind, int64_t *ret);

/* ---- labels ---------------------------------------------------------------------- */
struct store_label {
    int64_t job;
    uint32_t round;
    uint64_t item;
    uint32_t k;           /* which principle of several */
    const char *principle, *revision, *model, *source; /* source: "ai", "human" */
    double p;             /* P(A better), orders averaged */
    double p_ab, p_ba;    /* P(first shown) in each order */
    double mass_ab, mass_ba; /* probability of the two options together */
    bool held_out;
};
int store_label_add(struct store *s, const struct store_label *l);
int store_labels_each(struct store *s, int64_t job, uint32_t round,
                      int (*f)(void *c, const struct store_label *l), void *c);

/* ---- models, metrics, events, blobs ---------------------------------------------- */
struct store_model {
    int64_t job;
    uint32_t round;
    const char *stage, *kind; /* kind: policy, pm, classifier, checkpoint */
    uint32_t k;               /* member */
    uint64_t step;
    const char *path, *hash, *provenance; /* JSON */
};
int store_model_add(struct store *s, const struct store_model *m); /* replaces an equal key */
/* Removes the rows of a kind (checkpoints of a finished training run) and marks their folders,
 * but for those that are pinned. */
int store_models_prune(struct store *s, int64_t job, uint32_t round, const char *stage,
                       const char *kind);
/* The newest by (round, step) with round <= `round`; stage NULL = any. Strings are the
 * caller's. */
int store_model_find(struct store *s, int64_t job, uint32_t round, const char *stage,
                     const char *kind, uint32_t k, char **ret_path, char **ret_hash);
int store_models_each(struct store *s, int64_t job, int (*f)(void *c, const struct store_model *m),
                      void *c);

int store_metric_add(struct store *s, int64_t job, uint32_t round, const char *stage, uint64_t step,
                     const char *name, double value); /* replaces an equal key */
struct store_metric {
    uint32_t round;
    const char *stage, *name;
    uint64_t step;
    double value;
};
int store_metrics_each(struct store *s, int64_t job,
                       int (*f)(void *c, const struct store_metric *m), void *c);
int store_metric_get(struct store *s, int64_t job, uint32_t round, const char *stage, uint64_t step,
                     const char *name, double *ret);

/* For people: `caictl logs`. Never prompt text. */
int store_event_add(struct store *s, int64_t job, int level, const char *text);
int store_events_each(struct store *s, int64_t job, int64_t after_id,
                      int (*f)(void *c, int64_t id, int64_t wall_ms, int level, const char *text),
                      void *c);

/* ---- folders: where models and resumable states lie ---------------------------------- */
enum folder_state { FOLDER_THERE, FOLDER_GOING /* marked: to be unlinked */, FOLDER_GONE };
struct store_folder {
    int64_t number, job; /* job: the first that named it */
    char *path, *note, *why; /* note: why it is pinned; why: it was removed */
    bool pinned;
    enum folder_state state;
};
/* store_model_add does it for every path it is given. */
int store_folder_add(struct store *s, int64_t job, const char *path);
/* ret's strings are the caller's: store_folder_free. CAI_ENOTFOUND; _find without a message. */
int store_folder_get(struct store *s, int64_t number, struct store_folder *ret);
int store_folder_find(struct store *s, const char *path, struct store_folder *ret);
void store_folder_free(struct store_folder *f);
/* By number, those after `after`; job 0 = any. */
int store_folders_each(struct store *s, int64_t job, int64_t after,
                       int (*f)(void *c, const struct store_folder *f), void *c);
/* The jobs that have folders, in order, those after `after`. */
int store_folders_jobs(struct store *s, int64_t after, int (*f)(void *c, int64_t job), void *c);
int store_folders_going(struct store *s, int (*f)(void *c, const struct store_folder *f),
                        void *c);
int store_folder_pin(struct store *s, int64_t number, bool pinned, const char *note);
/* there → going; CAI_ESTATE when it is pinned or not there. Unlink only after the commit. */
int store_folder_mark(struct store *s, int64_t number, const char *why);
int store_folder_gone(struct store *s, int64_t number); /* going → gone, after unlinking */
/* Every row of `models` with that path, of all jobs. */
int store_models_of_path(struct store *s, const char *path,
                         int (*f)(void *c, const struct store_model *m), void *c);
/* Each folder that some job begins with, by role, with the first job that does. */
int store_models_started(struct store *s, int (*f)(void *c, int64_t job, const char *kind,
                                                   const char *path), void *c);

/* The same of jobs that have not ended, as their files name them. */
int store_models_wanted(struct store *s, int (*f)(void *c, int64_t job, const char *role,
                                                  const char *path), void *c);

/* Content-addressed files beside the database: DIR/blobs/HASH. Durable on return. */
int store_blob_put(struct store *s, const void *data, size_t len, char ret_hash[65],
                   char **ret_path);
/* Hashes and paths of blobs, as jobs (their data) and models that are there (their dataset)
 * name them, and every column called `hash` (job 0); those of open tasks are in the tasks. What
 * nothing names, `ckpt gc` removes: a table that names blobs by a path has its row in blobs.c. */
int store_blobs_named(struct store *s, int (*f)(void *c, int64_t job, const char *hash_or_path),
                      void *c);

/* Whether the path is that of such a file, there or not. */
bool store_blob_is(const struct store *s, const char *path);
/* DIR/blobs/HASH, the caller's. */
char *store_blob_path(const struct store *s, const char *hash);

/* ---- constitutions --------------------------------------------------------------- */
int store_constitution_add(struct store *s, const char *name, const char *revision,
                           const char *canonical, const char *message);
/* By revision (or unique prefix ≥ 6) or by name (its current revision). Strings the caller's. */
int store_constitution_get(struct store *s, const char *name_or_revision, char **ret_revision,
                           char **ret_canonical);
/* 1 when the revision is one of that name's, else 0, or a code. */
int store_constitution_has(struct store *s, const char *name, const char *revision);
int store_constitution_set_current(struct store *s, const char *name, const char *revision);
int store_constitutions_each(struct store *s,
                             int (*f)(void *c, const char *name, const char *revision,
                                      int64_t wall_ms, const char *message, bool current),
                             void *c);

#endif
