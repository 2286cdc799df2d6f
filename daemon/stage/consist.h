/* consist.h: what self-consistency gives to the fine-tuning of its round. */
#ifndef CAI_STAGE_CONSIST_H
#define CAI_STAGE_CONSIST_H

#include "stage/data.h"
#include "stage/dataset.h"

/* Adds the rows of a round, in (item, k, form) order, and their number to *io_n; none when the
 * stage is off. */
int consist_rows(const struct stage_context *c, uint32_t round, struct dataset *d, size_t *io_n);

/* ---- within the stage --------------------------------------------------------------------- */
/* Of the labelled questions those whose own ways to the known answer are learned
 * (stages.consist.teach), the same in every round; in item order, in the arena. */
int consist_teaching(const struct stage_context *c, struct cai_arena *a, struct items *ret);
/* Whether votes wait for the next round, where known answers teach anything: in the first of several. */
bool consist_labels_first(const struct job_spec *j, uint32_t round);
/* Whether all labelled questions teach: where some do, in the last round, after they have measured
 * for the last time. */
bool consist_all_teach(const struct stage_context *c);
/* The worked questions of the data, in the file's order. */
struct worked {
    struct shot {
        const char *question, *steps, *answer; /* in the arena */
    } *at;
    size_t n;
};
int consist_worked(const struct stage_context *c, struct cai_arena *a, struct worked *ret);
/* A question with shots before it: drawn by (item, k); `direct`: with their answers alone; `ask`
 * after it, or NULL. All in the arena. */
struct asked_question {
    struct turn *turns;
    size_t n;
};
void consist_ask(const struct stage_context *c, const struct worked *w, const struct dialog *q,
                 uint64_t item, uint32_t k, bool direct, const char *ask, struct cai_arena *a,
                 struct asked_question *ret);
/* "The answer is 7." */
char *consist_direct(const struct stage_context *c, const char *answer, struct cai_arena *a);

#endif
