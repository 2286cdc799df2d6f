/* look.h: looking at models from the hand tool: which model is meant (target.c), and the child
 * process that runs it (child.c). caictl itself has no libtorch: caiprobe, beside it, does. */
#ifndef CAI_CAICTL_LOOK_H
#define CAI_CAICTL_LOOK_H

#include "caictl.h"
#include <sys/types.h>

/* A model that a person names: a folder, a job (its last model), or JOB:ROUND (0 = the start). */
struct target {
    char *path; /* the struct's */
    char *name; /* for people: "job 1 after ppo" */
    json_t *show; /* of the job, the struct's; NULL for a folder */
};
/* 0 or an exit code; what is wrong is printed. */
int target_find(const char *text, struct target *ret);
void target_free(struct target *t);
/* Whether a text names a job; its number. */
bool target_is_job(const char *text, int64_t *ret);

/* ---- caiprobe ------------------------------------------------------------------------------- */
struct child {
    pid_t pid;
    FILE *to, *from;
};
/* arguments end with NULL; the verb comes first. With `input` (a text) that is all its input, and
 * child.to is NULL. 0 or an exit code. */
int child_start(const char *const *arguments, const struct cai_buf *input, struct child *ret);
/* The next line as JSON, the caller's; NULL at the end. */
json_t *child_read(struct child *c);
/* Closes and waits. 0, or EXIT_INPUT when it failed: it has said why. */
int child_end(struct child *c);
/* Runs it to the end on `input`; f for each line, not 0 ends. */
int child_run(const char *const *arguments, const struct cai_buf *input,
              int (*f)(void *c, size_t i, const json_t *line), void *c);

int run_chat(const struct args *a);
int run_compare(const struct args *a);
int run_diff(const struct args *a);

#endif
