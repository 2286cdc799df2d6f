/* members.c: members of replies, with a default when they are absent or of another kind. */
#include "caictl.h"

const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

double number_of(const json_t *o, const char *key, double otherwise) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

int64_t integer_of(const json_t *o, const char *key) {
    return (int64_t)number_of(o, key, 0);
}
