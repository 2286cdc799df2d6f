/* living.c: the figures that `caictl watch` shows while a model trains: each with its last
 * value and its course. */
#include "base/error.h"
#include "caictl.h"
#include "plot.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* In the order shown; those that the stage does not report are left out. */
static const struct {
    const char *name, *title, *unit;
} shown[] = {
    {"reward", "reward", "deviations"},
    {"kl", "KL from the start", "nats/reply"},
    {"entropy", "entropy", "nats/token"},
    {"length", "length", "tokens"},
    {"end_rate", "replies that end", "share"},
    {"explained_variance", "value explains", "share"},
    {"accuracy", "accuracy", "share"},
    {"loss", "loss", "nats"},
};

static void add(struct living_curve *c, double y) {
    if (c->n == LIVING_STEPS) { /* every second one stays */
        for (size_t i = 0; i < LIVING_STEPS / 2; i++)
            c->y[i] = c->y[2 * i + 1];
        c->n = LIVING_STEPS / 2;
    }
    c->y[c->n++] = y;
}

/* What was recorded before this watch began. */
static void fill(struct living *l, int64_t id, struct living_curve *c) {
    json_t *reply = NULL, *row;
    size_t i;
    json_t *q = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)id, "stage", l->stage, "name",
                          c->name);
    if (client_try("metrics", q, false, &reply) != 0)
        return;
    json_array_foreach(json_object_get(reply, "rows"), i, row) {
        if (integer_of(row, "round") == l->round && integer_of(row, "step") > 0)
            add(c, number_of(row, "value", 0));
    }
    json_decref(reply);
}

static void begin(struct living *l, const json_t *p) {
    l->n = 0;
    l->done = number_of(p, "done", 0);
    l->round = integer_of(p, "round");
    snprintf(l->stage, sizeof l->stage, "%s", text_of(p, "stage"));
}

static struct living_curve *curve_of(struct living *l, int64_t id, const char *name) {
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->curve[i].name, name) == 0)
            return &l->curve[i];
    struct living_curve *c = &l->curve[l->n++];
    c->name = name;
    c->n = 0;
    fill(l, id, c);
    return c;
}

void living_take(struct living *l, const json_t *p) {
    const json_t *figures = json_object_get(p, "figures");
    bool other = l->round != integer_of(p, "round") || strcmp(l->stage, text_of(p, "stage")) != 0;
    if (other)
        begin(l, p);
    bool steps = strcmp(text_of(p, "unit"), "steps") == 0;
    double done = number_of(p, "done", 0);
    for (size_t i = 0; i < CAI_COUNT(shown) && steps; i++) {
        const json_t *v = json_object_get(figures, shown[i].name);
        if (!json_is_number(v))
            continue;
        size_t before = l->n;
        struct living_curve *c = curve_of(l, integer_of(p, "id"), shown[i].name);
        if (l->n == before && done != l->done)
            add(c, json_number_value(v));
    }
    l->done = done;
}

static void line_of(const struct living_curve *c, const char *title, const char *unit, int width,
                    struct cai_buf *out) {
    char head[96], range[64];
    double low = c->y[0], high = c->y[0];
    for (size_t i = 1; i < c->n; i++) {
        low = fmin(low, c->y[i]);
        high = fmax(high, c->y[i]);
    }
    snprintf(head, sizeof head, "  %-18s %9.4g %-10s  ", title, c->y[c->n - 1], unit);
    snprintf(range, sizeof range, "  %.3g to %.3g", low, high);
    int room = width - 1 - (int)plot_cells(head) - 22;
    cai_buf_puts(out, head);
    if (room >= 8) {
        plot_spark(out, c->y, c->n, room < 40 ? (size_t)room : 40);
        cai_buf_puts(out, range);
    }
    cai_buf_putc(out, '\n');
}

size_t living_lines(const struct living *l, int width, size_t most, struct cai_buf *lines) {
    size_t n = 0;
    for (size_t i = 0; i < CAI_COUNT(shown); i++)
        for (size_t k = 0; k < l->n && n < most; k++)
            if (strcmp(l->curve[k].name, shown[i].name) == 0 && l->curve[k].n) {
                line_of(&l->curve[k], shown[i].title, shown[i].unit, width, lines);
                n++;
            }
    return n;
}
