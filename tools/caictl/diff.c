/* diff.c: what differs between two jobs: their files, their constitutions, their figures. */
#include "base/error.h"
#include "constitution/constitution.h"
#include "look.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct side {
    json_t *show, *metrics; /* metrics: {"round/stage/name": last value} */
    struct constitution *constitution;
};

/* ---- settings ------------------------------------------------------------------------------------ */

/* Every leaf of x and y that differs, by its dotted path. */
static void diff_members(const char *path, const json_t *x, const json_t *y, json_t *rows) {
    const char *name;
    json_t *v;
    if (json_equal(x, y))
        return;
    if (!json_is_object(x) && !json_is_object(y)) {
        json_array_append_new(rows, json_pack("{s:s, s:O?, s:O?}", "name", path, "a", x, "b", y));
        return;
    }
    json_t *names = json_object();
    json_object_update(names, (json_t *)x);
    json_object_update(names, (json_t *)y);
    json_object_foreach(names, name, v) {
        CAI_AUTO(mem) char *below = cai_format("%s%s%s", path, *path ? "." : "", name);
        diff_members(below, json_object_get(x, name), json_object_get(y, name), rows);
    }
    json_decref(names);
}

/* ---- figures -------------------------------------------------------------------------------------- */

static int keep_last(void *c, const json_t *row) {
    CAI_AUTO(mem) char *key = cai_format("%lld/%s/%s", (long long)integer_of(row, "round"),
                                         text_of(row, "stage"), text_of(row, "name"));
    json_object_set(c, key, (json_t *)row); /* steps come in order */
    return 0;
}

static bool is_part(const char *name) {
    size_t n = strlen(name);
    static const char *const ends[] = {"_low", "_high", "_n"};
    for (size_t i = 0; i < CAI_COUNT(ends); i++)
        if (n > strlen(ends[i]) && strcmp(name + n - strlen(ends[i]), ends[i]) == 0)
            return true;
    return strstr(name, "_bin_") != NULL;
}

/* "0.83 (0.79 to 0.87)" when the figure has an interval. */
static json_t *figure_text(const json_t *metrics, const char *key) {
    const json_t *row = json_object_get(metrics, key);
    CAI_AUTO(mem) char *low = cai_format("%s_low", key);
    CAI_AUTO(mem) char *high = cai_format("%s_high", key);
    if (!row)
        return json_null();
    double v = number_of(row, "value", NAN);
    if (!json_object_get(metrics, low))
        return json_sprintf("%.4g", v);
    return json_sprintf("%.4g (%.3g to %.3g)", v,
                        number_of(json_object_get(metrics, low), "value", NAN),
                        number_of(json_object_get(metrics, high), "value", NAN));
}

static void diff_figures(const json_t *x, const json_t *y, json_t *rows) {
    json_t *names = json_object(), *row;
    const char *key;
    json_object_update(names, (json_t *)x);
    json_object_update(names, (json_t *)y);
    json_object_foreach(names, key, row) {
        const json_t *a = json_object_get(x, key), *b = json_object_get(y, key);
        double p = number_of(a, "value", NAN), q = number_of(b, "value", NAN);
        if (is_part(text_of(row, "name")) || p == q)
            continue;
        json_t *o = json_pack("{s:O, s:O, s:O, s:O, s:o, s:o}", "round", json_object_get(row, "round"),
                              "stage", json_object_get(row, "stage"), "name",
                              json_object_get(row, "name"), "step", json_object_get(row, "step"),
                              "a", figure_text(x, key), "b", figure_text(y, key));
        if (a && b)
            json_object_set_new(o, "change", json_real(q - p));
        json_array_append_new(rows, o);
    }
    json_decref(names);
}

/* ---- two jobs --------------------------------------------------------------------------------------- */

static int read_side(const char *text, struct side *ret) {
    int64_t id;
    *ret = (struct side){.metrics = json_object()};
    if (!target_is_job(text, &id))
        return complain(EXIT_USAGE, "'%s' is no job's number; models are compared by `caictl "
                                    "compare`", text);
    int code = client_call("show", json_pack("{s:I}", "id", (json_int_t)id), false, &ret->show);
    if (code == 0)
        code = data_pages("metrics", json_pack("{s:I}", "id", (json_int_t)id), -1, keep_last,
                          ret->metrics);
    if (code == 0)
        code = constitution_kept(text_of(ret->show, "revision"), &ret->constitution);
    return code;
}

static void free_side(struct side *s) {
    json_decref(s->show);
    json_decref(s->metrics);
    constitution_free(s->constitution);
}

static void print_table(const char *title, const json_t *rows, const struct column *columns,
                        size_t n, const char *none) {
    printf("%s\n", title);
    if (json_array_size(rows))
        print_rows(rows, columns, n);
    else
        printf("%s\n", none);
}

static void print_diff(const json_t *o, const char *a, const char *b) {
    CAI_AUTO(mem) char *of_a = cai_format("JOB %s", a);
    CAI_AUTO(mem) char *of_b = cai_format("JOB %s", b);
    const struct column settings[] = {
        {"SETTING", "name", CELL_TEXT}, {of_a, "a", CELL_TEXT}, {of_b, "b", CELL_TEXT}};
    const struct column figures[] = {
        {"ROUND", "round", CELL_NUMBER}, {"STAGE", "stage", CELL_TEXT},
        {"FIGURE", "name", CELL_TEXT},   {"STEP", "step", CELL_NUMBER},
        {of_a, "a", CELL_TEXT},          {of_b, "b", CELL_TEXT},
        {"CHANGE", "change", CELL_NUMBER}};
    print_table("-- Job file", json_object_get(o, "settings"), settings, CAI_COUNT(settings),
                "The same settings");
    const char *text = text_of(o, "constitution");
    printf("\n-- Constitution\n");
    print_text(*text ? text : "The same revision\n");
    putchar('\n');
    print_table("-- Figures, the last of each stage", json_object_get(o, "figures"), figures,
                CAI_COUNT(figures), "The same figures");
}

int run_diff(const struct args *a) {
    struct side x = {0}, y = {0};
    int code = read_side(a->positional[0], &x);
    if (code == 0)
        code = read_side(a->positional[1], &y);
    if (code == 0) {
        CAI_AUTO(buf) struct cai_buf text = {0};
        json_t *settings = json_array(), *figures = json_array();
        diff_members("", json_object_get(x.show, "spec"), json_object_get(y.show, "spec"), settings);
        size_t principles = constitution_diff(x.constitution, y.constitution, &text);
        diff_figures(x.metrics, y.metrics, figures);
        json_t *o = json_pack("{s:o, s:s, s:o}", "settings", settings, "constitution",
                              principles && text.data ? text.data : "", "figures", figures);
        if (globals.json)
            print_json(o);
        else
            print_diff(o, a->positional[0], a->positional[1]);
        code = json_array_size(settings) || principles || json_array_size(figures) ? EXIT_NEGATIVE
                                                                                   : EXIT_OK;
        json_decref(o);
    }
    free_side(&x);
    free_side(&y);
    return code;
}
