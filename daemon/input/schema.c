/* schema.c: table-driven reading of maps, and the scalars of our files. */
#include "input/schema.h"
#include "base/text.h"
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool schema_number(const char *text, double *ret) {
    size_t n = strspn(text, "+-0123456789.eE");
    if (n == 0 || text[n] || !strpbrk(text, "0123456789"))
        return false;
    char *end;
    static locale_t c_locale; /* a comma in the user's locale must not change a file's meaning */
    if (!c_locale)
        c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double v = strtod_l(text, &end, c_locale);
    if (*end || !isfinite(v))
        return false;
    *ret = v;
    return true;
}

bool schema_integer(const char *text, int64_t *ret) {
    char digits[32];
    size_t at = 0, n = 0;
    if (text[0] == '-' || text[0] == '+')
        digits[n++] = text[at++];
    if (!text[at])
        return false;
    for (; text[at]; at++) { /* 1_000 is a courtesy of YAML's; 1,000 is not */
        if (text[at] == '_' && at && text[at + 1])
            continue;
        if (text[at] < '0' || text[at] > '9' || n + 1 >= sizeof digits)
            return false;
        digits[n++] = text[at];
    }
    digits[n] = '\0';
    errno = 0;
    *ret = strtoll(digits, NULL, 10);
    return errno == 0;
}

static bool truth(const char *text, bool *ret) {
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"yes", true}, {"on", true},
                 {"false", false}, {"no", false}, {"off", false}};
    for (size_t i = 0; i < CAI_COUNT(words); i++)
        if (strcmp(text, words[i].word) == 0) {
            *ret = words[i].value;
            return true;
        }
    return false;
}

static void expected(const struct schema_field *f, const char *shown, const char *kind,
                     const struct yaml_node *node, struct input_report *report) {
    char found[64], range[96] = "";
    if (f->min != 0 || f->max != 0) {
        if (isinf(f->max))
            snprintf(range, sizeof range, " ≥ %.10g", f->min);
        else
            snprintf(range, sizeof range, " from %.10g to %.10g", f->min, f->max);
    } else if (f->max == 0 && f->min == 0 && (f->type == SCHEMA_INT || f->type == SCHEMA_NUMBER)) {
        range[0] = '\0';
    }
    input_report_add(report, node->line, node->column, "C013", NULL, "'%s' must be %s%s, found %s",
                     shown, kind, range, yaml_describe(node, found, sizeof found));
}

static bool in_range(const struct schema_field *f, double v) {
    return (f->min == 0 && f->max == 0) || (v >= f->min && v <= f->max);
}

static bool choice(const struct schema_field *f, const char *shown, const struct yaml_node *node,
                   const char **ret, struct input_report *report) {
    size_t n = 0;
    char list[256] = "", help[128];
    for (; f->choices[n]; n++) {
        if (strcmp(f->choices[n], node->text) == 0) {
            *ret = f->choices[n];
            return true;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", n ? ", " : "", f->choices[n]);
    }
    const char *near = cai_text_nearest(node->text, f->choices, n);
    snprintf(help, sizeof help, "did you mean '%s'?", near ? near : "");
    input_report_add(report, node->line, node->column, "C013", near ? help : NULL,
                     "'%s' must be one of %s, found '%.60s'", shown, list, node->text);
    return false;
}

static bool scalar(const struct schema_field *f, const char *shown, const struct yaml_node *node,
                   void *out, struct input_report *report) {
    double d;
    int64_t i;
    bool b;
    switch (f->type) {
    case SCHEMA_STRING:
        *(const char **)out = node->text;
        return true;
    case SCHEMA_CHOICE:
        return choice(f, shown, node, out, report);
    case SCHEMA_INT:
        if (schema_integer(node->text, &i) && in_range(f, (double)i)) {
            *(int64_t *)out = i;
            return true;
        }
        expected(f, shown, "a whole number", node, report);
        return false;
    case SCHEMA_NUMBER:
        if (schema_number(node->text, &d) && in_range(f, d)) {
            *(double *)out = d;
            return true;
        }
        expected(f, shown, "a number", node, report);
        return false;
    default:
        if (truth(node->text, &b)) {
            *(bool *)out = b;
            return true;
        }
        expected(f, shown, "true or false", node, report);
        return false;
    }
}

bool schema_value(const struct schema_field *f, const char *shown, const struct yaml_node *node,
                  void *base, struct input_report *report) {
    void *out = (char *)base + f->offset;
    if (yaml_is_null(node) && !f->required)
        return true;
    bool fits = f->type == SCHEMA_ANY || (f->type == SCHEMA_MAP && node->kind == YAML_MAP) ||
                (f->type == SCHEMA_LIST && node->kind == YAML_LIST);
    if (fits) {
        *(const struct yaml_node **)out = node;
        return true;
    }
    if (f->type == SCHEMA_MAP || f->type == SCHEMA_LIST || node->kind != YAML_TEXT ||
        yaml_is_null(node)) {
        static const char *const kinds[] = {"text",          "text",  "a whole number", "a number",
                                            "true or false", "a map", "a list",         "a value"};
        expected(f, shown, kinds[f->type], node, report);
        return false;
    }
    return scalar(f, shown, node, out, report);
}

void schema_unknown(const struct yaml_node *key, const char *what, const char *const *names,
                    size_t n, struct input_report *report) {
    const char *near = cai_text_nearest(key->text, names, n);
    char help[512];
    if (near) {
        snprintf(help, sizeof help, "did you mean '%s'?", near);
    } else {
        size_t used = (size_t)snprintf(help, sizeof help, "%s has: ", what);
        for (size_t i = 0; i < n && used < sizeof help; i++)
            used +=
                (size_t)snprintf(help + used, sizeof help - used, "%s%s", i ? ", " : "", names[i]);
    }
    input_report_add(report, key->line, key->column, "C010", help, "unknown key '%.60s' in %s",
                     key->text, what);
}

bool schema_read(const struct yaml_node *map, const char *what, const struct schema_field *fields,
                 size_t n, void *base, struct input_report *report) {
    const char *names[64];
    char found[64];
    CAI_CHECK(n <= CAI_COUNT(names));
    if (map->kind != YAML_MAP) {
        input_report_add(report, map->line, map->column, "C013", NULL, "%s must be a map, found %s",
                         what, yaml_describe(map, found, sizeof found));
        return false;
    }
    size_t errors = report->errors;
    for (size_t f = 0; f < n; f++)
        names[f] = fields[f].key;
    for (uint32_t i = 0; i < map->n; i++) {
        size_t f = 0;
        while (f < n && strcmp(fields[f].key, map->keys[i].text) != 0)
            f++;
        if (f == n)
            schema_unknown(&map->keys[i], what, names, n, report);
        else
            schema_value(&fields[f], fields[f].key, &map->values[i], base, report);
    }
    for (size_t f = 0; f < n; f++)
        if (fields[f].required && !yaml_get(map, fields[f].key))
            input_report_add(report, map->line, map->column, "C012", NULL,
                             "missing required key '%s' in %s", fields[f].key, what);
    return report->errors == errors;
}
