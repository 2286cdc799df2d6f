/* estimate.h: `submit --dry-run`: measures a rehearsal of a job on a worker and says what the
 * whole job will take. In memory only: a restart forgets it, and it leaves nothing behind. */
#ifndef CAI_CONTROL_ESTIMATE_H
#define CAI_CONTROL_ESTIMATE_H

#include "control/control.h"

int estimate_start(const struct request *q, json_t **ret);
int estimate_show(const struct request *q, json_t **ret);

#endif
