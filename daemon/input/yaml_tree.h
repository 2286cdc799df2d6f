/* yaml_tree.h: a YAML subset as a small tree with places, for files that people write. No anchors,
 * aliases, tags, merge keys, directives or second document; plain scalars are text; keys are
 * unique; depth, size and counts are limited. JSON is read as well, being a subset. Not for
 * data files (jsonl.h). */
#ifndef CAI_INPUT_YAML_TREE_H
#define CAI_INPUT_YAML_TREE_H

#include "base/arena.h"
#include "input/report.h"
#include <stdint.h>

enum {
    YAML_BYTES_MAX = 1 << 20,
    YAML_DEPTH_MAX = 16,
    YAML_NODES_MAX = 50000,
    YAML_KEYS_MAX = 1000
};

enum yaml_kind { YAML_TEXT, YAML_MAP, YAML_LIST };

struct yaml_node {
    enum yaml_kind kind;
    uint32_t line, column;          /* from 1; column in characters */
    bool quoted;                    /* YAML_TEXT: written in quotes or as a block */
    uint32_t n;                     /* bytes of text, pairs of a map, items of a list */
    const char *text;               /* YAML_TEXT: NUL-terminated, never contains NUL */
    const struct yaml_node *keys;   /* YAML_MAP: n text nodes */
    const struct yaml_node *values; /* YAML_MAP, YAML_LIST: n nodes */
};

/* Codes: C001 syntax, C002 encoding, C003 tab, C004 size, C005 number of documents, C011
 * duplicate key, C030 not in the subset, C031 nesting or count. Sets report->source. The tree
 * lives in `arena`. 0, or CAI_EINPUT with at least one finding; with 0 there may be findings
 * too (C011, C030), so that what follows them in the file is checked as well. */
int yaml_parse(const char *text, size_t len, struct input_report *report, struct cai_arena *arena,
               const struct yaml_node **ret);

/* The value under `key`, or NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* Plain and empty, "~" or "null". */
bool yaml_is_null(const struct yaml_node *node);
/* "a map", "a list", "text 'heavy'", "nothing": for messages. */
const char *yaml_describe(const struct yaml_node *node, char *buffer, size_t size);

#endif
