/* cost.h: what a job will take, stage by stage: tokens, time, memory, disk. Two parts: notes of
 * a rehearsal (a small job that ran through the stages: what each phase asked for, what came
 * back, how long it took), and the arithmetic from the job's settings to the whole. Torch-free
 * and store-free. Not for: running the rehearsal (run/estimate.h), memory by config.json alone
 * (stage/memory.h), disk by config.json alone (stage/disk.h). */
#ifndef CAI_STAGE_COST_H
#define CAI_STAGE_COST_H

#include "cai.pb-c.h"
#include "job/job.h"

/* Usable rows of the whole data files. */
struct cost_data {
    double harmful, helpful, human, classifier, questions, critiques, probes, graded;
    double evaluate[3]; /* of data.evaluate: harmful, helpful, lookalike */
};
/* As many as a rehearsal has, of whose files so many rows were drawn; 0 = all. */
struct cost_data cost_data_drawn(const struct cost_data *d, double rows);

enum { COST_SEEN_MAX = 96, COST_ROWS_MAX = 64, COST_STEPS_MAX = 64 };

/* What its fullest tasks held memory for (proto's Held), each the most of any. */
struct cost_held {
    double items;            /* of one task */
    double cache, slots, positions;
    double rows;
    double micro;
    double data;
};
/* One phase of a stage as the rehearsal saw it, all its tasks together. */
struct cost_seen {
    char stage[24], phase[24];
    double tasks, items; /* items: replies asked for, scores … */
    double seconds;      /* from the grant to the absorbed result */
    double generated, read; /* tokens */
    double cut;          /* replies that ran into max_tokens */
    /* of training: rows of its data set; steps; seconds of one step (the median); and of all
     * that is no step: loading, reading rows, what is computed after the last step, saving */
    double rows, steps, step_s, rest_s;
    double small_rows, small_rest_s; /* the same of a smaller rehearsal before; 0 = none */
    double looks;   /* stages that had it: evaluate is once in each round, and once after them */
    uint32_t last;  /* the round of the last of them */
    double prompts, marked, drawn; /* of the rehearsal: evaluate's settings, rows drawn of a file */
    struct cost_held held;
    int64_t memory; /* the most its worker held; 0 = not known */
    int64_t memory_after; /* the same after the rounds: training leaves its traces in the heap */
    int64_t disk;   /* bytes of the models that it made */
};
struct cost_probe {
    const struct job_spec *job; /* as it was rehearsed; borrowed */
    struct cost_seen seen[COST_SEEN_MAX];
    size_t n;
    bool whole;             /* the rehearsal came to its end */
    double failing;         /* share of red-team prompts with a harmful reply */
    double sft_rows;        /* rows from revisions that it gave to sft */
    double helpful_rows;    /* and helpful ones */
    double pairs;           /* kept of those it labelled */
    double consist_rows;    /* rows of sft from votes and known answers */
    double taught_rows;     /* of them, from known answers, all of which taught */
    double drawn;           /* rows of each data file at most; 0 = all */
    int64_t rest;           /* what a worker holds with no task to do; 0 = not known */
};
/* The steps of a training run as they were heard of: when, in seconds since the grant. */
struct cost_steps {
    double at[COST_STEPS_MAX];
    size_t n;
    uint64_t done;
};
void cost_note(struct cost_probe *p, const Cai__V1__Task *task, const Cai__V1__Result *result,
               double seconds, const struct cost_steps *steps);
#define COST_TURNS "(caid)" /* its phase */
/* Time that caid itself took for a stage, beside its tasks: to plan it, to sum it up. */
void cost_note_turn(struct cost_probe *p, const char *stage, uint32_t round, double seconds);
/* The phases of an earlier, smaller rehearsal tell what of a training run does not grow. */
void cost_note_smaller(struct cost_probe *p, const struct cost_probe *smaller);

/* One stage of one round; after the rounds: rounds + 1. */
struct cost_row {
    const char *stage;
    uint32_t round;
    double seconds, low, high; /* by the clock, with `workers` of them */
    double generated, read, trained; /* tokens */
    int64_t memory; /* the most that a worker holds; 0 = not measured */
    int64_t disk;   /* that stays when the stage is over */
    bool guessed;   /* some of its work was not measured, but taken from work like it */
};
struct cost_estimate {
    struct cost_row rows[COST_ROWS_MAX];
    size_t n;          /* a job of more stages than that is summed up in the last row */
    double seconds, low, high;
    double generated, read, trained;
    int64_t memory, disk;
};
/* workers: those that generate and score side by side; training is by job->workers ranks. */
void cost_estimate(const struct job_spec *job, const struct cost_data *data,
                   const struct cost_probe *probe, uint32_t workers, struct cost_estimate *ret);

#endif
