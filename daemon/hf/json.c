/* json.c: strict JSON of untrusted files: no duplicate keys, bounded depth (jansson's
 * 2,048) and size, one object at the top. Not for JSON Lines (daemon/input). */
#include "hf/json.h"
#include "base/file.h"
#include <math.h>
#include <string.h>
#include <sys/stat.h>

const char *hf_json_kind(const json_t *v) {
    if (!v)
        return "nothing";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_NULL:
        return "null";
    default:
        return "true or false";
    }
}

int hf_json_parse(const char *path, const char *text, size_t len, int flags, json_t **ret) {
    json_error_t e;
    size_t how = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    if (flags & HF_JSON_BIG_INTS)
        how |= JSON_DECODE_INT_AS_REAL;
    json_t *root = json_loadb(text, len, how, &e);
    if (!root)
        return cai_fail(CAI_EINPUT, "%s:%d:%d: not valid JSON: %s", path, e.line, e.column, e.text);
    if (!json_is_object(root)) {
        int rc = cai_fail(CAI_EINPUT, "%s: expected a JSON object at the top, found %s", path,
                          hf_json_kind(root));
        json_decref(root);
        return rc;
    }
    *ret = root;
    return 0;
}

int hf_require_file(const char *dir, const char *path, const char *what) {
    struct stat st;
    if (stat(dir, &st) < 0)
        return cai_fail(CAI_ENOTFOUND, "there is no folder %s; expected a Hugging Face checkpoint",
                        dir);
    if (!S_ISDIR(st.st_mode))
        return cai_fail(CAI_EINPUT, "%s is not a folder; expected a Hugging Face checkpoint", dir);
    if (stat(path, &st) < 0)
        return cai_fail(CAI_EINPUT, "%s is missing; expected %s", path, what);
    return 0;
}

int hf_json_load(const char *path, size_t max, int flags, json_t **ret) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(cai_file_read(path, max, &b));
    return hf_json_parse(path, b.data ? b.data : "", b.len, flags, ret);
}

int hf_json_int(const char *path, const json_t *o, const char *key, int64_t min, int64_t max,
                int64_t *ret) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v))
        return cai_fail(CAI_EINPUT, "%s: \"%s\" must be an integer from %lld to %lld, found %s",
                        path, key, (long long)min, (long long)max, hf_json_kind(v));
    int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return cai_fail(CAI_EINPUT, "%s: \"%s\" is %lld, must be from %lld to %lld", path, key,
                        (long long)n, (long long)min, (long long)max);
    *ret = n;
    return 0;
}

int hf_json_int_or(const char *path, const json_t *o, const char *key, int64_t min, int64_t max,
                   int64_t fallback, int64_t *ret) {
    const json_t *v = json_object_get(o, key);
    *ret = fallback;
    return !v || json_is_null(v) ? 0 : hf_json_int(path, o, key, min, max, ret);
}

int hf_json_real_or(const char *path, const json_t *o, const char *key, double min, double max,
                    double fallback, double *ret) {
    const json_t *v = json_object_get(o, key);
    *ret = fallback;
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_number(v))
        return cai_fail(CAI_EINPUT, "%s: \"%s\" must be a number, found %s", path, key,
                        hf_json_kind(v));
    double x = json_number_value(v);
    if (!(x >= min && x <= max))
        return cai_fail(CAI_EINPUT, "%s: \"%s\" is %g, must be from %g to %g", path, key, x, min,
                        max);
    *ret = x;
    return 0;
}

int hf_json_bool_or(const char *path, const json_t *o, const char *key, bool fallback, bool *ret) {
    const json_t *v = json_object_get(o, key);
    *ret = fallback;
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_boolean(v))
        return cai_fail(CAI_EINPUT, "%s: \"%s\" must be true or false, found %s", path, key,
                        hf_json_kind(v));
    *ret = json_is_true(v);
    return 0;
}

int hf_json_string(const char *path, const json_t *o, const char *key, const char **ret) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v))
        return cai_fail(CAI_EINPUT, "%s: \"%s\" must be a string, found %s", path, key,
                        hf_json_kind(v));
    *ret = json_string_value(v);
    if (strlen(*ret) != json_string_length(v))
        return cai_fail(CAI_EINPUT, "%s: \"%s\" holds a NUL character", path, key);
    return 0;
}
