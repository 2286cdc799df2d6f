/* examples.c: worked examples (few-shots), written in the constitution or in files beside it. */
#include "base/error.h"
#include "base/file.h"
#include "constitution/read.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct raw_critique {
    struct critique_example e;
    const struct yaml_node *turns;
};
struct raw_choice {
    struct choice_example e;
    const struct yaml_node *turns;
    const char *answer;
};

static const char *text_at(struct reading *r, const struct yaml_node *map, const char *key,
                           const char *text) {
    return read_text(r, key, yaml_get(map, key), text, false);
}

static bool read_turn(struct reading *r, const struct yaml_node *node, struct turn *ret) {
    const struct yaml_node *key = node->kind == YAML_MAP && node->n == 1 ? &node->keys[0] : NULL;
    bool user = key && strcmp(key->text, "user") == 0;
    if (!key || (!user && strcmp(key->text, "assistant") != 0) ||
        node->values[0].kind != YAML_TEXT) {
        input_report_add(r->report, node->line, node->column, "C013", NULL,
                         "a turn must be 'user: text' or 'assistant: text'");
        return false;
    }
    ret->role = user ? "user" : "assistant";
    ret->text = read_text(r, key->text, &node->values[0], node->values[0].text, false);
    return true;
}

/* Turns alternate, begin with the user and end with `last`. */
static size_t read_turns(struct reading *r, const struct yaml_node *list, const char *last,
                         const struct turn **ret) {
    if (!list)
        return 0;
    struct turn *turns = cai_arena_array(&r->c->arena, list->n + 1, sizeof *turns);
    size_t n = 0;
    for (uint32_t i = 0; i < list->n && i < TURNS_MAX; i++) {
        if (!read_turn(r, &list->values[i], &turns[n]))
            continue;
        if (strcmp(turns[n].role, i % 2 ? "assistant" : "user") != 0)
            input_report_add(r->report, list->values[i].line, list->values[i].column, "C027",
                             "a conversation begins with the user", "turns must alternate");
        n++;
    }
    *ret = turns;
    if (list->n > TURNS_MAX)
        input_report_add(r->report, list->line, list->column, "C024", NULL, "%u turns, limit %d",
                         list->n, TURNS_MAX);
    else if (n == list->n && (n == 0 || strcmp(turns[n - 1].role, last) != 0))
        input_report_add(r->report, list->line, list->column, "C027", NULL,
                         "the turns must end with the %s", last);
    return n;
}

static void read_critique_example(struct reading *r, const struct yaml_node *map,
                                  struct critique_example *ret) {
#define FIELD(key, type, member, required)                                                         \
    { key, type, offsetof(struct raw_critique, member), required, 0, 0, NULL }
    static const struct schema_field fields[] = {
        FIELD("turns", SCHEMA_LIST, turns, true),
        FIELD("critique_request", SCHEMA_STRING, e.critique_request, true),
        FIELD("critique", SCHEMA_STRING, e.critique, true),
        FIELD("revision_request", SCHEMA_STRING, e.revision_request, false),
        FIELD("revision", SCHEMA_STRING, e.revision, false),
        FIELD("no_flaw", SCHEMA_BOOL, e.no_flaw, false),
    };
#undef FIELD
    struct raw_critique raw = {0};
    schema_read(map, "a critique example", fields, CAI_COUNT(fields), &raw, r->report);
    struct critique_example *e = &raw.e;
    e->n_turns = read_turns(r, raw.turns, "assistant", &e->turns);
    e->critique_request = text_at(r, map, "critique_request", e->critique_request);
    e->critique = text_at(r, map, "critique", e->critique);
    e->revision_request = text_at(r, map, "revision_request", e->revision_request);
    e->revision = text_at(r, map, "revision", e->revision);
    if (e->no_flaw && e->revision)
        input_report_add(r->report, map->line, map->column, "C028", "remove 'revision'",
                         "an example with 'no_flaw: true' keeps the reply");
    if (!e->no_flaw && (!e->revision || !e->revision_request))
        input_report_add(r->report, map->line, map->column, "C028",
                         "write both, or 'no_flaw: true' when the reply was fine",
                         "a critique example needs 'revision_request' and 'revision'");
    *ret = raw.e;
}

static void read_choice_example(struct reading *r, const struct yaml_node *map,
                                struct choice_example *ret) {
    static const char *const answers[] = {"A", "B", NULL};
#define FIELD(key, type, member, required, choices)                                                \
    { key, type, offsetof(struct raw_choice, member), required, 0, 0, choices }
    static const struct schema_field fields[] = {
        FIELD("turns", SCHEMA_LIST, turns, true, NULL),
        FIELD("choice", SCHEMA_STRING, e.choice, true, NULL),
        FIELD("a", SCHEMA_STRING, e.a, true, NULL),
        FIELD("b", SCHEMA_STRING, e.b, true, NULL),
        FIELD("reasoning", SCHEMA_STRING, e.reasoning, false, NULL),
        FIELD("answer", SCHEMA_CHOICE, answer, true, answers),
    };
#undef FIELD
    struct raw_choice raw = {0};
    schema_read(map, "a choice example", fields, CAI_COUNT(fields), &raw, r->report);
    raw.e.n_turns = read_turns(r, raw.turns, "user", &raw.e.turns);
    raw.e.choice = text_at(r, map, "choice", raw.e.choice);
    raw.e.a = text_at(r, map, "a", raw.e.a);
    raw.e.b = text_at(r, map, "b", raw.e.b);
    raw.e.reasoning = text_at(r, map, "reasoning", raw.e.reasoning);
    raw.e.answer = raw.answer && *raw.answer == 'B' ? 'B' : 'A';
    *ret = raw.e;
}

static bool room_for(struct reading *r, const struct yaml_node *list, size_t have) {
    if (have + list->n <= EXAMPLES_MAX)
        return true;
    input_report_add(r->report, list->line, list->column, "C024", NULL, "%zu examples, limit %d",
                     have + list->n, EXAMPLES_MAX);
    return false;
}

static void add_lists(struct reading *r, const struct yaml_node *critiques,
                      const struct yaml_node *choices) {
    struct constitution *c = r->c;
    if (critiques && room_for(r, critiques, c->n_critique_examples))
        for (uint32_t i = 0; i < critiques->n; i++)
            read_critique_example(r, &critiques->values[i],
                                  &c->critique_examples[c->n_critique_examples++]);
    if (choices && room_for(r, choices, c->n_choice_examples))
        for (uint32_t i = 0; i < choices->n; i++)
            read_choice_example(r, &choices->values[i],
                                &c->choice_examples[c->n_choice_examples++]);
}

/* The real path of `name` if it lies inside `dir`, else a finding. */
static bool inside(struct reading *r, const struct yaml_node *node, char ret[PATH_MAX]) {
    char base[PATH_MAX];
    CAI_AUTO(mem) char *joined = r->dir ? cai_path_join(r->dir, node->text) : NULL;
    if (!r->dir || node->text[0] == '/' || !realpath(r->dir, base)) {
        input_report_add(r->report, node->line, node->column, "C032",
                         r->dir ? "name a file beside the constitution"
                                : "write the examples into the constitution",
                         "examples path leaves the constitution's directory");
        return false;
    }
    bool found = realpath(joined, ret) != NULL;
    size_t n = strlen(base);
    bool dots = strstr(node->text, "..") != NULL;
    if (dots || (found && (strncmp(ret, base, n) != 0 || (n > 1 && ret[n] != '/')))) {
        input_report_add(r->report, node->line, node->column, "C032",
                         "name a file beside the constitution",
                         "examples path leaves the constitution's directory");
        return false;
    }
    if (!found)
        input_report_add(r->report, node->line, node->column, "C006", "look at the path",
                         "no such file: '%.200s'", node->text);
    return found;
}

static void read_example_file(struct reading *r, const struct yaml_node *node) {
    char path[PATH_MAX];
    if (!inside(r, node, path))
        return;
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct input_report own = {.file = cai_arena_strdup(&r->c->arena, path)};
    struct reading sub = {r->c, &own, NULL};
    const struct yaml_node *root, *lists[2] = {NULL, NULL};
    static const struct schema_field fields[] = {
        {"critique_examples", SCHEMA_LIST, 0, false, 0, 0, NULL},
        {"choice_examples", SCHEMA_LIST, sizeof(void *), false, 0, 0, NULL},
    };
    if (input_file(path, YAML_BYTES_MAX, &own, &text) == 0 &&
        yaml_parse(text.data, text.len, &own, &r->c->arena, &root) == 0) {
        schema_read(root, "a file of examples", fields, 2, lists, &own);
        add_lists(&sub, lists[0], lists[1]);
    }
    input_report_merge(r->report, &own);
}

void read_examples(struct reading *r, const struct yaml_node *critiques,
                   const struct yaml_node *choices, const struct yaml_node *files) {
    struct constitution *c = r->c;
    c->critique_examples = cai_arena_array(&c->arena, EXAMPLES_MAX, sizeof *c->critique_examples);
    c->choice_examples = cai_arena_array(&c->arena, EXAMPLES_MAX, sizeof *c->choice_examples);
    add_lists(r, critiques, choices);
    const struct yaml_node *list = files && files->kind == YAML_LIST ? files->values : files;
    uint32_t n = files ? files->kind == YAML_LIST ? files->n : 1 : 0;
    for (uint32_t i = 0; i < n && i < EXAMPLES_MAX; i++) {
        if (list[i].kind == YAML_TEXT)
            read_example_file(r, &list[i]);
        else
            input_report_add(r->report, list[i].line, list[i].column, "C013", NULL,
                             "'examples' must be the path of a file, or a list of paths");
    }
}
