/* loop.h: a worker's two threads: the control thread owns the socket and the heartbeats,
 * the compute thread runs one task at a time. Knows no tensors: what runs a task is given
 * as an engine (device.h has the real one). */
#ifndef CAI_WORKER_LOOP_H
#define CAI_WORKER_LOOP_H

#include "cai.pb-c.h"
#include "proto/keys.h"
#include <stdbool.h>

/* What the loop lends to a running task; see table.h for what each means. */
struct loop_host {
    void *context;
    void (*report)(void *context, Cai__V1__Report *report);
    int (*commit)(void *context, const char *folder, const char *manifest_hash, uint64_t step);
    bool (*stopping)(void *context);
    bool (*leaving)(void *context);
    void (*left)(void *context);
};

/* All functions but collective() are called on the compute thread. */
struct loop_engine {
    /* Once, before anything else. device: "cpu", "cuda:0", "auto", … *ret_class: what bits
     * depend on; lives for ever. */
    int (*open)(int threads, const char *device, const char **ret_class);
    int (*run)(const Cai__V1__Task *task, const Cai__V1__Gang *gang, const struct loop_host *host,
               Cai__V1__Result **ret);
    /* The last collective that the running task entered, and whether it is inside. Called on
     * the control thread at any time; NULL: there are none. */
    uint64_t (*collective)(bool *ret_inside);
    /* After a task that failed: whether the device is lost to this process, which then ends
     * once it has said so; NULL: never. */
    bool (*lost)(void);
    /* After open(): bytes of the device's own memory that are free to this process; 0: it
     * computes in the machine's. NULL: the same. */
    uint64_t (*memory)(void);
    /* Ends the collective that the running task waits in, which then fails; called on the
     * control thread when the task must stop. NULL: there are none. */
    void (*interrupt)(void);
    /* For how many ms, at least 1, the task has been inside its present collective; 0 = it is in
     * none. As collective(); NULL: there are none. */
    int64_t (*standing)(void);
};

struct loop_options {
    const char *endpoint, *state_dir, *name, *version;
    int threads;
    const struct loop_engine *engine;
    uint64_t memory; /* bytes that tasks may take, if a person said it; else 0 */
    const char *device;
    uint64_t machine_memory; /* 0 = not known */
    const struct key_file *key; /* for tcp:// endpoints; NULL = none */
    const char *interface;      /* for gangs' sockets on this machine; NULL = as caid says */
    const uint32_t *protocol; /* the number it says; NULL = this program's */
};

/* Serves until SIGTERM or SIGINT (0), or a code when it cannot begin or the device is lost. A caid that is gone
 * is waited for. A training task that is told to leave saves its state at the end of its
 * step, if that comes in time. A task that does not stop within 15 s of being told ends the
 * process: its supervisor starts a fresh one. */
int worker_loop(const struct loop_options *o);

#endif
