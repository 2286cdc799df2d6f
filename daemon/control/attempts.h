/* attempts.h: a job's red teaming in the form of hh-rlhf's red-team-attempts. */
#ifndef CAI_CONTROL_ATTEMPTS_H
#define CAI_CONTROL_ATTEMPTS_H

#include "store/store.h"
#include <jansson.h>

/* Takes the row; not 0 ends the walk and is returned. */
typedef int attempt_row(void *context, json_t *row);
/* Prompts that were answered and judged, by round and item. */
int attempts_each(struct store *s, int64_t job, attempt_row *row, void *context);

#endif
