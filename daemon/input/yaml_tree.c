/* yaml_tree.c: libyaml's event stream → tree, with limits of our own. libyaml's loader is not used:
 * it takes seconds for deep nesting and accepts duplicate keys and cyclic aliases. */
#include "input/yaml_tree.h"
#include "base/error.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* One open collection; items grow in the arena by doubling. */
struct level {
    bool map;
    bool have_key;
    uint32_t line, column, n, cap;
    struct yaml_node *keys, *values;
};
struct reader {
    struct input_report *report;
    struct cai_arena *arena;
    yaml_parser_t parser;
    struct level stack[YAML_DEPTH_MAX];
    size_t depth, nodes, documents;
    struct yaml_node root;
    bool stop;
};

static void place_of(const char *s, size_t offset, size_t *line, size_t *column) {
    *line = *column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (s[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)s[i] & 0xC0) != 0x80) {
            ++*column;
        }
    }
}

/* Encoding and characters that no text file of people's needs. 0 or CAI_EINPUT. */
static int check_bytes(struct input_report *r, const char *s, size_t len) {
    size_t line, column;
    if (len >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0) {
        input_report_add(r, 1, 1, "C002", "save the file as UTF-8 without a byte order mark",
                         "the file begins with a byte order mark");
        return CAI_EINPUT;
    }
    size_t bad = cai_utf8_valid(s, len);
    if (bad < len) {
        place_of(s, bad, &line, &column);
        input_report_add(r, line, column, "C002", "save the file as UTF-8",
                         "invalid UTF-8 byte 0x%02X at offset %zu", (unsigned char)s[bad], bad);
        return CAI_EINPUT;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 ? c != 0x7F : (c == '\n' || c == '\t' || (c == '\r' && i + 1 < len && s[i + 1] == '\n')))
            continue;
        place_of(s, i, &line, &column);
        input_report_add(r, line, column, "C002", "remove it", "control character 0x%02X", c);
        return CAI_EINPUT;
    }
    return CAI_OK;
}

static void add_at(struct reader *r, yaml_mark_t at, const char *code, const char *help,
                   const char *what) {
    input_report_add(r->report, at.line + 1, at.column + 1, code, help, "%s", what);
}

/* A tab at the place, or among the blanks before it, is the likely reason of the error. */
static bool tab_near(const struct input_report *report, yaml_mark_t at, size_t *ret_column) {
    const char *s = report->source, *end = s + report->source_len;
    for (size_t n = 0; n < at.line && s < end; n++) {
        const char *nl = memchr(s, '\n', (size_t)(end - s));
        s = nl ? nl + 1 : end;
    }
    for (size_t i = 0;
         s + i < end && i <= at.column && (s[i] == ' ' || s[i] == '\t' || s[i] == '-'); i++)
        if (s[i] == '\t') {
            *ret_column = i + 1;
            return true;
        }
    return false;
}

static void parser_failed(struct reader *r) {
    const yaml_parser_t *p = &r->parser;
    yaml_mark_t at = p->problem_mark;
    size_t column, line;
    r->stop = true;
    if (p->error == YAML_READER_ERROR) {
        place_of(r->report->source, p->problem_offset, &line, &column);
        input_report_add(r->report, line, column, "C002", "remove it", "%s", p->problem);
        return;
    }
    if (p->error != YAML_SCANNER_ERROR && p->error != YAML_PARSER_ERROR) {
        input_report_add(r->report, 0, 0, "C001", NULL, "the YAML reader ran out of memory");
        return;
    }
    if (tab_near(r->report, at, &column)) {
        input_report_add(r->report, at.line + 1, column, "C003", "indent with spaces",
                         "tab used for indentation");
        return;
    }
    char help[256] = "";
    if (p->context)
        snprintf(help, sizeof help, "%s that began at %zu:%zu; look at the indentation there",
                 p->context, p->context_mark.line + 1, p->context_mark.column + 1);
    add_at(r, at, "C001", *help ? help : "look at the indentation, quotes and colons here",
           p->problem ? p->problem : "not YAML");
}

static void grow(struct reader *r, struct level *l) {
    if (l->n < l->cap)
        return;
    uint32_t cap = l->cap ? l->cap * 2 : 8;
    struct yaml_node *values = cai_arena_array(r->arena, cap, sizeof *values);
    memcpy(values, l->values ? l->values : values, l->n * sizeof *values);
    l->values = values;
    if (l->map) {
        struct yaml_node *keys = cai_arena_array(r->arena, cap, sizeof *keys);
        memcpy(keys, l->keys ? l->keys : keys, l->n * sizeof *keys);
        l->keys = keys;
    }
    l->cap = cap;
}

static void add_key(struct reader *r, struct level *l, struct yaml_node node) {
    if (node.kind != YAML_TEXT) {
        input_report_add(r->report, node.line, node.column, "C030", "write the key as text",
                         "a key must be text");
        r->stop = true;
        return;
    }
    if (!node.quoted && strcmp(node.text, "<<") == 0)
        input_report_add(r->report, node.line, node.column, "C030", "repeat the text",
                         "merge keys are not allowed");
    for (uint32_t i = 0; i < l->n; i++)
        if (l->keys[i].n == node.n && memcmp(l->keys[i].text, node.text, node.n) == 0) {
            input_report_add(r->report, node.line, node.column, "C011", "remove one of the two",
                             "duplicate key '%s', first at %u:%u", node.text, l->keys[i].line,
                             l->keys[i].column);
            break;
        }
    if (l->n >= YAML_KEYS_MAX) {
        input_report_add(r->report, node.line, node.column, "C031", NULL,
                         "more than %d keys in one map", YAML_KEYS_MAX);
        r->stop = true;
        return;
    }
    grow(r, l);
    l->keys[l->n] = node;
    l->have_key = true;
}

/* A finished node goes to the open collection, or becomes the root. */
static void place(struct reader *r, struct yaml_node node) {
    if (++r->nodes > YAML_NODES_MAX) {
        input_report_add(r->report, node.line, node.column, "C031", NULL,
                         "more than %d values in one file", YAML_NODES_MAX);
        r->stop = true;
        return;
    }
    if (r->depth == 0) {
        r->root = node;
        return;
    }
    struct level *l = &r->stack[r->depth - 1];
    if (l->map && !l->have_key) {
        add_key(r, l, node);
        return;
    }
    grow(r, l);
    l->values[l->n++] = node;
    l->have_key = false;
}

static void open_level(struct reader *r, bool map, yaml_mark_t at) {
    if (r->depth == YAML_DEPTH_MAX) {
        input_report_add(r->report, at.line + 1, at.column + 1, "C031",
                         "make the structure flatter", "nesting deeper than %d", YAML_DEPTH_MAX);
        r->stop = true;
        return;
    }
    r->stack[r->depth++] = (struct level){
        .map = map, .line = (uint32_t)at.line + 1, .column = (uint32_t)at.column + 1};
}

static void close_level(struct reader *r) {
    const struct level *l = &r->stack[--r->depth];
    place(r, (struct yaml_node){.kind = l->map ? YAML_MAP : YAML_LIST,
                                .line = l->line,
                                .column = l->column,
                                .n = l->n,
                                .keys = l->keys,
                                .values = l->values});
}

static void subset(struct reader *r, yaml_mark_t at, const void *anchor, const void *tag) {
    if (anchor)
        add_at(r, at, "C030", "repeat the text", "anchors and aliases are not allowed");
    if (tag)
        add_at(r, at, "C030", "remove it; the kind of a value follows from its key",
               "tags are not allowed");
}

static void scalar(struct reader *r, const yaml_event_t *e) {
    yaml_mark_t at = e->start_mark;
    subset(r, at, e->data.scalar.anchor, e->data.scalar.tag);
    const char *text = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    if (memchr(text, '\0', len)) {
        add_at(r, at, "C002", "remove it", "the text contains a NUL character");
        len = strlen(text);
    }
    place(r, (struct yaml_node){.kind = YAML_TEXT,
                                .line = (uint32_t)at.line + 1,
                                .column = (uint32_t)at.column + 1,
                                .n = (uint32_t)len,
                                .quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
                                .text = cai_arena_strndup(r->arena, text, len)});
}

static void document(struct reader *r, const yaml_event_t *e) {
    if (++r->documents > 1) {
        add_at(r, e->start_mark, "C005", "put it in a file of its own",
               "a second document begins here");
        r->stop = true;
    } else if (e->data.document_start.version_directive ||
               e->data.document_start.tag_directives.start !=
                   e->data.document_start.tag_directives.end) {
        add_at(r, e->start_mark, "C030", "remove the line that begins with %",
               "directives are not allowed");
    }
}

static void event(struct reader *r, const yaml_event_t *e) {
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        document(r, e);
        break;
    case YAML_ALIAS_EVENT:
        add_at(r, e->start_mark, "C030", "repeat the text", "anchors and aliases are not allowed");
        place(r, (struct yaml_node){.kind = YAML_TEXT,
                                    .line = (uint32_t)e->start_mark.line + 1,
                                    .column = (uint32_t)e->start_mark.column + 1,
                                    .text = ""});
        break;
    case YAML_SCALAR_EVENT:
        scalar(r, e);
        break;
    case YAML_SEQUENCE_START_EVENT:
        subset(r, e->start_mark, e->data.sequence_start.anchor, e->data.sequence_start.tag);
        open_level(r, false, e->start_mark);
        break;
    case YAML_MAPPING_START_EVENT:
        subset(r, e->start_mark, e->data.mapping_start.anchor, e->data.mapping_start.tag);
        open_level(r, true, e->start_mark);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        close_level(r);
        break;
    default:
        break;
    }
}

static void run(struct reader *r) {
    while (!r->stop) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->parser, &e)) {
            parser_failed(r);
            return;
        }
        bool end = e.type == YAML_STREAM_END_EVENT;
        event(r, &e);
        yaml_event_delete(&e);
        if (end)
            return;
    }
}

int yaml_parse(const char *text, size_t len, struct input_report *report, struct cai_arena *arena,
               const struct yaml_node **ret) {
    size_t errors = report->errors;
    text = text ? text : ""; /* an empty buffer has no data */
    report->source = text;
    report->source_len = len;
    if (len > YAML_BYTES_MAX) {
        input_report_add(report, 0, 0, "C004", "split it, or remove what is not needed",
                         "the file has %zu bytes, limit %d", len, YAML_BYTES_MAX);
        return input_report_status(report);
    }
    if (check_bytes(report, text, len) < 0)
        return input_report_status(report);
    struct reader r = {.report = report, .arena = arena};
    if (!yaml_parser_initialize(&r.parser))
        return cai_fail(CAI_ENOMEM, "no memory for the YAML reader");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    run(&r);
    yaml_parser_delete(&r.parser);
    if (!r.stop && r.documents == 0)
        input_report_add(report, 0, 0, "C005", NULL, "the file is empty");
    if (report->errors > errors && (r.stop || r.documents == 0))
        return input_report_status(report);
    struct yaml_node *root = cai_arena_alloc(arena, sizeof *root);
    *root = r.root;
    *ret = root;
    return CAI_OK;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key) {
    if (map && map->kind == YAML_MAP)
        for (uint32_t i = 0; i < map->n; i++)
            if (strcmp(map->keys[i].text, key) == 0)
                return &map->values[i];
    return NULL;
}

bool yaml_is_null(const struct yaml_node *node) {
    return node->kind == YAML_TEXT && !node->quoted &&
           (node->n == 0 || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

const char *yaml_describe(const struct yaml_node *node, char *buffer, size_t size) {
    if (node->kind == YAML_MAP)
        snprintf(buffer, size, "a map");
    else if (node->kind == YAML_LIST)
        snprintf(buffer, size, "a list");
    else if (yaml_is_null(node))
        snprintf(buffer, size, "nothing");
    else
        snprintf(buffer, size, "'%.*s%s'", 40, node->text, node->n > 40 ? "…" : "");
    return buffer;
}
