/* judged.h: an outside judge's verdicts (proto/control.h, "A judged file") as tables of a
 * report. */
#ifndef CAI_CAICTL_JUDGED_H
#define CAI_CAICTL_JUDGED_H

#include "input/report.h"
#include <jansson.h>

struct judged;

struct judged *judged_new(void);
void judged_free(struct judged *j);
/* One row of `export replies`. */
void judged_reply(struct judged *j, const json_t *row);
/* One row of `export grades`: what the job's own graders say of a reply given before. */
void judged_grade(struct judged *j, const json_t *row);
/* Counts the verdicts of a file; what is wrong in it goes to `findings`. */
void judged_read(struct judged *j, const char *path, struct input_report *findings);
/* Adds a table for each set of prompts to report's "tables", and marks the graders of the
 * job's own rates as far as the judge checks them; false when nothing was judged. */
bool judged_tables(const struct judged *j, json_t *report, const char *file);

#endif
