/* constitution.c: YAML → struct constitution: the top level, frames, principles. Few-shots are
 * read in examples.c, findings across principles in check.c. */
#include "constitution/constitution.h"
#include "base/error.h"
#include "base/file.h"
#include "constitution/frames.h"
#include "constitution/read.h"
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

struct top {
    int64_t version, revisions, per_comparison;
    const char *name, *license;
    const struct yaml_node *sampling, *principles, *frames, *critiques, *choices, *examples;
};

/* ---- texts ------------------------------------------------------------------------------- */

/* Code points that a YAML reader folds or refuses, so that the canonical form would not read
 * back equal. */
static bool unstable(utf8proc_int32_t cp) {
    return (cp < 0x20 && cp != '\n' && cp != '\t') || (cp >= 0x7F && cp < 0xA0) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0xFEFF || cp == 0xFFFE || cp == 0xFFFF;
}

/* Overrides and isolates of the writing direction: what a person reads in review would not be
 * what the model reads. (The marks U+200E and U+200F reorder nothing but their neighbours.) */
static bool reorders(utf8proc_int32_t cp) {
    return (cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069);
}

static bool stable_text(struct reading *r, const char *shown, const struct yaml_node *node) {
    const utf8proc_uint8_t *s = (const utf8proc_uint8_t *)node->text;
    for (size_t at = 0; at < node->n;) {
        utf8proc_int32_t cp;
        utf8proc_ssize_t n = utf8proc_iterate(s + at, (utf8proc_ssize_t)(node->n - at), &cp);
        if (n <= 0 || unstable(cp) || reorders(cp)) {
            input_report_add(r->report, node->line, node->column, "C015", "remove the character",
                             "'%s' contains the control character U+%04X", shown,
                             n <= 0 ? 0xFFFDu : (unsigned)cp);
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

const char *read_text(struct reading *r, const char *shown, const struct yaml_node *node,
                      const char *text, bool may_be_empty) {
    if (!text || !node || node->kind != YAML_TEXT)
        return text;
    if (node->n > TEXT_MAX) {
        input_report_add(r->report, node->line, node->column, "C024",
                         "shorten it; a principle is shown to the model again and again",
                         "'%s' is %u bytes, limit %d", shown, node->n, TEXT_MAX);
        return text;
    }
    if (!stable_text(r, shown, node))
        return text;
    utf8proc_uint8_t *nfc = utf8proc_NFC((const utf8proc_uint8_t *)text);
    CAI_CHECK(nfc);
    size_t len = strlen((char *)nfc);
    while (len && nfc[len - 1] == '\n')
        len--;
    const char *kept = cai_arena_strndup(&r->c->arena, (char *)nfc, len);
    free(nfc);
    if (!may_be_empty && strspn(kept, " \n\t") == len)
        input_report_add(r->report, node->line, node->column, "C016", "write it, or remove the key",
                         "'%s' is empty", shown);
    return kept;
}

static bool is_name(const char *s, const char *extra) {
    size_t n = strlen(s), ok = 0;
    for (size_t i = 0; i < n; i++)
        ok += (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-' ||
              (strchr(extra, s[i]) != NULL);
    return n > 0 && n <= 63 && ok == n;
}

/* ---- principles --------------------------------------------------------------------------------
 */

struct raw_principle {
    struct principle p;
    int64_t tier;
    const struct yaml_node *phases, *tags, *source;
};

static void read_phases(struct reading *r, const struct yaml_node *list, struct principle *p) {
    for (uint32_t i = 0; i < list->n; i++) {
        static const char *const names[] = {"sft", "rl", NULL};
        const struct schema_field f = {"phases", SCHEMA_CHOICE, 0, true, 0, 0, names};
        const char *name = NULL;
        if (schema_value(&f, "phases", &list->values[i], &name, r->report))
            p->phases |= strcmp(name, "sft") == 0 ? PHASE_SFT : PHASE_RL;
    }
    if (list->n == 0)
        input_report_add(r->report, list->line, list->column, "C013", "remove the key",
                         "'phases' is an empty list");
}

static void read_tags(struct reading *r, const struct yaml_node *list, struct principle *p) {
    const char **tags = cai_arena_array(&r->c->arena, list->n, sizeof *tags);
    const struct schema_field f = {"tags", SCHEMA_STRING, 0, true, 0, 0, NULL};
    for (uint32_t i = 0; i < list->n; i++)
        if (schema_value(&f, "tags", &list->values[i], &tags[p->n_tags], r->report)) {
            tags[p->n_tags] = read_text(r, "tags", &list->values[i], tags[p->n_tags], false);
            p->n_tags++;
        }
    p->tags = tags;
}

static void read_source(struct reading *r, const struct yaml_node *map, struct principle *p) {
    static const struct schema_field fields[] = {
        {"name", SCHEMA_STRING, offsetof(struct principle, source_name), false, 0, 0, NULL},
        {"ref", SCHEMA_STRING, offsetof(struct principle, source_ref), false, 0, 0, NULL},
        {"votes", SCHEMA_INT, offsetof(struct principle, source_votes), false, 0, 1e15, NULL},
    };
    schema_read(map, "'source'", fields, CAI_COUNT(fields), p, r->report);
    p->source_name = read_text(r, "source.name", yaml_get(map, "name"), p->source_name, false);
    p->source_ref = read_text(r, "source.ref", yaml_get(map, "ref"), p->source_ref, false);
}

static void trim_options(struct reading *r, const struct yaml_node *map, struct principle *p) {
    static const char tail[] = "Options:";
    size_t len = p->choice ? strlen(p->choice) : 0, n = sizeof tail - 1;
    if (len < n || strcmp(p->choice + len - n, tail) != 0)
        return;
    const struct yaml_node *node = yaml_get(map, "choice");
    input_report_add(r->report, node->line, node->column, "W103",
                     "the frame 'choice' lists the options",
                     "'choice' ends in \"Options:\", removed (paper format)");
    len -= n;
    while (len && strchr(" \n\t", p->choice[len - 1]))
        len--;
    p->choice = cai_arena_strndup(&r->c->arena, p->choice, len);
}

static void read_principle_texts(struct reading *r, const struct yaml_node *map,
                                 struct principle *p) {
    const struct {
        const char *key, **text;
    } texts[] = {{"title", &p->title},
                 {"critique", &p->critique},
                 {"revision", &p->revision},
                 {"choice", &p->choice},
                 {"rationale", &p->rationale}};
    for (size_t i = 0; i < CAI_COUNT(texts); i++)
        *texts[i].text =
            read_text(r, texts[i].key, yaml_get(map, texts[i].key), *texts[i].text, false);
    trim_options(r, map, p);
}

static void read_principle(struct reading *r, const struct yaml_node *map, struct principle *ret) {
    static const struct schema_field fields[] = {
#define FIELD(key, type, member, required, ...)                                                    \
    {key, type, offsetof(struct raw_principle, member), required, __VA_ARGS__}
        FIELD("id", SCHEMA_STRING, p.id, true, 0, 0, NULL),
        FIELD("title", SCHEMA_STRING, p.title, false, 0, 0, NULL),
        FIELD("tier", SCHEMA_INT, tier, false, 1, 1000, NULL),
        FIELD("weight", SCHEMA_NUMBER, p.weight, false, 0, INFINITY, NULL),
        FIELD("enabled", SCHEMA_BOOL, p.enabled, false, 0, 0, NULL),
        FIELD("phases", SCHEMA_LIST, phases, false, 0, 0, NULL),
        FIELD("critique", SCHEMA_STRING, p.critique, false, 0, 0, NULL),
        FIELD("revision", SCHEMA_STRING, p.revision, false, 0, 0, NULL),
        FIELD("choice", SCHEMA_STRING, p.choice, false, 0, 0, NULL),
        FIELD("rationale", SCHEMA_STRING, p.rationale, false, 0, 0, NULL),
        FIELD("source", SCHEMA_MAP, source, false, 0, 0, NULL),
        FIELD("tags", SCHEMA_LIST, tags, false, 0, 0, NULL),
#undef FIELD
    };
    struct raw_principle raw = {.tier = 1};
    raw.p.weight = 1;
    raw.p.enabled = true;
    raw.p.source_votes = -1;
    schema_read(map, "a principle", fields, CAI_COUNT(fields), &raw, r->report);
    struct principle *p = &raw.p;
    p->tier = (uint32_t)raw.tier;
    if (!p->id) {
        p->id = "";
    } else if (!is_name(p->id, "._")) {
        const struct yaml_node *node = yaml_get(map, "id");
        input_report_add(r->report, node->line, node->column, "C013",
                         "use lower-case letters, digits, '-', '.', '_'; at most 63",
                         "'id' is not a key: '%.80s'", p->id);
    }
    read_principle_texts(r, map, p);
    if (raw.phases)
        read_phases(r, raw.phases, p);
    else
        p->phases = (p->critique ? PHASE_SFT : 0) | (p->choice ? PHASE_RL : 0);
    if (raw.tags)
        read_tags(r, raw.tags, p);
    if (raw.source)
        read_source(r, raw.source, p);
    *ret = raw.p;
}

static void read_principles(struct reading *r, const struct yaml_node *list) {
    if (list->n == 0)
        input_report_add(r->report, list->line, list->column, "C012", "write at least one",
                         "'principles' is empty");
    if (list->n > PRINCIPLES_MAX) {
        input_report_add(r->report, list->line, list->column, "C024", NULL,
                         "%u principles, limit %d", list->n, PRINCIPLES_MAX);
        return;
    }
    r->c->principles = cai_arena_array(&r->c->arena, list->n, sizeof *r->c->principles);
    r->c->n_principles = list->n;
    for (uint32_t i = 0; i < list->n; i++)
        read_principle(r, &list->values[i], &r->c->principles[i]);
    check_principles(r, list);
}

/* ---- frames
 * --------------------------------------------------------------------------------------- */

static bool listed(const char *names, const char *name, size_t len) {
    for (const char *s = names; *s;) {
        size_t n = strcspn(s, " ");
        if (n == len && memcmp(s, name, n) == 0)
            return true;
        s += n + (s[n] == ' ');
    }
    return false;
}

static const char *places_help(struct reading *r, const struct frame_field *f) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (!*f->slots)
        return "this one has no places to fill";
    cai_buf_puts(&text, "it has {");
    for (const char *s = f->slots; *s; s++) {
        if (*s == ' ')
            cai_buf_puts(&text, "}, {");
        else
            cai_buf_putc(&text, *s);
    }
    cai_buf_puts(&text, "}; other braces may not look like a name");
    return cai_arena_strndup(&r->c->arena, text.data, text.len);
}

static void check_slots(struct reading *r, const struct frame_field *f, const struct yaml_node *at,
                        const char *text) {
    const char *name;
    size_t len, used, missing = 0;
    for (const char *s = text; *s; s += used ? used : 1) {
        used = frame_slot(s, &name, &len);
        if (used && !listed(f->slots, name, len))
            input_report_add(r->report, at->line, at->column, "C017", places_help(r, f),
                             "frame '%s' has no place called '{%.*s}'", f->key, (int)len, name);
    }
    for (const char *s = f->required; *s; s += missing + (s[missing] == ' ')) {
        char slot[40];
        missing = strcspn(s, " ");
        snprintf(slot, sizeof slot, "{%.*s}", (int)missing, s);
        if (!strstr(text, slot))
            input_report_add(r->report, at->line, at->column, "C018", "put it where it belongs",
                             "frame '%s' lacks '%s'", f->key, slot);
    }
}

static void read_frames(struct reading *r, const struct yaml_node *map) {
    struct schema_field fields[FRAME_FIELDS];
    for (size_t i = 0; i < FRAME_FIELDS; i++) {
        fields[i] = (struct schema_field){
            frame_fields[i].key, SCHEMA_STRING, frame_fields[i].offset, false, 0, 0, NULL};
        *(const char **)((char *)&r->c->frames + frame_fields[i].offset) = frame_fields[i].text;
    }
    if (!map)
        return;
    schema_read(map, "'frames'", fields, FRAME_FIELDS, &r->c->frames, r->report);
    for (size_t i = 0; i < FRAME_FIELDS; i++) {
        const struct yaml_node *node = yaml_get(map, frame_fields[i].key);
        const char **text = (const char **)((char *)&r->c->frames + frame_fields[i].offset);
        if (!node || node->kind != YAML_TEXT)
            continue;
        bool prefix = strstr(frame_fields[i].key, "_prefix") != NULL;
        *text = read_text(r, frame_fields[i].key, node, *text, prefix);
        check_slots(r, &frame_fields[i], node, *text);
    }
    if (!*r->c->frames.reasoned_prefix)
        input_report_add(r->report, map->line, map->column, "C018", "write what begins the answer",
                         "frame 'reasoned_prefix' is empty; reasons end where it begins");
    if (strcmp(r->c->frames.option_a, r->c->frames.option_b) == 0)
        input_report_add(r->report, map->line, map->column, "C019", "make them differ",
                         "frames 'option_a' and 'option_b' are equal");
    if (strcmp(r->c->frames.option_yes, r->c->frames.option_no) == 0)
        input_report_add(r->report, map->line, map->column, "C019", "make them differ",
                         "frames 'option_yes' and 'option_no' are equal");
}

/* ---- the whole
 * ------------------------------------------------------------------------------------- */

static void read_sampling(struct reading *r, const struct yaml_node *map) {
    static const struct schema_field fields[] = {
        {"revisions", SCHEMA_INT, offsetof(struct top, revisions), false, 1, 64, NULL},
        {"per_comparison", SCHEMA_INT, offsetof(struct top, per_comparison), false, 1, 64, NULL},
    };
    struct top t = {.revisions = 4, .per_comparison = 1}; /* Bai et al. 2022 §3.2, §4.1 */
    if (map)
        schema_read(map, "'sampling'", fields, CAI_COUNT(fields), &t, r->report);
    r->c->revisions = (uint32_t)t.revisions;
    r->c->per_comparison = (uint32_t)t.per_comparison;
}

static void read_top(struct reading *r, const struct yaml_node *root) {
    static const struct schema_field fields[] = {
        {"constitution", SCHEMA_INT, offsetof(struct top, version), true, 1, 1e9, NULL},
        {"name", SCHEMA_STRING, offsetof(struct top, name), true, 0, 0, NULL},
        {"license", SCHEMA_STRING, offsetof(struct top, license), false, 0, 0, NULL},
        {"sampling", SCHEMA_MAP, offsetof(struct top, sampling), false, 0, 0, NULL},
        {"principles", SCHEMA_LIST, offsetof(struct top, principles), true, 0, 0, NULL},
        {"frames", SCHEMA_MAP, offsetof(struct top, frames), false, 0, 0, NULL},
        {"critique_examples", SCHEMA_LIST, offsetof(struct top, critiques), false, 0, 0, NULL},
        {"choice_examples", SCHEMA_LIST, offsetof(struct top, choices), false, 0, 0, NULL},
        {"examples", SCHEMA_ANY, offsetof(struct top, examples), false, 0, 0, NULL},
    };
    struct top t = {.version = CONSTITUTION_VERSION};
    if (!schema_read(root, "a constitution", fields, CAI_COUNT(fields), &t, r->report) &&
        root->kind != YAML_MAP)
        return;
    if (t.version > CONSTITUTION_VERSION) {
        const struct yaml_node *node = yaml_get(root, "constitution");
        input_report_add(r->report, node->line, node->column, "C014", "upgrade caid",
                         "schema version %lld is newer than this caid (%d)", (long long)t.version,
                         CONSTITUTION_VERSION);
    }
    if (t.name && !is_name(t.name, "")) {
        const struct yaml_node *node = yaml_get(root, "name");
        input_report_add(r->report, node->line, node->column, "C013",
                         "use lower-case letters, digits and '-'; at most 63",
                         "'name' is not a name: '%.80s'", t.name);
    }
    r->c->name = t.name ? t.name : "";
    r->c->license = read_text(r, "license", yaml_get(root, "license"), t.license, false);
    read_sampling(r, t.sampling);
    read_frames(r, t.frames);
    if (t.principles)
        read_principles(r, t.principles);
    read_examples(r, t.critiques, t.choices, t.examples);
}

static int finish(struct constitution *c, const struct input_report *report, size_t errors) {
    if (report->errors > errors)
        return input_report_status(report);
    CAI_AUTO(buf) struct cai_buf canonical = {0};
    constitution_canonical(c, &canonical);
    cai_sha256(canonical.data, canonical.len, c->revision);
    return CAI_OK;
}

int constitution_parse(const char *name, const char *text, size_t len, const char *dir,
                       struct input_report *report, struct constitution **ret) {
    struct constitution *c = cai_alloc(sizeof *c);
    struct reading r = {c, report, dir};
    const struct yaml_node *root;
    size_t errors = report->errors;
    if (!report->file)
        report->file = name;
    int rc = yaml_parse(text, len, report, &c->arena, &root);
    if (rc == 0) {
        read_top(&r, root);
        rc = finish(c, report, errors);
    }
    report->source = NULL;
    if (rc < 0) {
        constitution_free(c);
        return rc;
    }
    *ret = c;
    return CAI_OK;
}

int constitution_load(const char *path, struct input_report *report, struct constitution **ret) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (!report->file)
        report->file = path;
    CAI_TRY(input_file(path, YAML_BYTES_MAX, report, &text));
    char *copy = cai_strdup(path);
    int rc = constitution_parse(path, text.data, text.len, dirname(copy), report, ret);
    free(copy);
    return rc;
}

void constitution_free(struct constitution *c) {
    if (!c)
        return;
    cai_arena_free(&c->arena);
    free(c);
}

const struct principle *constitution_find(const struct constitution *c, const char *id) {
    for (size_t i = 0; i < c->n_principles; i++)
        if (strcmp(c->principles[i].id, id) == 0)
            return &c->principles[i];
    return NULL;
}
