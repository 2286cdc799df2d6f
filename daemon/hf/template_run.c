/* template_run.c: runs render_template.py in a process of its own: no shell, no inherited
 * descriptors, a bare environment, limits on time, memory and output, killed by its pid.
 * Spawned, not forked, so that it is safe in a process with threads, sockets and torch.
 * Not for what the answers mean (template.c).
 *
 * States: sending → (all sent, our side shut) → receiving → (end of answer) → waited for.
 * Each passes to killed when the deadline or the output's limit is passed. */
#include "hf/template_run.h"
#include "hf/json.h"
#include "render_template_script.h"
#include "base/clock.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PYTHON "/usr/bin/python3"
/* The child may use 5 s of CPU time; on a busy machine that takes longer by the clock. */
#define DEADLINE_MS 60000
#define ANSWER_MAX_BYTES ((size_t)32 << 20)

static int spawn_child(int socket, pid_t *ret) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    CAI_CHECK(posix_spawn_file_actions_init(&files) == 0 && posix_spawnattr_init(&attributes) == 0);
    posix_spawn_file_actions_adddup2(&files, socket, 0);
    posix_spawn_file_actions_adddup2(&files, socket, 1);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", 1, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    char *argv[] = {(char *)"python3",
                    (char *)"-I",
                    (char *)"-S",
                    (char *)"-B",
                    (char *)"-c",
                    (char *)render_template_script,
                    NULL};
    char *env[] = {(char *)"PATH=/usr/bin:/bin", (char *)"LC_ALL=C.UTF-8", NULL};
    int rc = posix_spawn(ret, PYTHON, &files, &attributes, argv, env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (rc == 0)
        return 0;
    errno = rc;
    return cai_fail_errno("cannot run " PYTHON " for the chat template (packages python3 and "
                          "python3-jinja2)");
}

/* Sends what it can without waiting; 1 when all is sent, 0 when not, or a negative code. */
static int send_some(int fd, const char *data, size_t len, size_t *at) {
    while (*at < len) {
        ssize_t n = send(fd, data + *at, len - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (n < 0)
            return errno == EPIPE || errno == ECONNRESET ? 1 : cai_fail_errno("chat template");
        *at += (size_t)n;
    }
    shutdown(fd, SHUT_WR);
    return 1;
}

/* 1 at the end of the answer, 0 when more may come, or a negative code. */
static int receive_some(const char *path, int fd, struct cai_buf *answer) {
    char chunk[65536];
    for (;;) {
        ssize_t n = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (n < 0)
            return errno == ECONNRESET ? 1 : cai_fail_errno("chat template");
        if (n == 0)
            return 1;
        cai_buf_append(answer, chunk, (size_t)n);
        if (answer->len > ANSWER_MAX_BYTES)
            return cai_fail(CAI_ELIMIT, "%s: the chat template writes more than %zu MiB", path,
                            ANSWER_MAX_BYTES >> 20);
    }
}

static int exchange(const char *path, int fd, const char *request, size_t len,
                    struct cai_buf *answer) {
    int64_t deadline = cai_now_ms() + DEADLINE_MS;
    size_t at = 0;
    bool sent = false;
    for (;;) {
        int64_t left = deadline - cai_now_ms();
        struct pollfd p = {fd, (short)(POLLIN | (sent ? 0 : POLLOUT)), 0};
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cai_fail_errno("chat template");
        if (n == 0)
            return cai_fail(CAI_ETIMEOUT,
                            "%s: the chat template was still running after %d seconds; "
                            "it was stopped",
                            path, DEADLINE_MS / 1000);
        int rc = sent ? 1 : send_some(fd, request, len, &at);
        if (rc < 0)
            return rc;
        sent = rc > 0;
        rc = receive_some(path, fd, answer);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
}

static int reap(const char *path, pid_t pid, bool failed) {
    int status = 0;
    if (failed)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 0; /* someone else has reaped it: the answer alone decides */
    if (failed)
        return cai_error_code();
    if (WIFSIGNALED(status))
        return cai_fail(CAI_ELIMIT,
                        "%s: the chat template was stopped by signal %d (limits: 5 s of "
                        "CPU time, 512 MiB)",
                        path, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return cai_fail(CAI_ELIMIT,
                        "%s: the chat template's process failed with status %d (out of "
                        "its 512 MiB, or " PYTHON " does not work)",
                        path, WEXITSTATUS(status));
    return 0;
}

static int run_process(const char *path, const char *request, size_t len, struct cai_buf *answer) {
    int pair[2];
    pid_t pid;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return cai_fail_errno("chat template");
    int rc = spawn_child(pair[1], &pid);
    close(pair[1]);
    if (rc == 0) {
        rc = exchange(path, pair[0], request, len, answer);
        int ended = reap(path, pid, rc < 0);
        rc = rc < 0 ? rc : ended;
    }
    close(pair[0]);
    return rc;
}

static json_t *make_request(const char *source, const json_t *context, int64_t now,
                            const char *const *roles, size_t num_roles,
                            const struct hf_render *renders, size_t n) {
    json_t *o = json_object(), *list = json_array(), *names = json_array();
    for (size_t i = 0; i < num_roles; i++)
        json_array_append_new(names, json_string(roles[i]));
    for (size_t i = 0; i < n; i++) {
        json_t *contents = json_array();
        for (size_t k = 0; k < renders[i].n; k++)
            json_array_append_new(contents, json_string(renders[i].contents[k]));
        json_array_append_new(
            list, json_pack("{sosb}", "contents", contents, "generate", renders[i].generate));
    }
    json_object_set_new(o, "template", json_string(source));
    json_object_set(o, "context", (json_t *)context);
    json_object_set_new(o, "now", json_integer(now));
    json_object_set_new(o, "roles", names);
    json_object_set_new(o, "renders", list);
    return o;
}

int hf_template_run(const char *path, const char *source, const json_t *context, int64_t now,
                    const char *const *roles, size_t num_roles, const struct hf_render *renders,
                    size_t n, json_t **ret_answers) {
    json_auto_t *request = make_request(source, context, now, roles, num_roles, renders, n);
    CAI_AUTO(mem) char *text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return cai_fail(CAI_EINPUT, "%s: the template or a message is not UTF-8", path);
    CAI_AUTO(buf) struct cai_buf answer = {0};
    CAI_TRY(run_process(path, text, strlen(text), &answer));
    json_auto_t *o = NULL;
    CAI_TRY(hf_json_parse(path, answer.data ? answer.data : "", answer.len, HF_JSON_PLAIN, &o));
    const char *error = json_string_value(json_object_get(o, "error"));
    if (error)
        return cai_fail(CAI_EINPUT, "%s: the chat template does not work: %s", path, error);
    json_t *answers = json_object_get(o, "answers");
    if (json_array_size(answers) != n)
        return cai_fail(CAI_EINTERNAL,
                        "%s: the chat template's process gave %zu answers to %zu "
                        "questions",
                        path, json_array_size(answers), n);
    *ret_answers = json_incref(answers);
    return 0;
}
