/* disk.h: what a job will leave on the disk at least, by its models' config.json alone: said at
 * submit, and held against the free space. Not for: texts and data (they are small beside
 * models, and a full disk only pauses a job), what a machine has (run). */
#ifndef CAI_STAGE_DISK_H
#define CAI_STAGE_DISK_H

#include "job/job.h"

struct disk_plan {
    int64_t bytes;      /* models and states together */
    int64_t models;     /* that stay */
    int64_t states;     /* resumable ones, of the stage whose are largest, while it runs */
    char text[320];     /* "4 policies 1.2 GB + 2 preference models 1.2 GB + 4 states 7.2 GB" */
    char lower[160];    /* what would lower it */
};
int disk_plan(const struct job_spec *job, struct disk_plan *ret);

#endif
