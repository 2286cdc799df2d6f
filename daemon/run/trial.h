/* trial.h: `constitution try`: a reply, a critique and a revision per principle and prompt,
 * outside any job and kept in memory only. */
#ifndef CAI_RUN_TRIAL_H
#define CAI_RUN_TRIAL_H

#include "run/control.h"

int trial_start(const struct request *q, json_t **ret);
int trial_show(const struct request *q, json_t **ret);
bool trials_name(const struct run *r, const char *path); /* one that is not over asks this model */

#endif
