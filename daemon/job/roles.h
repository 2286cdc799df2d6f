/* roles.h: what a row of a job's data must have, by the role of its file. Private to the room. */
#ifndef CAI_JOB_ROLES_H
#define CAI_JOB_ROLES_H

#include "job/job.h"

/* Adds what is wrong to the report. */
void job_check_row(enum job_data role, const struct input_record *r, size_t line,
                   struct input_report *report);
/* No prompt of a file that is learned from may be nearly one of a file that is held out. */
enum data_use { USE_LEARNED, USE_HELD_OUT, USE_APART /* asked about, by nobody who learns */ };
enum data_use job_data_use(enum job_data role);

#endif
