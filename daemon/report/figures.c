/* figures.c: see tables.h: a job's stored figures, found again; cells and tables made of them.
 * Not for what stands in which table. */
#include "base/error.h"
#include "report/tables.h"
#include <string.h>

static int collect(void *c, const struct store_metric *m) {
    struct figures *f = c;
    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 256;
        f->at = cai_realloc(f->at, f->cap, sizeof *f->at);
    }
    f->at[f->n++] = (struct figure_row){m->round, m->step, cai_strdup(m->stage),
                                        cai_strdup(m->name), m->value};
    return 0;
}

int figures_load(struct store *store, int64_t job, struct figures *ret) {
    *ret = (struct figures){0};
    return store_metrics_each(store, job, collect, ret);
}

void figures_free(struct figures *f) {
    for (size_t i = 0; i < f->n; i++) {
        free(f->at[i].stage);
        free(f->at[i].name);
    }
    free(f->at);
}

const double *figures_at(const struct figures *f, uint32_t round, const char *stage, uint64_t step,
                         const char *name) {
    for (size_t i = 0; i < f->n; i++)
        if (f->at[i].round == round && f->at[i].step == step &&
            strcmp(f->at[i].stage, stage) == 0 && strcmp(f->at[i].name, name) == 0)
            return &f->at[i].value;
    return NULL;
}

const double *figures_find(const struct figures *f, uint32_t round, const char *stage,
                           const char *name) {
    return figures_at(f, round, stage, 0, name);
}

const double *figures_part(const struct figures *f, uint32_t round, const char *stage,
                           const char *name, const char *part) {
    CAI_AUTO(mem) char *full = cai_format("%s_%s", name, part);
    return figures_find(f, round, stage, full);
}

/* ---- cells ----------------------------------------------------------------------- */

json_t *figure_json(const double *v) { return v ? json_real(*v) : json_null(); }

json_t *cell_number(const struct figures *f, uint32_t round, const char *stage, const char *name) {
    return figure_json(figures_find(f, round, stage, name));
}

json_t *cell_interval(const struct figures *f, uint32_t round, const char *stage, const char *name) {
    const double *v = figures_find(f, round, stage, name);
    if (!v)
        return json_null();
    return json_pack("{s:f, s:o, s:o, s:o}", "value", *v, "low",
                     figure_json(figures_part(f, round, stage, name, "low")), "high",
                     figure_json(figures_part(f, round, stage, name, "high")), "n",
                     figure_json(figures_part(f, round, stage, name, "n")));
}

static json_t *between(const struct figures *f, uint32_t round, const char *stage, const char *name,
                       const char *format, double unit) {
    const double *v = figures_find(f, round, stage, name);
    const double *low = figures_part(f, round, stage, name, "low");
    const double *high = figures_part(f, round, stage, name, "high");
    if (!v || !low || !high)
        return json_null();
    bool sign = *format == '+';
    CAI_AUTO(mem) char *text =
        sign ? cai_format("%+.1f (%+.1f to %+.1f)", unit * *v, unit * *low, unit * *high)
             : cai_format("%.2f (%.2f to %.2f)", unit * *v, unit * *low, unit * *high);
    return json_string(text);
}

json_t *cell_points(const struct figures *f, uint32_t round, const char *stage, const char *name) {
    return between(f, round, stage, name, "+", 100);
}

json_t *cell_spread(const struct figures *f, uint32_t round, const char *stage, const char *name) {
    return between(f, round, stage, name, "", 1);
}

/* ---- tables ---------------------------------------------------------------------- */

json_t *report_grader(const struct grader *g) {
    return json_pack("{s:s, s:b, s:s}", "grader", g->name, "verified", g->verified, "check",
                     g->check);
}

json_t *table_column(const struct column *c, const struct grader *by) {
    json_t *o = json_pack("{s:s, s:s, s:s}", "key", c->key, "title", c->title, "kind", c->kind);
    if (by)
        json_object_update_new(o, report_grader(by));
    return o;
}

json_t *table_all_columns(const struct column *c, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, table_column(&c[i], NULL));
    return list;
}

/* Whether some row has the figure. */
static bool filled(const json_t *rows, const char *key) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        json_t *v = json_object_get(row, key);
        if (v && !json_is_null(v))
            return true;
    }
    return false;
}

json_t *table_columns(const struct column *c, size_t n, const char *first,
                      const struct graders *g, const char *stage, const json_t *rows) {
    json_t *list = json_array();
    struct grader by;
    json_array_append_new(list, table_column(&(struct column){"checkpoint", first, "text"}, NULL));
    for (size_t i = 0; i < n; i++)
        if (filled(rows, c[i].key))
            json_array_append_new(
                list, table_column(&c[i], g && graders_of(g, stage, c[i].key, &by) ? &by : NULL));
    return list;
}

void table_add(json_t *tables, const char *name, const char *title, const char *note,
               json_t *columns, json_t *rows) {
    if (json_array_size(rows))
        json_array_append_new(tables, json_pack("{s:s, s:s, s:s?, s:O, s:O}", "name", name, "title",
                                                title, "note", note, "columns", columns, "rows",
                                                rows));
    json_decref(columns);
    json_decref(rows);
}

void report_checkpoint(uint32_t round, uint32_t rounds, char *out, size_t size) {
    if (round == 0)
        snprintf(out, size, "start");
    else if (round > rounds)
        snprintf(out, size, "after PPO");
    else
        snprintf(out, size, "SFT round %u", round);
}
