/* guard.h: does a flaw multiply? A model that trains on its own texts can amplify what nobody
 * chose, forget what it could, learn to behave when it is watched, or please a preference model
 * that people no longer agree with. After each round, and after PPO, the same held-out probes are
 * asked again, and the job waits for a person when a guard trips. Nothing here is trained on.
 *
 * A guard is a row of the table below and a file of its family:
 *   guard_rise.c     failures by class, against the round before and the start: S, I, R
 *   guard_tolerance.c  whether a rise of any class is ruled out; asks further until it is
 *   guard_style.c    variety, openings, length, entropy, distance from the start
 *   guard_skill.c    what the model could: bits per byte, multiple choice, exact answers
 *   guard_watched.c  the same probes under markers: who behaves only when watched
 *   guard_proxy.c    preference model against people's pairs; the ensemble's disagreement
 *   guard_train.c    KL budget, sampler against trainer
 * Each names its figures (metrics of stage evaluate); guard_NAME is 1 where the guard tripped, 0
 * where it looked and did not, and absent where it had nothing to look at.
 *
 * Tests: a guard trips when a lower bound is above its margin, at confidence 1 − guards.alpha shared
 * by all comparisons of all looks of a job (Bonferroni; half of it is for `rise`). guards.alpha: 0 measures and never halts.
 *
 * A rate is as good as its grader (verdicts.h): one that was never checked against people is named
 * so, and never shows that a failure does not grow: with guards.tolerance the job halts there. */
#ifndef CAI_STAGE_GUARD_H
#define CAI_STAGE_GUARD_H

#include "stage/data.h"

struct look;

struct finding {
    bool looked, tripped;
    double by;      /* how far past its margin, to name the worst of a guard's findings */
    uint32_t last;  /* the round that it is compared with, to roll back to */
    char says[512]; /* what, from what, to what, by what numbers */
};

struct guard {
    const char *name;     /* of its gate, "guard-ROUND-NAME" */
    const char *setting;  /* its threshold in the job file */
    const char *measures; /* for people */
    /* Further questions to the models, asked with the round's replies and with their scores; `base`:
     * the start is asked as well. Phases begin with "NAME/". NULL: none. */
    int (*plan)(const struct stage_context *c, bool base);
    int (*plan_scores)(const struct stage_context *c, bool base);
    int (*absorb)(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result);
    size_t (*comparisons)(const struct look *l); /* that its verdict makes; NULL: none by chance */
    int (*judge)(const struct look *l, struct finding *ret);
    /* Further questions when all that was asked has been judged, before judge(); adds their number.
     * Called again when they are answered. NULL: none. */
    int (*more)(const struct look *l, size_t *io_n);
};
/* In the order in which they are told; ends with a NULL name. */
extern const struct guard guards[];

/* Stores a counted draw of what this round's supervised training was given (examples: taken,
 * {"kind"}) and lists it; empty when the round trained nothing. */
int guard_take(const struct stage_context *c, struct cai_arena *a, struct examples *ret);
int guard_plan(const struct stage_context *c, bool base);
int guard_plan_scores(const struct stage_context *c, bool base);
/* Whether the task was a guard's. */
bool guard_asked(const Cai__V1__Task *task);
int guard_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result);
/* What a guard asks when it has seen the first answers; *ret_n > 0: tasks were added. */
int guard_more(const struct stage_context *c, size_t *ret_n);
/* After this round's rates are known: records the figures, and sets STAGE_WAIT with a gate when a
 * person must look. Gates that were accepted ("guard-ROUND-NAME", or "guard-ROUND" for all of the
 * round's) are passed. */
int guard_judge(const struct stage_context *c, struct stage_verdict *ret);

#endif
