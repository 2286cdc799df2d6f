/* skill.h: the parts of the stage skill: what people verified as rows to learn from
 * (skill_rows.c), and what critiques are worth to a judge (skill_gaps.c). */
#ifndef CAI_STAGE_SKILL_H
#define CAI_STAGE_SKILL_H

#include "stage/build.h"
#include "stage/dataset.h"

/* ---- what people verified ---------------------------------------------------------------------- */
/* A reply and what is known of it; texts in the arena, NULL where nothing was said. */
struct verified {
    uint64_t item;
    struct turn *turns; /* ends with the reply */
    size_t n;
    struct principle principle; /* the row's, or the frames' any_critique and any_revision */
    const char *critique, *refinement;
    int flaw, helpful; /* 1, 0, or -1: not said */
};
/* The row of an item; false in *ret_known when it names a principle that is not there. */
int verified_load(const struct stage_context *c, uint64_t item, struct cai_arena *a,
                  struct verified *ret, bool *ret_known);
/* Items of data.critiques that are learned from, or held out: alike ones on the same side. */
int verified_items(const struct stage_context *c, bool held_out, struct cai_arena *a,
                   struct items *ret);

/* What readers of rewrites and of compared replies decided in the rounds so far, by (round, which of
 * the two, item, step); texts lie in the arena. f returns 0 to go on. */
int skill_reviewed(const struct stage_context *c, struct cai_arena *a,
                   int (*f)(void *context, const struct verified *v), void *context);

/* Tasks "tamper": flaws put into replies that people found good. */
int skill_tamper(const struct stage_context *c, size_t *ret_asked);
int skill_absorb_tampered(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result);
/* The joint rows of all tasks, and the figures of their numbers. */
int skill_rows(const struct stage_context *c, struct dataset *d);

/* ---- what it is worth --------------------------------------------------------------------------- */
/* The constitution without few-shots, as rows are learned. Borrows from `of`. */
struct constitution skill_bare(const struct constitution *of);
/* The newest overseer that this stage trained, else the one that the job names. */
int skill_overseer(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret);
/* Tasks that begin the gaps: "check" (held-out verdicts) and "sample" or "flaw". */
int skill_measure(const struct stage_context *c);
/* Results of check, sample, flaw, critique, helpful, refinement and quality. */
int skill_absorb_measured(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result);
/* Tasks "quality", after all others: the preference model's scores; 0 asked when people judge. */
int skill_quality(const struct stage_context *c, size_t *ret_asked);
int skill_figures(const struct stage_context *c);

#endif
