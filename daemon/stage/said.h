/* said.h: what a text says, by its beginning. For extract.c. */
#ifndef CAI_STAGE_SAID_H
#define CAI_STAGE_SAID_H

#include "stage/phrase.h"

/* Says, without reservation, that nothing is to be found or done; `frame`: the words that
 * were asked for (frames.no_flaw), or NULL. */
bool said_nothing_wrong(struct view v, const char *frame);
/* Declines the task of critique, or of revision; declining what the user asked is not it. */
bool said_no(struct view v, bool to_revise);

#endif
