/* child.h: what another process of a test's own program says, with a variable set for it alone:
 * for what a process takes up once. Included after cmocka.h. */
#ifndef CAI_TESTS_CHILD_H
#define CAI_TESTS_CHILD_H

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ret: all that argv writes to its standard output; name NULL: no variable. */
static void child_says(char *const *argv, const char *name, const char *value, char *ret,
                       size_t size) {
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (name)
            setenv(name, value, 1);
        dup2(ends[1], STDOUT_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    assert_true(pid > 0);
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < size && (got = read(ends[0], ret + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    ret[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#endif
