/* gauges.h: the last figures of a job's present stage: the few that `watch` shows, and all that
 * Prometheus reads. Not for the record of every step (store). */
#ifndef CAI_RUN_GAUGES_H
#define CAI_RUN_GAUGES_H

#include "base/buf.h"
#include <jansson.h>

struct gauges {
    struct gauge {
        size_t family; /* row of the table in gauges.c */
        char *part;    /* of a figure by principle, its id; else "" */
        double value;
    } *at; /* by family, then part */
    size_t n, cap;
};

/* Keeps the value if the figure is in the table; of a part's figure at most PARTS_MAX. */
void gauges_note(struct gauges *f, const char *name, double value);
void gauges_clear(struct gauges *f); /* and frees */
/* Those that `watch` shows, {name: value} in the table's order; the caller's. */
json_t *gauges_json(const struct gauges *f);

/* Prometheus' text of one family, a row < gauges_families: all jobs' samples of a family stand
 * together, below its head, which is written before the first (*io_named). */
extern const size_t gauges_families;
void gauges_write(const struct gauges *f, size_t family, long long job, const char *stage,
                  bool *io_named, struct cai_buf *out);

#endif
