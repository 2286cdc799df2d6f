/* review_wake.h: who a reader is, and when a job's wait for readers ends. For the files of this room:
 * control requests, the page, the loop. */
#ifndef CAI_CONTROL_REVIEW_WAKE_H
#define CAI_CONTROL_REVIEW_WAKE_H

#include "run/people.h"
#include "review/review.h"

/* Who asks over a control socket, by key or uid; `name` holds ret->name. CAI_EAUTH when caid cannot
 * see. The page's people prove themselves by their own tokens. */
int review_who(const struct run *r, const struct channel_peer *peer, char name[PERSON_MAX],
               struct reviewer *ret);
/* Lets jobs go on whose verdicts are in. Cheap when nothing was said: each turn of the beat calls
 * it, and whoever took a verdict. */
void review_wake(struct run *r);

#endif
