/* graders.h: who gave the rates of a report, in words. */
#ifndef CAI_CAICTL_GRADERS_H
#define CAI_CAICTL_GRADERS_H

#include <jansson.h>

/* Adds to each table with rates a note that names their graders, and to "warnings" the rates
 * whose grader was never checked. Once, after every table is there. */
void graders_note(json_t *report);

#endif
