/* review.h: caictl review: what its files share. */
#ifndef CAI_CAICTL_REVIEW_H
#define CAI_CAICTL_REVIEW_H

#include "caictl.h"

/* Reads items with a person at standard input until there is none, or the person leaves; job 0 =
 * any (review_next.c). An exit code. */
int review_session(int64_t job, bool one);

#endif
