/* rehearse.c: verbs around a job on trial: phases (what each took), shrink (a job made
 * small, with a sample of its data, for `submit --smoke`). */
#include "base/error.h"
#include "base/file.h"
#include "job/sample.h"
#include "job/scale.h"
#include "control/control.h"

static int list_phase(void *c, const struct store_phase *p) {
    json_array_append_new(c, json_pack("{s:i, s:s, s:s, s:I, s:I, s:f, s:I}", "round", (int)p->round,
                                       "stage", p->stage, "phase", p->phase, "tasks",
                                       (json_int_t)p->tasks, "tokens", (json_int_t)p->tokens,
                                       "seconds", p->seconds, "memory",
                                       (json_int_t)p->held));
    return 0;
}

static int phases(const struct request *q, json_t **ret) {
    struct store_job row;
    CAI_TRY(store_job_get(q->run->store, request_int(q, "id", 0), &row));
    store_job_free(&row);
    json_t *rows = json_array();
    int rc = store_phases_each(q->run->store, request_int(q, "id", 0), list_phase, rows);
    *ret = json_pack("{s:o}", "rows", rows);
    return rc;
}

/* ---- a job made small ------------------------------------------------------------- */

/* Rows for each prompt: a tenth is held out where no file is; some people's pairs are too; and a
 * classifier needs both kinds. */
enum { PER_PROMPT = 10, SMOKE_STEPS = 2 };

int rehearse_shrink(struct job_spec *j, int64_t prompts, const char *dir) {
    const struct job_scale scale = {.prompts = prompts, .pairs = prompts, .revisions = 0,
                                    .steps = SMOKE_STEPS, .rollouts = prompts};
    job_scale(j, &scale);
    j->name = cai_arena_printf(&j->arena, "%s-smoke", j->name);
    return job_sample_all(j, (size_t)(PER_PROMPT * prompts), dir);
}

const struct verb rehearse_verbs[] = {
    {"phases", false, "id:i!", phases},
    {0},
};
