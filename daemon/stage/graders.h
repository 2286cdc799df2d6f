/* graders.h: who gives which rate, and whether that grader was ever checked against people
 * or against answers known beforehand. Not for the rates themselves (rates.h), nor for
 * verdicts from outside, which the daemon never sees (`caictl report --judged`). */
#ifndef CAI_STAGE_GRADERS_H
#define CAI_STAGE_GRADERS_H

#include "store/store.h"

struct grader {
    const char *name;  /* "classifier", "overseer", "phrases", "people", "known answers" */
    const char *check; /* against what it was checked, and how it did; "" = never */
    bool verified;     /* checked, and better than chance */
};

/* Of one job. */
struct graders {
    bool classifier, better; /* better than chance: on held-out rows, or in people's eyes */
    char check[256];
};
/* From what the job has stored so far. */
int graders_load(struct store *s, int64_t job, struct graders *ret);
/* The grader of a stage's figure; false when the figure is none that somebody gives (a
 * count, a mean). Strings live as long as g. */
bool graders_of(const struct graders *g, const char *stage, const char *figure,
                struct grader *ret);

#endif
