/* run.h: the coordinator: one thread that owns the store, the sockets, the workers'
 * registry, leases and gangs, and answers control requests. caid's main() is its only
 * caller. Not for: what a stage means (stage), what is durable (store). */
#ifndef CAI_RUN_RUN_H
#define CAI_RUN_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a configuration file may set; defaults by run_config_default. */
struct run_config {
    int64_t min_free_mb;  /* below this much free space jobs pause */
    int64_t drain_s;      /* how long SIGTERM waits for workers */
    int64_t late_s;       /* a gang's rank that the others await so long is named */
    int64_t half_life_min; /* after which used worker time counts half; share.h */
    int64_t slice_s;       /* after which training gives way to another person; 0 = never */
    int64_t upload_mb, quota_mb; /* of one stored model or file; of all of a person */
    char interface[32];   /* for the gangs' own sockets */
    char admins[64];      /* a group; its members may change everybody's jobs; "" = none */
    char listen[256];     /* tcp://… for other machines; "" = none */
    char web[32];         /* where pages are served, as web/web.h has it */
    char web_host[256];   /* the name by which a TLS proxy serves them; "" = none */
    int64_t web_idle_min; /* after which a session that nobody uses ends */
    int log_level;
};
void run_config_default(struct run_config *c);
/* 0, or CAI_EINPUT with file:line:column; *ret is then unchanged. */
int run_config_load(const char *path, struct run_config *ret);
struct cai_buf;
void run_config_template(struct cai_buf *ret); /* caid.conf with every default, commented out */
void run_config_manual(struct cai_buf *ret);   /* its settings for caid.conf(5), in scdoc */

struct run_front;
struct run_options {
    const struct run_front *front; /* who answers people: control_front */
    const char *state_dir, *runtime_dir;
    const char *keys_dir;    /* NULL = "keys" in the state folder */
    const char *config_path; /* NULL = none; read again at SIGHUP */
    struct run_config config;
    int spawn;            /* workers to start; 0 = they come by themselves */
    int spawner_fd;       /* of spawner_start; -1 without --spawn */
    int threads;          /* per spawned worker */
};

/* ---- the spawner: a process forked before any ZeroMQ context exists -------------- */
/* Starts `n` workers (program, endpoint, state folder, threads, device: "cpu", or "auto" or
 * "cuda", of which each gets one of its own by its number) and restarts those that end, with a growing pause. They die with it, and it dies with the caller. *ret_fd is a
 * stream of "start NAME PID\n" and "exit NAME PID STATUS\n" lines, which takes "kill NAME PID\n"
 * for a worker that hangs; closing it ends them all. */
int spawner_start(const char *program, const char *endpoint, const char *state_dir, int n,
                  int threads, const char *device, int *ret_fd, pid_t *ret_pid);
/* Ends the workers and the spawner; waits at most `limit_ms`. */
void spawner_stop(int fd, pid_t pid, int limit_ms);

/* ---- the coordinator ------------------------------------------------------------- */
struct run;
/* Takes the state folder (one caid per folder), opens the store and the sockets. */
int run_open(const struct run_options *o, struct run **ret);
/* Serves until SIGTERM or SIGINT; 0, or a code when it cannot go on. */
int run_serve(struct run *r);
void run_close(struct run *r);

#endif
