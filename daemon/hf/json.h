/* json.h: strict JSON of untrusted files on jansson. Internal to the room. */
#ifndef CAI_HF_JSON_H
#define CAI_HF_JSON_H

#include "base/buf.h"
#include "base/error.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum hf_json_flags {
    HF_JSON_PLAIN = 0,
    HF_JSON_BIG_INTS = 1 /* integers as reals: tokenizer_config.json holds 1e30 in digits */
};

/* One JSON object, no duplicate keys. The message names file, line and column. */
int hf_json_parse(const char *path, const char *text, size_t len, int flags, json_t **ret);
/* Reads the file first; CAI_EINPUT when it is missing from a folder that exists. */
int hf_json_load(const char *path, size_t max, int flags, json_t **ret);

/* Typed members of an object. `path` is only for messages. */
int hf_json_int(const char *path, const json_t *o, const char *key, int64_t min, int64_t max,
                int64_t *ret); /* required */
int hf_json_int_or(const char *path, const json_t *o, const char *key, int64_t min, int64_t max,
                   int64_t fallback, int64_t *ret); /* absent or null: the fallback */
int hf_json_real_or(const char *path, const json_t *o, const char *key, double min, double max,
                    double fallback, double *ret);
int hf_json_bool_or(const char *path, const json_t *o, const char *key, bool fallback, bool *ret);
int hf_json_string(const char *path, const json_t *o, const char *key, const char **ret);
const char *hf_json_kind(const json_t *v); /* "a number", "nothing", … for messages */

/* A file of `dir`: CAI_ENOTFOUND when there is no such folder, CAI_EINPUT when the
 * folder lacks the file. */
int hf_require_file(const char *dir, const char *path, const char *what);

#endif
