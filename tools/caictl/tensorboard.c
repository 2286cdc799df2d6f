/* tensorboard.c: `caictl metrics ID --tensorboard FOLDER`: a job's figures as runs that
 * TensorBoard shows: FOLDER/job-1/round-1 and …/ppo hold curves over steps, FOLDER/job-1/rounds
 * what a stage says once per round, over rounds. Run again, it adds what is new. */
#include "caictl.h"

#include "base/clock.h"
#include "base/error.h"
#include "export.h"
#include "proto/event_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RUNS_MAX = 1024, PAUSE_S = 5 };

struct board {
    const char *folder;
    int64_t id, rounds;
    struct run_file {
        char *name;
        struct event_file *file;
    } runs[RUNS_MAX];
    size_t n;
    double now; /* when the points of this pass became known */
};

static struct event_file *run_of(struct board *b, const char *name) {
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->runs[i].name, name) == 0)
            return b->runs[i].file;
    CAI_AUTO(mem) char *folder = cai_format("%s/job-%lld/%s", b->folder, (long long)b->id, name);
    if (b->n == RUNS_MAX || event_file_open(folder, &b->runs[b->n].file) < 0)
        return NULL;
    b->runs[b->n].name = cai_strdup(name);
    return b->runs[b->n++].file;
}

static int put(void *context, const json_t *row) {
    struct board *b = context;
    int64_t round = integer_of(row, "round"), step = integer_of(row, "step");
    const char *stage = text_of(row, "stage"), *name = text_of(row, "name");
    if (strncmp(name, "pm_bin_", 7) == 0) /* its steps are bins */
        return 0;
    CAI_AUTO(mem) char *run = step == 0          ? cai_strdup("rounds")
                              : round > b->rounds ? cai_strdup("ppo")
                                                  : cai_format("round-%lld", (long long)round);
    CAI_AUTO(mem) char *tag = cai_format("%s/%s", stage, name);
    struct event_file *f = run_of(b, run);
    int rc = f ? event_file_add(f, tag, step == 0 ? round : step, number_of(row, "value", 0), b->now)
               : CAI_EINPUT;
    return rc < 0 ? complain(EXIT_INPUT, "%s", cai_error_text()) : 0;
}

/* One pass over all figures. */
static int pass(struct board *b) {
    b->now = (double)cai_wall_ms() / 1000;
    int code = data_pages("metrics", json_pack("{s:I}", "id", (json_int_t)b->id), -1, put, b);
    for (size_t i = 0; i < b->n && code == 0; i++)
        if (event_file_flush(b->runs[i].file) < 0)
            code = complain(EXIT_INPUT, "%s", cai_error_text());
    return code;
}

static int follow(struct board *b, bool stay) {
    for (;;) {
        json_t *p;
        int code = follow_progress(b->id, &p);
        if (code)
            return code;
        bool end = follow_ended(p) >= 0;
        b->rounds = integer_of(p, "rounds");
        json_decref(p);
        code = pass(b);
        if (code || end || !stay)
            return code;
        sleep(PAUSE_S);
    }
}

int run_tensorboard(const struct args *a, int64_t id) {
    struct board *b = cai_alloc(sizeof *b);
    *b = (struct board){.folder = args_get(a, "tensorboard"), .id = id};
    int code = follow(b, args_has(a, "follow"));
    int64_t points = 0;
    for (size_t i = 0; i < b->n; i++)
        points += event_file_points(b->runs[i].file);
    if (code == 0)
        say("%lld points of job %lld in %zu runs; next: tensorboard --logdir %s\n", (long long)points,
            (long long)id, b->n, b->folder);
    for (size_t i = 0; i < b->n; i++) {
        event_file_close(b->runs[i].file);
        free(b->runs[i].name);
    }
    free(b);
    return code;
}
