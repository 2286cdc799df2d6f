/* sample.h: a few rows of a data file as a file of their own, for a rehearsal of a job; and how
 * many of each kind the file has. Not for: choosing prompts of a job (stage/data.h). */
#ifndef CAI_JOB_SAMPLE_H
#define CAI_JOB_SAMPLE_H

#include "job/job.h"

struct job_sample {
    size_t rows;    /* good ones of the whole file */
    size_t kinds[3]; /* of data.evaluate: harmful, helpful, lookalike */
};
/* Writes `most` of a file's rows (all, when there are no more), drawn by `seed`, in the file's
 * order, in caid's own form. `to` NULL: counts only. */
int job_sample_data(enum job_data role, const char *path, double skip, size_t most, uint64_t seed,
                    const char *to, struct job_sample *ret);
/* Puts a sample of that many rows, in `dir`, in the place of each data file of the job. */
int job_sample_all(struct job_spec *j, size_t most, const char *dir);

#endif
