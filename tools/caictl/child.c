/* child.c: caiprobe as a child process: JSON Lines in and out. It stands in a process group of its
 * own, so that Ctrl-C reaches caictl alone, and it ends with caictl. */
#include "base/error.h"
#include "base/file.h"
#include "look.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Beside caictl, or where the package of the workers puts it. */
static char *probe_path(void) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    char *path = cai_path_join(self, "caiprobe");
    if (access(path, X_OK) == 0)
        return path;
    free(path);
    return NULL;
}

static _Noreturn void become(const char *path, const char *const *arguments, int in, int out) {
    const char *argv[64] = {"caiprobe"};
    size_t n = 1;
    for (; arguments[n - 1] && n < CAI_COUNT(argv) - 1; n++)
        argv[n] = arguments[n - 1];
    argv[n] = NULL;
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execv(path, (char *const *)argv);
    _exit(127);
}

static int input_file_of(const struct cai_buf *text, int *ret) {
    int fd = memfd_create("input", MFD_CLOEXEC);
    size_t at = 0;
    if (fd < 0)
        return cai_fail_errno("memfd_create");
    while (at < text->len) {
        ssize_t n = write(fd, text->data + at, text->len - at);
        if (n <= 0) {
            close(fd);
            return cai_fail_errno("memory for the questions");
        }
        at += (size_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    *ret = fd;
    return 0;
}

int child_start(const char *const *arguments, const struct cai_buf *input, struct child *ret) {
    int in[2] = {-1, -1}, out[2];
    CAI_AUTO(mem) char *path = probe_path();
    *ret = (struct child){0};
    if (!path)
        return complain(EXIT_NOT_FOUND, "caiprobe, which runs models, is not beside caictl; it is "
                                        "built and packaged with cai-worker");
    if ((input ? input_file_of(input, &in[0]) : pipe2(in, O_CLOEXEC)) < 0 ||
        pipe2(out, O_CLOEXEC) < 0)
        return complain(EXIT_DAEMON, "no pipe to caiprobe: %s", strerror(errno));
    fflush(NULL);
    ret->pid = fork();
    if (ret->pid == 0)
        become(path, arguments, in[0], out[1]);
    if (ret->pid > 0) /* here too: a Ctrl-C before it has come so far would end it */
        (void)setpgid(ret->pid, ret->pid);
    close(in[0]);
    close(out[1]);
    if (ret->pid < 0) {
        close(out[0]);
        return complain(EXIT_DAEMON, "caiprobe cannot be started: %s", strerror(errno));
    }
    ret->to = input ? NULL : fdopen(in[1], "w");
    ret->from = fdopen(out[0], "r");
    return EXIT_OK;
}

json_t *child_read(struct child *c) {
    CAI_AUTO(mem) char *line = NULL;
    size_t cap = 0;
    ssize_t n = getline(&line, &cap, c->from);
    return n > 0 ? json_loadb(line, (size_t)n, 0, NULL) : NULL;
}

int child_end(struct child *c) {
    int status = 0;
    if (c->to)
        fclose(c->to);
    if (c->from)
        fclose(c->from);
    while (c->pid > 0 && waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    *c = (struct child){0};
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0 ? EXIT_OK : EXIT_INPUT;
    return WTERMSIG(status) == SIGPIPE ? EXIT_OK
                                       : complain(EXIT_DAEMON, "caiprobe was ended by signal %d; "
                                                  "perhaps memory is short", WTERMSIG(status));
}

int child_run(const char *const *arguments, const struct cai_buf *input,
              int (*f)(void *c, size_t i, const json_t *line), void *context) {
    struct child c;
    json_t *line;
    int code = child_start(arguments, input, &c);
    if (code)
        return code;
    for (size_t i = 0; code == 0 && (line = child_read(&c)); i++) {
        code = f(context, i, line);
        json_decref(line);
    }
    int ended = child_end(&c);
    return code ? code : ended;
}
