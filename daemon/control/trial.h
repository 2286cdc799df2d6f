/* trial.h: `constitution try`: a reply, a critique and a revision per principle and prompt,
 * outside any job and kept in memory only. */
#ifndef CAI_CONTROL_TRIAL_H
#define CAI_CONTROL_TRIAL_H

#include "control/control.h"

int trial_start(const struct request *q, json_t **ret);
int trial_show(const struct request *q, json_t **ret);

#endif
