/* local.h: a job file with its constitution and data, read and checked without a daemon. */
#ifndef CAI_CAICTL_LOCAL_H
#define CAI_CAICTL_LOCAL_H

#include "caictl.h"
#include "constitution/constitution.h"
#include "job/job.h"

struct local_job {
    struct job_spec *job;
    struct constitution *constitution; /* NULL when it is named, not a file */
    size_t rows[JOB_DATA_FILES]; /* of the data files, as job_check_data counts */
};
/* Prints the findings; 0 or EXIT_INPUT. */
int local_job_load(const char *path, const char *const *sets, size_t n, struct local_job *ret);
void local_job_free(struct local_job *l);
void local_print_job(const struct local_job *l);
/* --set and its short forms as assignments; the caller frees each. Returns their number. */
size_t local_sets(const struct args *a, char **ret, size_t max);

#endif
