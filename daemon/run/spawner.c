/* spawner.c: the process that starts workers and starts them again. It is forked before
 * any ZeroMQ context exists (a fork after that shares the context's file descriptors), knows
 * nothing of jobs, and dies with caid: its pipe closes, or the kernel signals it. It ends a
 * worker that caid calls hung, if it is a child of its own.
 *
 * A worker that ends is started again after a pause that doubles from 100 ms to 10 s, and
 * is short again once one lived for 30 s. */
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "run/run.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAUSE_MIN_MS = 100, PAUSE_MAX_MS = 10000, LIVED_MS = 30000, STOP_MS = 5000 };

struct child {
    char name[32];
    pid_t pid; /* 0 = waits to be started */
    int64_t started_ms, start_at_ms, pause_ms;
};
struct spawner {
    const char *program, *endpoint, *state_dir, *device;
    int threads, n, fd, signal_fd;
    struct child *child;
    char heard[128]; /* a line of caid's that is not whole yet */
    size_t n_heard;
};

static void say(const struct spawner *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(const struct spawner *s, const char *format, ...) {
    char line[128];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    /* Nobody to tell means that caid is gone; the pipe says so to the loop as well. */
    if (write(s->fd, line, (size_t)n) < 0)
        return;
}

static _Noreturn void become_worker(const struct spawner *s, const struct child *c) {
    char threads[16], device[32];
    snprintf(threads, sizeof threads, "%d", s->threads);
    if (strcmp(s->device, "cpu") == 0)
        snprintf(device, sizeof device, "cpu");
    else
        snprintf(device, sizeof device, "%s:%d", s->device, (int)(c - s->child));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execl(s->program, "cai-worker", "--connect", s->endpoint, "--state", s->state_dir, "--name",
          c->name, "--threads", threads, "--device", device, (char *)NULL);
    cai_error("cannot start %s: %s", s->program, strerror(errno));
    _exit(127);
}

static void start(struct spawner *s, struct child *c) {
    pid_t pid = fork();
    if (pid == 0)
        become_worker(s, c);
    c->started_ms = cai_now_ms();
    if (pid < 0) {
        c->start_at_ms = c->started_ms + PAUSE_MAX_MS;
        return;
    }
    c->pid = pid;
    say(s, "start %s %d\n", c->name, (int)pid);
}

static void reap(struct spawner *s) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < s->n; i++) {
            struct child *c = &s->child[i];
            if (c->pid != pid)
                continue;
            int64_t now = cai_now_ms();
            c->pid = 0;
            c->pause_ms = now - c->started_ms > LIVED_MS || !c->pause_ms ? PAUSE_MIN_MS
                          : 2 * c->pause_ms < PAUSE_MAX_MS               ? 2 * c->pause_ms
                                                                         : PAUSE_MAX_MS;
            c->start_at_ms = now + c->pause_ms;
            say(s, "exit %s %d %d\n", c->name, (int)pid,
                WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
        }
    }
}

static int start_due(struct spawner *s) {
    int64_t now = cai_now_ms(), next = -1;
    for (int i = 0; i < s->n; i++) {
        struct child *c = &s->child[i];
        if (!c->pid && now >= c->start_at_ms)
            start(s, c);
        if (!c->pid && (next < 0 || c->start_at_ms < next))
            next = c->start_at_ms;
    }
    return next < 0 ? -1 : next > now ? (int)(next - now) : 0;
}

static bool any_alive(const struct spawner *s) {
    for (int i = 0; i < s->n; i++)
        if (s->child[i].pid)
            return true;
    return false;
}

static void signal_all(const struct spawner *s, int number) {
    for (int i = 0; i < s->n; i++)
        if (s->child[i].pid)
            kill(s->child[i].pid, number);
}

static _Noreturn void end_all(struct spawner *s) {
    signal_all(s, SIGTERM);
    for (int64_t until = cai_now_ms() + STOP_MS; any_alive(s) && cai_now_ms() < until; reap(s))
        poll(NULL, 0, 20);
    signal_all(s, SIGKILL);
    _exit(0);
}

/* "kill NAME PID": of a worker that hangs. Only a child, which is not reaped yet, so that the
 * number is still its own. */
static void obey(struct spawner *s, const char *line) {
    char name[32];
    int pid;
    if (sscanf(line, "kill %31s %d", name, &pid) != 2)
        return;
    for (int i = 0; i < s->n; i++)
        if (pid > 0 && s->child[i].pid == pid && strcmp(s->child[i].name, name) == 0)
            kill(pid, SIGKILL);
}

/* False when caid's end closed. */
static bool listen_to_caid(struct spawner *s) {
    ssize_t n = read(s->fd, s->heard + s->n_heard, sizeof s->heard - 1 - s->n_heard);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    s->n_heard += (size_t)n;
    s->heard[s->n_heard] = '\0';
    for (char *end; (end = strchr(s->heard, '\n'));) {
        *end = '\0';
        obey(s, s->heard);
        s->n_heard -= (size_t)(end + 1 - s->heard);
        memmove(s->heard, end + 1, s->n_heard + 1);
    }
    if (s->n_heard == sizeof s->heard - 1)
        s->n_heard = 0; /* no line of ours is so long */
    return true;
}

static _Noreturn void serve(struct spawner *s) {
    for (;;) {
        int wait_ms = start_due(s);
        struct pollfd p[2] = {{s->fd, POLLIN, 0}, {s->signal_fd, POLLIN, 0}};
        if (poll(p, 2, wait_ms) < 0 && errno != EINTR)
            end_all(s);
        if (p[1].revents) {
            struct signalfd_siginfo info;
            if (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info &&
                info.ssi_signo == SIGTERM)
                end_all(s);
            reap(s);
        }
        if (p[0].revents && !listen_to_caid(s))
            end_all(s);
    }
}

static _Noreturn void spawner_main(struct spawner *s, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_NAME, "caid-spawner");
    if (getppid() != parent)
        _exit(0);
    /* Ctrl-C at a terminal goes to the whole group; caid decides what it means. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    CAI_CHECK(s->signal_fd >= 0);
    for (int i = 0; i < s->n; i++)
        snprintf(s->child[i].name, sizeof s->child[i].name, "worker-%d", i);
    serve(s);
}

int spawner_start(const char *program, const char *endpoint, const char *state_dir, int n,
                  int threads, const char *device, int *ret_fd, pid_t *ret_pid) {
    if (access(program, X_OK) < 0)
        return cai_fail_errno("cannot start workers: %s", program);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return cai_fail_errno("cannot make a pipe to the workers' starter");
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        close(pair[0]);
        close(pair[1]);
        return cai_fail_errno("cannot start the workers' starter");
    }
    if (pid == 0) {
        close(pair[0]);
        struct spawner s = {program, endpoint, state_dir, device, threads, n, pair[1], -1,
                            cai_realloc(NULL, (size_t)n, sizeof(struct child))};
        memset(s.child, 0, (size_t)n * sizeof *s.child);
        spawner_main(&s, parent);
    }
    close(pair[1]);
    *ret_fd = pair[0];
    *ret_pid = pid;
    return 0;
}

void spawner_stop(int fd, pid_t pid, int limit_ms) {
    close(fd);
    for (int64_t until = cai_now_ms() + limit_ms; cai_now_ms() < until; poll(NULL, 0, 20))
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
