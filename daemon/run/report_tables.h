/* report_tables.h: a job's figures, and tables of them, for the files that make its report. */
#ifndef CAI_RUN_REPORT_TABLES_H
#define CAI_RUN_REPORT_TABLES_H

#include "run/report.h"

struct figures { /* of a job, by (round, stage, name, step) */
    struct figure_row {
        uint32_t round;
        uint64_t step;
        char *stage, *name;
        double value;
    } *at;
    size_t n, cap;
};
/* One figure of step 0, or NULL; `part`: NAME_PART. */
const double *figures_find(const struct figures *f, uint32_t round, const char *stage,
                           const char *name);
const double *figures_part(const struct figures *f, uint32_t round, const char *stage,
                           const char *name, const char *part);
json_t *figure_json(const double *v); /* null for NULL */

struct column {
    const char *key, *title, *kind; /* kind "text" is filled by the caller */
};
/* Those with a figure, and the grader of each that is somebody's verdict; g NULL = none is. */
json_t *table_columns(const struct column *c, size_t n, const char *first, const struct graders *g,
                      const char *stage, const json_t *rows);

/* report_guards.c: whether failures multiplied, what every guard said, and what the model can. */
void report_guards(json_t *tables, const struct figures *f, uint32_t rounds);

#endif
