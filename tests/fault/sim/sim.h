/* sim.h: a deterministic world for caid and its workers, in one thread: virtual clock, network
 * and disk. The real code runs: the coordinator's loop, the workers' loop, the store, durable
 * files. Below them lie this folder's replacements: of channel.h at link time (net.c), of what
 * the C library gives (calls.c, by the linker's --wrap) and of SQLite's files (vfs.c).
 *
 * A seed is a run: every delay, every choice of who goes next and every fault is drawn from it. */
#ifndef SIM_H
#define SIM_H

#include "engine.h"
#include "run/state.h"
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#define SIM_STATE "/sim/state"
#define SIM_NEVER INT64_MAX
#define SIM_MS 1000 /* microseconds */
enum { SIM_WORKERS_MAX = 4, SIM_FD = 1 << 20 };

/* ---- world.c: processes, threads, time ------------------------------------------------------ */
struct thread {
    struct proc *proc;
    ucontext_t context;
    void *stack;
    void *(*f)(void *);
    void *argument;
    bool finished, poked;
    int64_t wake_us;
    const void *waits_on; /* a condition variable */
    struct thread *next;
};

struct proc {
    bool is_caid, alive, told_to_stop; /* SIGTERM waits to be read */
    uint32_t number, pid;
    char name[32];
    struct thread *threads;
    int64_t stopped_until_us; /* SIGSTOP */
    int slow;                 /* sleeps take so many times as long; 0 and 1: no */
    int64_t wall_jump_ms;
    int exit_status;
    int64_t restart_us, pause_ms; /* when its supervisor starts it again */
    struct toy_place place;
    struct run *run; /* caid's, while it serves */
    char spawner_in[4096]; /* lines for caid */
    size_t spawner_len;
    uint64_t events; /* its eventfd */
};

struct world {
    uint64_t seed, random;
    int64_t now_us;
    struct thread *current;
    struct proc caid, workers[SIM_WORKERS_MAX];
    uint32_t n_workers, next_pid;
    bool own_workers; /* caid's starter keeps them (--spawn); else units of their own */
    bool verbose, quiet; /* quiet: no more faults */
    uint64_t steps, caids; /* slices; lives of caid */
    char trouble[2048]; /* the first broken promise */
};
extern struct world world;

uint64_t draw(void);
uint64_t draw_below(uint64_t n);
int64_t draw_between(int64_t low, int64_t high);
bool draw_chance(double p);
/* The first is kept. */
__attribute__((format(printf, 1, 2))) void broken(const char *format, ...);
__attribute__((format(printf, 1, 2))) void told(const char *format, ...);

void thread_start(struct proc *p, void *(*f)(void *), void *argument);
void thread_block(int64_t until_us, const void *waits_on); /* of the current thread */
void proc_poke(struct proc *p);
void proc_start(struct proc *p);
/* At once, in whatever it does; does not return when it is the current one. */
void proc_kill(struct proc *p, int status);
void proc_end(struct proc *p, int status); /* the same, but it always returns */
void thread_leave(void) __attribute__((noreturn)); /* of a process that has ended */
void proc_exit(int status) __attribute__((noreturn)); /* the current one */
struct proc *proc_here(void); /* NULL: the scheduler itself */
bool world_step(void); /* false: nothing will ever happen again */
void spawner_says(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- net.c ---------------------------------------------------------------------------------- */
struct link { /* between a worker and caid */
    int64_t delay_us, jitter_us, cut_up_us, cut_down_us; /* cut until then */
    double twice, late; /* chances of a frame to come twice, to be overtaken */
};
extern struct link links[SIM_WORKERS_MAX];
void net_init(void);
void net_deliver(void);
int64_t net_next_us(void);
void net_proc_ended(struct proc *p);
void net_break(uint32_t worker); /* its connection is made anew; what is under way is lost */
bool net_readable(int fd);
/* A client of caidctl's kind. */
void net_request(const char *verb, const char *json, const char *key);
uint64_t net_epoch_of_frame(void); /* of the Done that caid handles now; 0 = none */
uint64_t net_lease_of_frame(void);

/* ---- disk.c ----------------------------------------------------------------------------------- */
struct node;
enum disk_op { DISK_OPEN, DISK_WRITE, DISK_SYNC, DISK_RENAME, DISK_UNLINK, DISK_MKDIR, DISK_TRUNCATE };
struct disk {
    uint64_t ops;
    uint64_t fail_from, fail_count; /* calls that fail, by their number; 0 = none */
    int fail_errno;
    bool short_writes; /* half of it is written first */
    bool caid_only;
    uint64_t kill_at; /* whoever makes that call dies in it */
    int64_t free_bytes;
    uint64_t failed;
    void (*hook)(enum disk_op op); /* before each of them */
};
extern struct disk disk;
void disk_init(void);
/* What is not synced is kept, lost or torn, by draw. Nobody may run. */
enum disk_loss { LOSE_ALL, LOSE_NONE, LOSE_SOME, LOSE_TAIL };
void disk_power_cut(enum disk_loss loss);
struct node *node_find(const char *path);
struct node *node_open(const char *path, bool create, bool exclusive, bool truncate);
size_t node_size(const struct node *n);
bool node_is_dir(const struct node *n);
size_t node_read(const struct node *n, void *to, size_t len, size_t at);
int node_write(struct node *n, const void *from, size_t len, size_t at); /* 0, or -1 and errno */
int node_truncate(struct node *n, size_t size);
int node_sync(struct node *n);
int node_unlink(const char *path);
int node_rename(const char *from, const char *to);
int node_mkdir(const char *path);
int node_sync_parent(const char *path);
const char *node_entry(const struct node *n, size_t i, struct node **ret);
/* Every file below a folder, into a digest. */
void node_digest(const char *path, char ret_hex[65]);

/* ---- calls.c ---------------------------------------------------------------------------------- */
/* In a build with failpoints: one of them, once, at that pass of any process's. */
extern struct sim_point {
    const char *name;
    enum { POINT_KILL, POINT_DELAY, POINT_ERROR } action;
    unsigned at, passes;
    struct proc *held; /* by a delay */
} sim_point;

/* ---- vfs.c ------------------------------------------------------------------------------------ */
void vfs_register(void);

/* ---- check.c ---------------------------------------------------------------------------------- */
struct outcome {
    char ledger[65], examples[65], models[65], metrics[65], files[65];
};
void check_after_caid(void);      /* its slice has ended */
void check_caid_opened(struct run *r);
void check_caid_closes(void);
void check_held(struct store *s); /* all that was ever acknowledged */
void check_outcome(struct run *r, struct outcome *ret);
void check_welcomed(uint64_t epoch);
void check_granted(struct proc *worker, const Cai__V1__Grant *g);
void check_acknowledged(uint64_t lease);          /* a DoneAck leaves caid */
void check_committed(uint64_t lease, uint64_t seq);    /* a ReportAck does */
void check_reported(const Cai__V1__Report *r);    /* caid takes it */
void check_job_exists(int64_t job);
extern uint64_t check_absorbed, check_stale, check_looks;

/* ---- person.c: submits the job, asks how it is, and lets it go on when it failed ---------------- */
void person_init(void);
void person_act(void);
int64_t person_next_us(void);
void person_reply(const Cai__V1__Reply *m);
struct person {
    bool ended;
    int64_t job;
    int requeues;
    char state[32], stage[32], reason[600];
    bool expects_errors; /* disk errors are among the faults */
    /* Frames overtake one another, which they never do on one connection of ZeroMQ's: figures for
     * people that arrive after their task's end are not taken. All else must hold even so. */
    bool expects_loss;
    bool expects_wakes; /* of ranks that caid has given up */
};
extern struct person person;

/* ---- faults.c --------------------------------------------------------------------------------- */
enum fault {
    FAULT_KILL_WORKER, FAULT_KILL_CAID, FAULT_KILL_ALL, FAULT_STOP_WORKER, FAULT_STOP_CAID,
    FAULT_CUT_UP, FAULT_CUT_DOWN, FAULT_CUT_BOTH, FAULT_DELAY, FAULT_TWICE, FAULT_REORDER,
    FAULT_SLOW, FAULT_CLOCK, FAULT_SWAP, FAULT_TERM_CAID, FAULT_TERM_WORKER, FAULT_KILL_IN_DISK,
    FAULT_DISK_ERROR, FAULT_DISK_FULL, FAULT_SHORT_WRITE, FAULT_POWER_CUT, FAULT_BREAK, FAULT_COUNT
};
const char *fault_name(enum fault f);
enum phase { PHASE_ANY, PHASE_FIRST, PHASE_SECOND, PHASE_GANG, PHASE_GANG_LATER, PHASE_ENDING, PHASE_LAST,
             PHASE_COUNT };
const char *phase_name(enum phase p);
void faults_plan(void);                              /* by the seed */
void faults_plan_one(enum fault f, enum phase p);    /* one, when that phase is seen */
void faults_act(void);
void faults_power_cut(enum disk_loss loss); /* of everything; does not return to what runs */
int64_t faults_next_us(void);
extern char faults_text[4096]; /* what was done, for people */

#endif
