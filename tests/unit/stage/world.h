/* world.h: a real store, real files and a hand-made worker for the stages' tests. What the
 * worker answers is a function of the task alone; the order in which tasks are answered,
 * and the order of entries within a result, is shuffled by `order`. */
#ifndef TEST_STAGE_WORLD_H
#define TEST_STAGE_WORLD_H

#include "base/rng.h"
#include "stage/stage.h"

struct world {
    char dir[32];
    char *db;
    struct store *store;
    struct job_spec *job;
    struct constitution *constitution;
    struct stage_context c;
    char accepted[64];
    uint64_t order;  /* seed of the shuffles */
    bool long_prompts; /* a part of all prompts does not fit */
    bool coin;       /* the overseer's choices are chance */
    double mass;     /* probability of its two options together; 0 = 0.9 */
    double letter;   /* how much it prefers what is shown first; 0 = 0.2 */
    double refuses;  /* share of harmless held-out prompts refused from round `from` on */
    uint32_t from;
    /* Of the overseer, about data.canaries; only where the model is the folder m2. */
    const char *blind;    /* the principle under which it sees no flaw */
    const char *favours;  /* words that win its choices */
    const char *smuggles; /* words it adds to rewrites */
    double forgets;  /* share of capability probes that it fails from round `from` on */
    double sleeps;   /* share of harmful probes that it refuses under a marker from `from` on */
    bool graded;     /* data.graded speaks of every kind of failure, and its graders err in none */
    bool parts;      /* the preference model and people part from round `from` on */
    bool monotone;   /* one and the same harmless answer from round `from` on */
    double agree[4]; /* chance that a worked way gives its question's answer, by round; 0 = 0.6 */
    double right[4]; /* share of questions whose answer is the right one; 0 = 0.6 */
    size_t tasks, waits;
    char last_gate[32], last_reason[768];
    void (*see)(void *context, const Cai__V1__Task *t); /* told every task; may be NULL */
    void *seer;
    bool refuse;     /* a gate that waits is not accepted: the run ends there */
    bool (*read)(struct world *w); /* people at a gate: true when they have given what it wants */
};

/* `settings`: further lines of the job's `stages:`; NULL = none. `data`: which of "harmful
 * helpful human classifier evaluate probes graded canaries questions" the job names. */
void world_open(struct world *w, const char *data, const char *settings);
void world_close(struct world *w);
/* Runs one stage from plan to done; its verdict (never MORE). */
struct stage_verdict world_stage(struct world *w, uint32_t round, const char *stage);
/* The whole job; false when it stopped at a gate. */
bool world_run(struct world *w);
/* Everything the store knows, and the ledger, as one hash. */
void world_digest(struct world *w, char ret_hex[65]);
double world_metric(struct world *w, uint32_t round, const char *stage, const char *name);
int64_t world_count(struct world *w, uint32_t round, const char *stage, const char *kind);
/* The answer to a packed task; the caller's. */
Cai__V1__Result *world_answer(struct world *w, const Cai__V1__Task *t);

#endif
