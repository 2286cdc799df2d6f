/* schema.h: a map of a file people write → a C struct, driven by a table: unknown keys with a
 * suggestion (C010), missing keys (C012), wrong values (C013). Shared by the constitution and
 * the job file. */
#ifndef CAI_INPUT_SCHEMA_H
#define CAI_INPUT_SCHEMA_H

#include "input/yaml_tree.h"

enum schema_type {
    SCHEMA_STRING, /* const char *, in the arena */
    SCHEMA_CHOICE, /* const char *, one of `choices` */
    SCHEMA_INT,    /* int64_t */
    SCHEMA_NUMBER, /* double */
    SCHEMA_BOOL,   /* bool; true false yes no on off */
    SCHEMA_MAP,    /* const struct yaml_node *: the caller reads on */
    SCHEMA_LIST,   /* the same */
    SCHEMA_ANY     /* the same, any kind */
};

struct schema_field {
    const char *key;
    enum schema_type type;
    size_t offset;
    bool required;
    double min, max;            /* SCHEMA_INT, SCHEMA_NUMBER; both 0 = no limits */
    const char *const *choices; /* NULL-terminated */
};

/* Fills what is present; the rest keeps its value. `what` names the map in messages ("a
 * principle"). False when the node is no map, or anything in it was wrong. */
bool schema_read(const struct yaml_node *map, const char *what, const struct schema_field *fields,
                 size_t n, void *base, struct input_report *report);
/* One value; false and a finding when it does not fit. */
bool schema_value(const struct schema_field *field, const char *shown, const struct yaml_node *node,
                  void *base, struct input_report *report);
/* C010 with a suggestion among `names`. */
void schema_unknown(const struct yaml_node *key, const char *what, const char *const *names,
                    size_t n, struct input_report *report);
/* Finite decimal numbers only: no hex, no inf, no blanks. */
bool schema_number(const char *text, double *ret);
bool schema_integer(const char *text, int64_t *ret);

#endif
