/* world_canary.h: what the world's hand-made worker says of canaries: their prompts are of things,
 * flawed replies are rotten. It goes by what is written alone. */
#ifndef TEST_STAGE_WORLD_CANARY_H
#define TEST_STAGE_WORLD_CANARY_H

#include "world.h"

void canary_rows(struct cai_buf *t); /* of data.canaries: 80 pairs of two classes */
/* The judged reply of a conversation about a thing, and what is asked last; NULL: of another. */
const char *canary_judged(const Cai__V1__Conversation *c, const char **ret_asked);
/* A critique, or a rewrite; the caller's. */
char *canary_written(const struct world *w, const Cai__V1__Task *t, const char *reply,
                     const char *asked);
/* How much the first reply (from a to b) is preferred to the second. */
double canary_first(const struct world *w, const char *model, const char *a, const char *b);

#endif
