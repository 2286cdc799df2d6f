/* rehearse.h: `submit --dry-run` and `--smoke`. Both steal the request's arguments and return an
 * exit code. */
#ifndef CAI_CAICTL_REHEARSE_H
#define CAI_CAICTL_REHEARSE_H

#include <jansson.h>

int rehearse_dry_run(json_t *submission);
int rehearse_smoke(json_t *submission);

#endif
