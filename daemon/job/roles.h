/* roles.h: what a row of a job's data must have, by the role of its file. Private to the room. */
#ifndef CAI_JOB_ROLES_H
#define CAI_JOB_ROLES_H

#include "job/job.h"

/* Adds what is wrong to the report. */
void job_check_row(enum job_data role, const struct input_record *r, size_t line,
                   struct input_report *report);
/* Its prompts are held against those that are held out; canaries, say, are never trained on. */
bool job_data_parted(enum job_data role);

#endif
