/* plot.h: curves as text, for terminals. Not for HTML (report.html). */
#ifndef CAI_CAICTL_PLOT_H
#define CAI_CAICTL_PLOT_H

#include "base/buf.h"
#include <jansson.h>

size_t plot_cells(const char *text); /* characters of UTF-8 */
/* One line of at most `width` blocks, lowest to highest; means where points are more. */
void plot_spark(struct cai_buf *out, const double *y, size_t n, size_t width);
/* A series of a REPORT with "unit", "says", "marks" (proto/control.h), to stdout. */
void plot_print(const json_t *series);

/* ---- the figures under `watch`'s line (living.c) ------------------------------------------ */
enum { LIVING_FIGURES = 8, LIVING_STEPS = 512 };
struct living {
    struct living_curve {
        const char *name;
        double y[LIVING_STEPS];
        size_t n;
    } curve[LIVING_FIGURES];
    size_t n;
    int64_t round;
    char stage[32];
    double done; /* steps at the last point */
};
/* Takes PROGRESS in; asks the daemon for what was before when another stage begins. */
void living_take(struct living *l, const json_t *progress);
/* Lines without their ends, each at most `width` characters; at most `most` of them. */
size_t living_lines(const struct living *l, int width, size_t most, struct cai_buf *lines);

#endif
