/* stage.h: the interface of a stage: one file and one row of the table.
 *
 * A stage turns the store's content into tasks (plan), each result back into the store
 * (absorb), and, when no task is open, says what is next (done). Stages meet only in the
 * store. All three run in a transaction of the coordinator's and touch nothing else, so
 * they are undone whole when the process dies; frozen files (blobs) are content-addressed.
 * Nothing here reads a clock or depends on the order in which results arrive. */
#ifndef CAI_STAGE_STAGE_H
#define CAI_STAGE_STAGE_H

#include "cai.pb-c.h"
#include "constitution/constitution.h"
#include "job/job.h"
#include "store/store.h"

/* What a task is called to its worker, where that is not what it is: the audit's questions look
 * like those of other stages. Its row in the store keeps the truth. */
struct stage_guise {
    const char *stage, *phase;
    uint32_t chunk; /* added to the task's own */
};

struct stage_context {
    struct store *store;
    int64_t job_id;
    const struct job_spec *job;
    const struct constitution *constitution;
    uint32_t round;
    const char *stage;    /* the row's name */
    const char *work_dir; /* this job's folder: models/, checkpoints/ */
    const char *accepted; /* gates accepted by a person */
    const struct stage_guise *guise; /* of tasks that are added; NULL = none */
};

enum stage_next {
    STAGE_DONE = 0,  /* go on to the next stage */
    STAGE_MORE = 1,  /* done() added tasks */
    STAGE_WAIT = 2   /* a person must look: `gate` and `reason` are set */
};
struct stage_verdict {
    enum stage_next next;
    char gate[32];
    char reason[768];
};

struct stage {
    const char *name;
    const char *title;      /* for progress: "critique and rewrite" */
    bool once;              /* after all rounds (ppo), not in each */
    bool (*enabled)(const struct job_spec *job);
    int (*plan)(const struct stage_context *c);
    int (*absorb)(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result);
    int (*done)(const struct stage_context *c, struct stage_verdict *ret);
};

/* In the order they run; red_team revise audit review_texts consist sft label review prefer skill
 * evaluate, then ppo and its evaluation. NULL-terminated. */
extern const struct stage *const stage_table[];
const struct stage *stage_find(const char *name);
/* The (round, stage) after this one, skipping what is switched off. round 0 and NULL ask
 * for the first; NULL when the job is finished. */
const struct stage *stage_after(const struct job_spec *job, uint32_t round, const char *name,
                                uint32_t *ret_round);

/* Whether a person accepted the gate (`resume --accept NAME`). */
bool stage_accepted(const struct stage_context *c, const char *gate);

/* Packs and adds a task; fills job, round, stage and seed. `gang`: all ranks together. */
int stage_task_add(const struct stage_context *c, const char *phase, uint32_t chunk, bool gang,
                   Cai__V1__Task *task);
/* Gives a stored task back the stage, phase and chunk of its row. */
void stage_task_unmask(Cai__V1__Task *task, const struct store_task *row);

#endif
