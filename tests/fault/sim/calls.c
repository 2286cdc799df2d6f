/* calls.c: what the C library gives, for processes of the simulation: files and time as the
 * world has them, waiting as giving the turn away. Paths and descriptors that are not the
 * simulation's go to the real ones. The linker's --wrap leads here. */
#include "base/check.h"
#include "base/error.h"
#include "sim.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#define REAL(result, name, ...) extern result __real_##name(__VA_ARGS__)

enum { FD_SIGNAL = SIM_FD + 1, FD_EVENT, FD_SPAWNER, FD_FILES = SIM_FD + 1000, FILES = 256 };

static bool ours(const char *path) { return strncmp(path, "/sim", 4) == 0; }

/* ---- files ------------------------------------------------------------------------------------ */

static struct open_file {
    struct node *node;
    struct proc *proc;
    size_t at;
    size_t entry;
    struct dirent64 shown;
    char path[256];
} files[FILES];

static struct open_file *file_of(int fd) {
    return fd >= FD_FILES && fd < FD_FILES + FILES ? &files[fd - FD_FILES] : NULL;
}

static int open_ours(const char *path, int flags) {
    struct node *n = node_open(path, flags & O_CREAT, flags & O_EXCL, flags & O_TRUNC);
    if (!n)
        return -1;
    if ((flags & O_DIRECTORY) && !node_is_dir(n)) {
        errno = ENOTDIR;
        return -1;
    }
    for (int i = 0; i < FILES; i++) {
        /* What a killed process had open is free again. */
        if (files[i].node && files[i].proc->alive)
            continue;
        files[i] = (struct open_file){.node = n, .proc = proc_here()};
        snprintf(files[i].path, sizeof files[i].path, "%s", path);
        return FD_FILES + i;
    }
    errno = EMFILE;
    return -1;
}

REAL(int, open64, const char *, int, ...);
int __wrap_open64(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return ours(path) ? open_ours(path, flags) : __real_open64(path, flags, mode);
}

static void path_at(int parent, const char *name, char *out, size_t size) {
    struct open_file *f = file_of(parent);
    snprintf(out, size, "%s%s%s", f ? f->path : "", f ? "/" : "", name);
}

REAL(int, openat64, int, const char *, int, ...);
int __wrap_openat64(int parent, const char *name, int flags, ...) {
    char path[512];
    path_at(parent, name, path, sizeof path);
    return ours(path) ? open_ours(path, flags) : __real_openat64(parent, name, flags, 0640);
}

REAL(int, close, int);
int __wrap_close(int fd) {
    struct open_file *f = file_of(fd);
    if (f)
        f->node = NULL;
    return f || fd >= SIM_FD ? 0 : __real_close(fd);
}

REAL(ssize_t, read, int, void *, size_t);
ssize_t __wrap_read(int fd, void *to, size_t len) {
    struct proc *p = proc_here();
    struct open_file *f = file_of(fd);
    if (f) {
        size_t n = node_read(f->node, to, len, f->at);
        f->at += n;
        return (ssize_t)n;
    }
    if (fd == FD_SIGNAL && p->told_to_stop) {
        struct signalfd_siginfo info = {.ssi_signo = 15};
        p->told_to_stop = false;
        memcpy(to, &info, sizeof info);
        return sizeof info;
    }
    if (fd == FD_EVENT && p->events) {
        memcpy(to, &p->events, sizeof p->events);
        p->events = 0;
        return sizeof p->events;
    }
    if (fd >= SIM_FD) {
        errno = EAGAIN;
        return -1;
    }
    return __real_read(fd, to, len);
}

REAL(ssize_t, write, int, const void *, size_t);
ssize_t __wrap_write(int fd, const void *from, size_t len) {
    struct open_file *f = file_of(fd);
    if (f) {
        if (node_write(f->node, from, len, f->at) < 0)
            return -1;
        f->at += len;
        return (ssize_t)len;
    }
    if (fd == FD_EVENT) {
        proc_here()->events++;
        proc_poke(proc_here());
        return (ssize_t)len;
    }
    return __real_write(fd, from, len);
}

REAL(int, fsync, int);
int __wrap_fsync(int fd) {
    struct open_file *f = file_of(fd);
    return f ? node_sync(f->node) : __real_fsync(fd);
}

static int stat_of(const struct node *n, struct stat64 *st) {
    *st = (struct stat64){.st_mode = node_is_dir(n) ? S_IFDIR | 0750 : S_IFREG | 0640,
                          .st_size = (off64_t)node_size(n), .st_nlink = 1};
    return 0;
}

REAL(int, fstat64, int, struct stat64 *);
int __wrap_fstat64(int fd, struct stat64 *st) {
    struct open_file *f = file_of(fd);
    return f ? stat_of(f->node, st) : __real_fstat64(fd, st);
}

REAL(int, stat64, const char *, struct stat64 *);
int __wrap_stat64(const char *path, struct stat64 *st) {
    if (!ours(path))
        return __real_stat64(path, st);
    struct node *n = node_find(path);
    if (n)
        return stat_of(n, st);
    errno = ENOENT;
    return -1;
}

REAL(int, rename, const char *, const char *);
int __wrap_rename(const char *from, const char *to) {
    return ours(from) ? node_rename(from, to) : __real_rename(from, to);
}
/* A file has one name here; who links takes the old name away at once anyway (proto/keys.c). */
REAL(int, link, const char *, const char *);
int __wrap_link(const char *from, const char *to) {
    if (!ours(from))
        return __real_link(from, to);
    if (!node_find(to))
        return node_rename(from, to);
    errno = EEXIST;
    return -1;
}
REAL(int, unlink, const char *);
int __wrap_unlink(const char *path) { return ours(path) ? node_unlink(path) : __real_unlink(path); }
REAL(int, unlinkat, int, const char *, int);
int __wrap_unlinkat(int parent, const char *name, int flags) {
    char path[512];
    path_at(parent, name, path, sizeof path);
    return ours(path) ? node_unlink(path) : __real_unlinkat(parent, name, flags);
}
REAL(int, mkdir, const char *, mode_t);
int __wrap_mkdir(const char *path, mode_t mode) {
    return ours(path) ? node_mkdir(path) : __real_mkdir(path, mode);
}
REAL(int, chmod, const char *, mode_t);
int __wrap_chmod(const char *path, mode_t mode) { return ours(path) ? 0 : __real_chmod(path, mode); }
REAL(int, flock, int, int);
int __wrap_flock(int fd, int how) { return file_of(fd) ? 0 : __real_flock(fd, how); }

REAL(int, statvfs64, const char *, struct statvfs64 *);
int __wrap_statvfs64(const char *path, struct statvfs64 *v) {
    if (!ours(path))
        return __real_statvfs64(path, v);
    *v = (struct statvfs64){.f_frsize = 1, .f_bavail = (fsblkcnt64_t)disk.free_bytes};
    return 0;
}

/* A DIR of ours is the open file itself. */
static bool is_dir_of_ours(const void *d) {
    return (const char *)d >= (const char *)files && (const char *)d < (const char *)(files + FILES);
}
REAL(DIR *, fdopendir, int);
DIR *__wrap_fdopendir(int fd) {
    struct open_file *f = file_of(fd);
    return f ? (DIR *)f : __real_fdopendir(fd);
}
REAL(struct dirent64 *, readdir64, DIR *);
struct dirent64 *__wrap_readdir64(DIR *d) {
    if (!is_dir_of_ours(d))
        return __real_readdir64(d);
    /* The first each time: whoever reads a folder of ours removes what it finds. */
    struct open_file *f = (struct open_file *)d;
    const char *name = node_entry(f->node, 0, NULL);
    if (!name)
        return NULL;
    snprintf(f->shown.d_name, sizeof f->shown.d_name, "%s", name);
    return &f->shown;
}
REAL(int, closedir, DIR *);
int __wrap_closedir(DIR *d) {
    if (!is_dir_of_ours(d))
        return __real_closedir(d);
    ((struct open_file *)d)->node = NULL;
    return 0;
}
REAL(int, dirfd, DIR *);
int __wrap_dirfd(DIR *d) {
    return is_dir_of_ours(d) ? FD_FILES + (int)((struct open_file *)d - files) : __real_dirfd(d);
}

/* ---- time --------------------------------------------------------------------------------------- */

enum { EPOCH_S = 1700000000 };

REAL(int, clock_gettime, clockid_t, struct timespec *);
int __wrap_clock_gettime(clockid_t id, struct timespec *t) {
    int64_t us = world.now_us + 1000000;
    if (id == CLOCK_REALTIME) {
        struct proc *p = proc_here();
        us += EPOCH_S * (int64_t)1000000 + (p ? p->wall_jump_ms * SIM_MS : 0);
    }
    t->tv_sec = us / 1000000;
    t->tv_nsec = us % 1000000 * 1000;
    return 0;
}

int __wrap_usleep(useconds_t us) {
    struct proc *p = proc_here();
    int64_t until = world.now_us + (int64_t)us * (p->slow > 1 ? p->slow : 1);
    do
        thread_block(until, &files); /* on nothing that anybody signals */
    while (world.now_us < until);
    return 0;
}

/* ---- waiting --------------------------------------------------------------------------------------- */

static bool is_readable(int fd) {
    struct proc *p = proc_here();
    switch (fd) {
    case FD_SIGNAL: return p->told_to_stop;
    case FD_EVENT: return p->events > 0;
    case FD_SPAWNER: return p->spawner_len > 0;
    default: return net_readable(fd);
    }
}

static int look(struct pollfd *p, nfds_t n) {
    int found = 0;
    for (nfds_t i = 0; i < n; i++) {
        p[i].revents = is_readable(p[i].fd) ? POLLIN : 0;
        found += p[i].revents != 0;
    }
    return found;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout) {
    /* A turn of a loop takes time, or a busy one would stop the clock. */
    int64_t until = timeout < 0 ? SIM_NEVER : world.now_us + timeout * (int64_t)SIM_MS;
    thread_block(world.now_us + 10, &files);
    int found;
    while ((found = look(p, n)) == 0 && world.now_us < until)
        thread_block(until, NULL);
    return found;
}

int __wrap_signalfd(int fd, const sigset_t *mask, int flags) {
    (void)fd, (void)mask, (void)flags;
    return FD_SIGNAL;
}
int __wrap_eventfd(unsigned count, int flags) {
    (void)count, (void)flags;
    return FD_EVENT;
}
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old) {
    (void)how, (void)set, (void)old;
    return 0;
}
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    (void)how, (void)set, (void)old;
    return 0;
}

ssize_t __wrap_recv(int fd, void *to, size_t len, int flags) {
    (void)flags;
    CAI_CHECK(fd == FD_SPAWNER);
    struct proc *p = proc_here();
    size_t n = p->spawner_len < len ? p->spawner_len : len;
    memcpy(to, p->spawner_in, n);
    memmove(p->spawner_in, p->spawner_in + n, p->spawner_len - n);
    p->spawner_len -= n;
    if (n == 0)
        errno = EAGAIN;
    return n ? (ssize_t)n : -1;
}

/* "kill NAME PID": caid ends a worker that hangs. */
ssize_t __wrap_send(int fd, const void *from, size_t len, int flags) {
    (void)flags;
    CAI_CHECK(fd == FD_SPAWNER);
    char name[64], line[96];
    unsigned pid;
    snprintf(line, sizeof line, "%.*s", (int)len, (const char *)from);
    CAI_CHECK(sscanf(line, "kill %63s %u", name, &pid) == 2);
    for (uint32_t i = 0; i < world.n_workers; i++)
        if (world.workers[i].alive && world.workers[i].pid == pid)
            proc_kill(&world.workers[i], -9);
    return (ssize_t)len;
}

/* ---- threads ----------------------------------------------------------------------------------------- */

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *a, void *(*f)(void *), void *x) {
    (void)a;
    struct proc *p = proc_here();
    thread_start(p, f, x);
    *ret = (pthread_t)p->threads;
    return 0;
}
int __wrap_pthread_join(pthread_t t, void **ret) {
    (void)ret;
    while (!((struct thread *)t)->finished)
        thread_block(SIM_NEVER, NULL);
    return 0;
}
/* Turns change at waits alone, so a lock is never contended. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *m) {
    (void)m;
    return 0;
}
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m) {
    (void)m;
    return 0;
}
int __wrap_pthread_cond_broadcast(pthread_cond_t *c) {
    for (struct thread *t = proc_here()->threads; t; t = t->next)
        if (t->waits_on == c)
            t->poked = true;
    return 0;
}
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m) {
    (void)m;
    thread_block(SIM_NEVER, c);
    return 0;
}
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t) {
    (void)m;
    int64_t until = t->tv_sec * (int64_t)1000000 + t->tv_nsec / 1000 - 1000000;
    thread_block(until, c);
    return world.now_us < until ? 0 : ETIMEDOUT;
}

/* ---- failpoints -------------------------------------------------------------------------------------- */

struct sim_point sim_point;

int __wrap_cai_failpoint(const char *name);
int __wrap_cai_failpoint(const char *name) {
    struct proc *p = proc_here();
    if (!p || !sim_point.name || strcmp(sim_point.name, name) != 0 ||
        ++sim_point.passes != sim_point.at)
        return 0;
    told("failpoint %s, pass %u", name, sim_point.passes);
    switch (sim_point.action) {
    case POINT_KILL: proc_kill(p, -9); break;
    case POINT_DELAY:
        p->stopped_until_us = world.now_us + 5000 * SIM_MS;
        sim_point.held = p; /* in the middle of something: nobody looks at its books now */
        thread_block(p->stopped_until_us, &files);
        sim_point.held = NULL;
        break;
    case POINT_ERROR: return cai_fail(CAI_EIO, "failpoint %s", name);
    }
    return 0;
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

pid_t __wrap_getpid(void) { return (pid_t)(proc_here() ? proc_here()->pid : 1); }
REAL(void, _exit, int) __attribute__((noreturn));
void __wrap__exit(int status) {
    if (proc_here())
        proc_exit(status);
    __real__exit(status);
}
void *__wrap_zmq_ctx_new(void) { return &files; }
int __wrap_zmq_ctx_term(void *c) {
    (void)c;
    return 0;
}
void __wrap_randombytes_buf(void *to, size_t n) {
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)to)[i] = (unsigned char)draw();
}
