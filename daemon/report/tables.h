/* tables.h: a job's figures, and the parts of its report, for the files that make it. */
#ifndef CAI_REPORT_TABLES_H
#define CAI_REPORT_TABLES_H

#include "report/report.h"

struct figures { /* of a job, by (round, stage, name, step) */
    struct figure_row {
        uint32_t round;
        uint64_t step;
        char *stage, *name;
        double value;
    } *at;
    size_t n, cap;
};
int figures_load(struct store *store, int64_t job, struct figures *ret); /* then figures_free */
void figures_free(struct figures *f);
const double *figures_at(const struct figures *f, uint32_t round, const char *stage, uint64_t step,
                         const char *name); /* or NULL */
/* One figure of step 0, or NULL; `part`: NAME_PART. */
const double *figures_find(const struct figures *f, uint32_t round, const char *stage,
                           const char *name);
const double *figures_part(const struct figures *f, uint32_t round, const char *stage,
                           const char *name, const char *part);

/* Cells of figures of step 0; null where there is none. The caller's. */
json_t *figure_json(const double *v);
json_t *cell_number(const struct figures *f, uint32_t round, const char *stage, const char *name);
/* {"value", "low", "high", "n"} */
json_t *cell_interval(const struct figures *f, uint32_t round, const char *stage, const char *name);
/* A difference of shares, as text: "+3.1 (+1.0 to +5.2)", points. */
json_t *cell_points(const struct figures *f, uint32_t round, const char *stage, const char *name);
/* What is no share, as text: "0.28 (0.24 to 0.33)". */
json_t *cell_spread(const struct figures *f, uint32_t round, const char *stage, const char *name);

struct column {
    const char *key, *title, *kind; /* kind "text" is filled by the caller */
};
json_t *table_column(const struct column *c, const struct grader *by); /* by: NULL = nobody's verdict */
json_t *table_all_columns(const struct column *c, size_t n);
/* "checkpoint" first, then those with a figure, and the grader of each that is somebody's verdict;
 * g NULL = none is. */
json_t *table_columns(const struct column *c, size_t n, const char *first, const struct graders *g,
                      const char *stage, const json_t *rows);
/* Takes columns and rows; no table without rows. note: may be NULL. */
void table_add(json_t *tables, const char *name, const char *title, const char *note,
               json_t *columns, json_t *rows);

/* Whether failures multiplied, what every guard said, and what the model can. */
void report_guards(json_t *tables, const struct figures *f, uint32_t rounds);
/* Adds what the stage skill and debates showed: tables, and sentences to the headline. */
void report_skill(const struct figures *f, uint32_t rounds, json_t *tables, json_t *headline);
/* Replies to held-out prompts before and after. */
int report_transcripts(struct store *store, int64_t job, uint32_t rounds, json_t **ret);
/* A table of the series "score/PRINCIPLE": where each began and ended. */
void report_scores(const json_t *series, json_t *tables);
/* Tables of people's review; none where nobody was asked. */
int report_review(struct store *store, int64_t job, json_t *tables);
/* A table and a sentence of what people found in what the overseer had judged; nothing where they
 * were not asked. */
void report_audit(const struct figures *f, uint32_t rounds, json_t *tables, json_t *headline);
/* Tables and a sentence of self-consistency; nothing where it did not run. */
void report_consist(const struct figures *f, uint32_t rounds, json_t *tables, json_t *headline);
/* Tables of what red teaming found by `method`. */
void report_red_team(const struct figures *f, uint32_t rounds, const char *method,
                     const struct graders *g, json_t *tables);
/* "start", "SFT round 1" or "after PPO" for a round of evaluation. */
void report_checkpoint(uint32_t round, uint32_t rounds, char *out, size_t size);

#endif
