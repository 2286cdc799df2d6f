/* cost_build.h: what the files of the arithmetic share (cost.c, cost_part.c, cost_look.c); nobody
 * else includes it. */
#ifndef CAI_STAGE_COST_BUILD_H
#define CAI_STAGE_COST_BUILD_H

#include "stage/cost.h"

#include "hf/hf.h"

struct build {
    const struct job_spec *job;
    const struct cost_data *data;
    const struct cost_probe *probe;
    struct hf_config config; /* of the start model; .hidden_size 0 = cannot be read */
    double workers, ranks;
    struct cost_row *row;
    double error;  /* of the phases that are added, besides their own */
    double worked; /* items and rows that the row's phases work on */
    bool after;    /* the rounds */
    /* what a round hands to its next stages */
    double red_prompts, red_failing, sft_rows, consist_rows, helpful_written, pairs, row_tokens;
};

#define COST_DRIFT 0.15 /* relative error, ours: of what changes as the model does */
#define COST_HELD_OUT 0.1 /* stage/data.c, without data.evaluate */

/* ---- cost_part.c: one phase --------------------------------------------------------------- */
const struct cost_seen *cost_find(const struct build *b, const char *stage, const char *phase);
/* Items of one phase for each of another. A phase that a whole rehearsal never saw, is none. */
double cost_ratio(const struct build *b, const char *stage, const char *phase, const char *to,
                  double otherwise);
double cost_ceil(double a, double b);  /* of a / b */
double cost_least(double a, double b);

struct asked {
    const char *stage, *phase;
    double items;
    const char *like_stage, *like_phase; /* measured in its stead; NULL = nothing is like it */
    const struct job_sampling *full, *rehearsed; /* NULL: nothing is generated */
};
void cost_add_items(struct build *b, struct asked q);

struct trained {
    const char *stage, *phase;
    double rows, steps, per_step; /* per_step: rows, or rollouts, of one */
    double seen_per_step;
    const struct job_sampling *full, *rehearsed; /* of rollouts; NULL = none */
};
void cost_add_training(struct build *b, struct trained q);
/* caid's own part, when all phases of the row were added. */
void cost_add_turns(struct build *b);
/* What replies would have been without the rehearsal's shorter limit; 1 = as they were. */
double cost_longer(const struct cost_seen *s, double limit, double full);

/* ---- cost_held.c: memory ------------------------------------------------------------------- */
/* The bytes that a worker holds at most in tasks like those that were seen, full as the job's are:
 * what was seen, and by how much a full task's cache, calls, micro-batches and rows are larger.
 * 0 = nothing was seen. */
int64_t cost_held_items(const struct build *b, const struct cost_seen *s,
                        const struct asked *q);
int64_t cost_held_training(const struct build *b, const struct cost_seen *s,
                           const struct trained *q);

/* ---- cost_look.c: stages that look ---------------------------------------------------------- */
void cost_evaluate_row(struct build *b, uint32_t round, bool first);
void cost_audit_row(struct build *b);
void cost_add_classifier(struct build *b, const char *stage);

#endif
