/* state.h: what the coordinator holds in memory, for the files of this room only.
 * Everything here can be lost at any instant: the store alone says what is done.
 *
 * Worker  (Hello) → idle → busy (a lease) → idle; silent 3 s or its process ended → gone.
 * Lease   active → done | failed | revoked; a revoked one stays until the worker says that
 *         it stopped, so that no worker gets two tasks at once.
 * Gang    the leases of one attempt at a collective task; broken as a whole.
 * Job     PENDING → RUNNING → COMPLETED | FAILED | CANCELLED, with WAITING_REVIEW (a
 *         person must look) and SUSPENDED (disk full; goes on by itself) aside. */
#ifndef CAI_RUN_STATE_H
#define CAI_RUN_STATE_H

#include "base/buf.h"
#include "constitution/constitution.h"
#include "job/job.h"
#include "proto/channel.h"
#include "run/front.h"
#include "run/gauges.h"
#include "run/run.h"
#include "run/share.h"
#include "run/step_times.h"
#include "stage/stage.h"
#include "store/store.h"

enum {
    SAVE_MS = 600000,      /* that training has to end its step when it is to leave */
    HEARTBEAT_MS = 1000,
    LIVENESS = 3,
    SILENT_MS = LIVENESS * HEARTBEAT_MS - 200, /* so that it is dealt with by the third beat */
    HUNG_MS = 500, /* from silence to the end of a worker that caid started: its work is given away */
    FAILURES_MAX = 3,      /* of one task, then the job fails */
    DEATHS_MAX = 8,        /* workers lost in a row on one task without progress */
    DISK_CHECK_MS = 2000
};

struct lease;
struct memory_plan; /* stage/memory.h */
struct worker {
    struct channel_peer peer; /* of another machine: with its key */
    char *name, *host, *numeric_class, *version;
    uint32_t pid;
    uint64_t memory; /* bytes, as it says; 0 = not known */
    uint64_t session; /* which of its Hellos it is here by */
    int64_t seen_ms;
    bool deaf; /* a grant could not be sent: none is until it is heard again */
    struct lease *lease;
    int64_t kept_for;    /* the job whose gang it is kept for in this schedule; 0 = none */
    struct worker *next; /* ordered by name */
};

struct gang {
    int64_t job, task;
    uint32_t world, open; /* open: leases that still exist */
    bool settled;         /* rank 0's result was taken, or the attempt was broken */
    bool lost;            /* a rank's worker is gone: what the others say is no failure */
    int failed;           /* code of a rank's trouble with the others; 0 = none */
    char why[512];        /* its words */
    char *stage, *phase, *rendezvous;
    struct step_times steps;
    int64_t asked_ms, ask_ms; /* since when all ranks are asked where they are, and next; late.c */
};

struct lease {
    uint64_t id;
    int64_t job, task;
    uint32_t rank;
    struct gang *gang; /* NULL for single tasks */
    struct worker *worker;
    bool revoked;
    bool saving; /* revoked, and may still save its state or end */
    bool missed; /* a report could not be kept: no later one is, or there would be a gap */
    int64_t uid, counted_ms; /* whose time it takes; up to when it is counted. -1: nobody's */
    char *stage, *phase;
    uint32_t round;
    uint64_t done, total;
    uint64_t collective; /* entered so far, as its last pong says; inside: and not left */
    bool counted, inside, told_late;
    bool says_standing; /* how long it has been inside; older workers do not */
    int64_t since_ms, collective_ms, said_ms; /* when that last changed; when it was last told */
    struct lease *next;
};

struct queued {
    int64_t id;
    bool gang;
};
struct setback { /* of a task, since this caid started */
    int64_t task, not_before_ms;
    uint32_t deaths;
};
/* A worker's process that the starter of workers has started. Silent ones are ended. */
struct started {
    char name[32];
    uint32_t pid;
    int64_t kill_ms; /* when; 0: it is not silent, or its end is under way */
    struct started *next;
};

struct job_run {
    int64_t id, uid, priority;
    bool passed;    /* in this schedule: nothing can be given to it now */
    uint32_t wants; /* workers together that its next task waits for; 0 = it waits for none */
    char *name, *accepted, *numeric_class, *work_dir;
    /* NULL of a job that waits its turn, until job_need. */
    struct job_spec *spec;
    struct memory_plan *memory; /* also NULL when its models cannot be looked at */
    struct constitution *constitution;
    char *revision; /* the constitution's */
    enum job_state state;
    uint32_t round;
    const struct stage *stage; /* NULL before the first */
    bool planned;
    bool full; /* paused because the disk is full; the store may not know */
    int64_t retry_ms;
    char waits[512]; /* why nothing runs, for people; "" when something does */
    char lost[320];  /* which rank its gang lost, until the next gang begins */
    struct queued *queue;
    size_t n_queue, cap_queue;
    bool stale; /* the queue must be read again */
    struct setback *setbacks;
    size_t n_setbacks;
    int64_t stage_since_ms;
    double stage_base; /* units done when this caid began to watch the stage */
    struct gauges gauges;
    struct job_run *next; /* ordered by id */
};

struct gate;  /* gate.h */
struct proof; /* proof.c */
struct front; /* of the room that answers people; front.h */
struct run {
    struct run_options o;
    struct store *store;
    void *zmq;
    struct channel *workers_channel, *control_channel;
    int lock_fd, signal_fd, n_signals;
    uint64_t epoch, next_lease;
    int64_t started_wall_ms, next_beat_ms, next_disk_ms, drain_until_ms, next_notify_ms;
    bool draining, dirty;
    char nonce[33];
    struct worker *workers;
    struct lease *leases;
    struct job_run *jobs, **by_id; /* the same, ordered by id; job_list.c */
    size_t n_jobs, cap_jobs;
    struct cai_buf spawner_in;
    struct started *started;
    struct gate *gate;
    struct front *front; /* its own; NULL before it is open */
    struct proof *proofs; /* workers of other machines that were asked */
    size_t trash_count;
    int64_t keep_again_ms;       /* when what could not be unlinked is tried again; 0 = all was */
    bool keep_going;             /* folders are marked, or trash/ may not be empty; keep.c */
    char status[128];
    struct shares shares;
    int64_t next_share_ms;
};

/* ---- workers.c ------------------------------------------------------------------- */
void workers_frame(struct run *r, const struct channel_peer *peer, Cai__V1__Frame *f);
void workers_beat(struct run *r); /* pings */
int workers_ping(struct run *r, struct worker *w);
void workers_watch(struct run *r); /* finds the silent ones */
int64_t workers_next_silence(const struct run *r); /* when the next one would be; 0 = never */
void workers_process_started(struct run *r, const char *name, uint32_t pid);
void workers_process_ended(struct run *r, uint32_t pid);
void workers_say_bye(struct run *r, const char *reason);
void workers_end_keys(struct run *r); /* those whose key is not accepted any more */
void workers_end_channel(struct run *r, const struct channel *c);
void workers_free(struct run *r);
int workers_send(struct run *r, const struct channel_peer *peer, Cai__V1__Frame__BodyCase kind,
                 void *body);
bool worker_large(const struct run *r, const struct worker *w, const struct job_run *j);
bool worker_of_class(const struct worker *w, const char *numeric_class); /* "" = any */
/* Idle, of that class, and large enough for the job (NULL = any). */
bool worker_fits(const struct run *r, const struct worker *w, const char *numeric_class,
                 const struct job_run *j);

/* Those that fit the job now and are of that version. */
uint32_t workers_alike(const struct run *r, const struct job_run *j, const char *version);

/* ---- leases.c -------------------------------------------------------------------- */
int lease_single(struct run *r, struct job_run *j, int64_t task, struct worker *w);
int lease_gang(struct run *r, struct job_run *j, int64_t task, uint32_t world);
struct lease *lease_find(struct run *r, uint64_t id);
/* The lease that this worker speaks of; NULL when it is of another epoch or not its own. */
struct lease *lease_of(struct run *r, const struct worker *w, uint64_t epoch, uint64_t id);
/* Grants a task of no job (a trial's, a dry run's) to a worker, alone. Its lease's id; 0 when the
 * worker cannot be reached. */
uint64_t lease_apart(struct run *r, const Cai__V1__Task *t, struct worker *w);
/* Some lease of the task works on it, or still saves its state. */
bool lease_active(struct run *r, int64_t task);
void lease_end(struct run *r, struct lease *l);
void lease_revoke(struct run *r, struct lease *l, const char *reason);
/* A training task first saves its state at the end of its step, within so many ms. */
void lease_revoke_saved(struct run *r, struct lease *l, const char *reason, int64_t within_ms);
void gang_break(struct run *r, struct gang *g, const char *reason);
void leases_revoke_job(struct run *r, int64_t job, const char *reason);
size_t leases_of_job(struct run *r, int64_t job);

/* ---- outcomes.c: what workers say about their leases ----------------------------- */
void outcome_report(struct run *r, struct worker *w, const Cai__V1__Report *m);
void outcome_done(struct run *r, struct worker *w, const Cai__V1__Done *m);
void outcome_failed(struct run *r, struct worker *w, const Cai__V1__Failed *m);
/* Its worker is gone. */
void outcome_lost(struct run *r, struct lease *l, const struct worker *w, const char *why);
void outcome_gang_ended(struct run *r, const struct gang *g); /* its last lease has ended */

/* ---- late.c: which rank of a gang the others wait for ------------------------------ */
void late_note(struct run *r, struct worker *w, const Cai__V1__Pong *m);
void late_steps(struct run *r, struct gang *g, uint64_t steps); /* so many more are done */
void late_watch(struct run *r); /* tells a job's log */
/* Gangs in which somebody stands are asked where all are; when the next time is, 0 = never. */
void late_ask(struct run *r);
int64_t late_next_ask(const struct run *r);
/* How long its task may stand in a collective before it says so unasked; 0 = for ever. */
uint32_t late_standing_ms(const struct run *r, const struct worker *w);
/* True and a sentence: somebody waits, however short; longer than the gang's own steps allow
 * (before these are known, than the configuration's late_s), in a job's gang; what that means for
 * one worker. */
bool late_behind(const struct run *r, const struct gang *g, char *out, size_t size);
bool late_job(const struct run *r, int64_t job, char *out, size_t size);
bool late_worker(const struct run *r, const struct lease *l, char *out, size_t size);

/* ---- job_list.c: those in memory ---------------------------------------------------- */
struct job_run *job_find(const struct run *r, int64_t id); /* or NULL */
void job_list_add(struct run *r, struct job_run *j);
void job_list_remove(struct run *r, struct job_run *j);
void job_list_free(struct run *r); /* after the last one */

/* ---- jobs.c: the course of a job ------------------------------------------------- */
int jobs_load(struct run *r); /* from the store, at start */
int job_take(struct run *r, int64_t id); /* a job of the store into memory */
int job_need(struct run *r, struct job_run *j); /* spec, memory and constitution of one that waited */
void job_drop(struct run *r, struct job_run *j); /* out of memory; it is in the store */
void job_context(struct run *r, const struct job_run *j, struct stage_context *ret);
int job_start(struct run *r, struct job_run *j);
/* Plans, asks done(), goes to the next stage, until there is work, a wait or the end. */
void job_advance(struct run *r, struct job_run *j);
int job_absorb(struct run *r, struct job_run *j, int64_t task, Cai__V1__Result *result);
/* A failed step: full disk → SUSPENDED, anything else → FAILED with the present message. */
void job_trouble(struct run *r, struct job_run *j, int code);
void job_end(struct run *r, struct job_run *j, enum job_state state, const char *reason);
void job_suspend(struct run *r, struct job_run *j, const char *reason);
/* A person stops it: training saves its state at its next step, other tasks end; and lets it go
 * on. A restart changes neither. */
int job_pause(struct run *r, struct job_run *j, const char *by);
int job_unpause(struct run *r, struct job_run *j, const char *event);
void jobs_disk(struct run *r); /* low space → SUSPENDED; space again → RUNNING */
void jobs_free(struct run *r);
__attribute__((format(printf, 4, 5))) void job_event(struct run *r, int64_t job, int level,
                                                     const char *format, ...);

/* ---- schedule.c, turns.c --------------------------------------------------------- */
void schedule(struct run *r);
int turns_load(struct run *r); /* shares, from the store */
void turns_count(struct run *r); /* every few seconds: what leases took, written down */
void turns_lease_ends(struct run *r, const struct lease *l);
void turns_hold(struct run *r); /* shares' held time anew */
struct share_turn turn_of(struct run *r, const struct job_run *j);
/* Training of somebody who has used more saves and leaves, when a person waits for its workers. */
void turns_give_way(struct run *r);
struct setback *setback_of(struct job_run *j, int64_t task);

/* ---- progress.c ------------------------------------------------------------------ */
json_t *progress_json(struct run *r, const struct store_job *row);
void progress_restart(struct run *r, struct job_run *j); /* a stage begins */

#endif
