/* plot.c: see plot.h. Columns of eighths of a cell: readable in every font that has the
 * block elements, without colour. */
#include "plot.h"
#include "caictl.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 6, COLUMNS_MAX = 60, LABEL = 9 };

static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

struct range {
    double low, high;
};

size_t plot_cells(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static struct range range_of(const double *y, size_t n) {
    struct range r = {n ? y[0] : 0, n ? y[0] : 0};
    for (size_t i = 1; i < n; i++) { /* fmin and fmax pass over NAN */
        r.low = fmin(r.low, y[i]);
        r.high = fmax(r.high, y[i]);
    }
    return r;
}

static double place(struct range r, double y) {
    return r.high > r.low ? fmin(fmax((y - r.low) / (r.high - r.low), 0), 1) : 0.5;
}

/* At most `width` means of neighbours; returns their number. */
static size_t thin(const double *y, size_t n, size_t width, double *out) {
    size_t m = n < width ? n : width;
    for (size_t i = 0; i < m; i++) {
        size_t from = i * n / m, to = (i + 1) * n / m;
        out[i] = 0;
        for (size_t k = from; k < to; k++)
            out[i] += y[k] / (double)(to - from);
    }
    return m;
}

void plot_spark(struct cai_buf *out, const double *y, size_t n, size_t width) {
    double means[COLUMNS_MAX];
    size_t m = thin(y, n, width < COLUMNS_MAX ? width : COLUMNS_MAX, means);
    struct range r = range_of(means, m);
    for (size_t i = 0; i < m; i++)
        cai_buf_puts(out, eighths[1 + (int)(place(r, means[i]) * 7 + 0.5)]);
}

/* ---- a plot with axes ------------------------------------------------------------------------ */

static double coordinate(const json_t *points, size_t i, size_t which) {
    return json_number_value(json_array_get(json_array_get(points, i), which));
}

/* The row that a mark lies in, 0 the lowest; -1 outside the plot. */
static int row_of(struct range r, double value) {
    if (!(value >= r.low && value <= r.high))
        return -1;
    return (int)fmin(place(r, value) * ROWS, ROWS - 1);
}

/* `dots`: points that lie unevenly, else a filled curve. */
static const char *cell_of(struct range r, double y, int row, bool dots) {
    if (dots)
        return row_of(r, y) == row ? "•" : " ";
    double filled = isnan(y) ? 0 : place(r, y) * (ROWS * 8 - 1) + 1 - 8 * row;
    return eighths[(int)fmin(fmax(filled, 0), 8)];
}

static void print_row(int row, const double *y, size_t n, struct range r, const json_t *marks,
                      bool dots) {
    CAI_AUTO(buf) struct cai_buf line = {0};
    bool marked = false;
    size_t i;
    json_t *m;
    json_array_foreach(marks, i, m) marked |= row_of(r, number_of(m, "value", NAN)) == row;
    if (row == ROWS - 1 || row == 0)
        printf("%*.4g ┤", LABEL, row ? r.high : r.low);
    else
        printf("%*s │", LABEL, "");
    for (i = 0; i < n; i++) {
        const char *cell = cell_of(r, y[i], row, dots);
        cai_buf_puts(&line, *cell != ' ' || !marked ? cell : "╌");
    }
    puts(line.data ? line.data : "");
}

/* A mark near the curve belongs into the plot; one far off would flatten it. */
static struct range widen(struct range r, const json_t *marks) {
    struct range wide = r;
    double span = fmax(r.high - r.low, fmax(fabs(r.high), 1e-9));
    size_t i;
    json_t *m;
    json_array_foreach(marks, i, m) {
        double v = number_of(m, "value", NAN);
        if (v <= r.high + 1.5 * span && v >= r.low - 1.5 * span) {
            wide.low = fmin(wide.low, v);
            wide.high = fmax(wide.high, v);
        }
    }
    return wide;
}

/* Columns by place on the axis, each the mean of its points: over distance they lie unevenly,
 * and a column may have none (NAN). Their number; *ret_x: the axis. */
static size_t columns_of(const json_t *points, size_t room, double *y, struct range *ret_x) {
    size_t n = json_array_size(points), count[COLUMNS_MAX] = {0}, columns = n < room ? n : room;
    *ret_x = (struct range){INFINITY, -INFINITY};
    for (size_t i = 0; i < n; i++) {
        ret_x->low = fmin(ret_x->low, coordinate(points, i, 0));
        ret_x->high = fmax(ret_x->high, coordinate(points, i, 0));
    }
    memset(y, 0, columns * sizeof *y);
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)(place(*ret_x, coordinate(points, i, 0)) * (double)(columns - 1) + 0.5);
        y[at] += coordinate(points, i, 1);
        count[at]++;
    }
    for (size_t i = 0; i < columns; i++)
        y[i] = count[i] ? y[i] / (double)count[i] : NAN;
    return columns;
}

void plot_print(const json_t *series) {
    const json_t *points = json_object_get(series, "points");
    const json_t *marks = json_object_get(series, "marks");
    size_t screen = (size_t)terminal_width(1), i;
    size_t room = screen > LABEL + 13 && screen - LABEL - 3 < COLUMNS_MAX ? screen - LABEL - 3
                                                                          : COLUMNS_MAX;
    double means[COLUMNS_MAX];
    struct range x;
    bool dots = strcmp(text_of(series, "x"), "step") != 0;
    json_t *m;
    size_t columns = columns_of(points, room, means, &x);
    struct range r = widen(range_of(means, columns), marks);
    printf("\n%s (%s)\n", text_of(series, "title"), text_of(series, "unit"));
    for (int row = ROWS - 1; row >= 0; row--)
        print_row(row, means, columns, r, marks, dots);
    printf("%*s └ %s: %.4g to %.4g\n", LABEL, "", text_of(series, "x"), x.low, x.high);
    json_array_foreach(marks, i, m) {
        double v = number_of(m, "value", NAN);
        bool off = row_of(r, v) < 0;
        printf("%*s %s%s: %.4g%s\n", LABEL, "", off ? "" : "╌╌ ", text_of(m, "says"), v,
               off ? ", far from the curve" : "");
    }
    print_prose(text_of(series, "says"));
}
