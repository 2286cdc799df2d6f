/* import.c: the two published constitution formats → our YAML, one principle per published
 * pair. The files are other people's: their shape is checked, their words are kept. */
#include "base/error.h"
#include "constitution/constitution.h"
#include "input/yaml_tree.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct import {
    struct input_report *report;
    json_t *out; /* in our canonical shape */
    json_t *principles;
};

static bool wrong(struct import *m, const char *where, const char *expected) {
    input_report_add(m->report, 0, 0, "C013", NULL, "%s must be %s", where, expected);
    return false;
}

/* The text between a heading and a label, both optional, without blanks around it. */
static json_t *between(const char *text, const char *heading, const char *label) {
    const char *from = strstr(text, heading), *end = text + strlen(text);
    size_t n = strlen(label);
    text = from && strspn(text, " \n\t") == (size_t)(from - text) ? from + strlen(heading) : text;
    while (end > text && strchr(" \n\t", end[-1]))
        end--;
    if ((size_t)(end - text) >= n && memcmp(end - n, label, n) == 0)
        end -= n;
    while (end > text && strchr(" \n\t", end[-1]))
        end--;
    while (text < end && strchr(" \n\t", *text))
        text++;
    return json_stringn(text, (size_t)(end - text));
}

/* A key of ours from theirs: lower case, the rest as '-'. */
static json_t *id_of(const char *key) {
    char id[64];
    size_t n = 0;
    for (; *key && n < 63; key++) {
        char c = *key >= 'A' && *key <= 'Z' ? (char)(*key + 32) : *key;
        id[n++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._", c) ? c : '-';
    }
    return json_stringn(id, n);
}

static void add(struct import *m, json_t *id, json_t *critique, json_t *revision, json_t *choice,
                const char *source, const char *ref) {
    json_t *p = json_object();
    json_object_set_new(p, "id", id);
    if (critique)
        json_object_set_new(p, "critique", critique);
    if (revision)
        json_object_set_new(p, "revision", revision);
    if (choice)
        json_object_set_new(p, "choice", choice);
    json_object_set_new(p, "source", json_pack("{s:s, s:s}", "name", source, "ref", ref));
    json_array_append_new(m->principles, p);
}

static bool paper_pairs(struct import *m, const json_t *root) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)root, key, v) {
        const json_t *prompt = json_object_get(v, "prompt"),
                     *edit = json_object_get(v, "edit_request");
        char where[128];
        if (json_is_array(prompt))
            prompt = json_array_get(prompt, 0);
        snprintf(where, sizeof where, "the entry '%.60s'", key);
        if (!json_is_string(prompt) || !json_is_string(edit))
            return wrong(m, where, "{\"prompt\": [text], \"edit_request\": text}");
        add(m, id_of(key), between(json_string_value(prompt), "CritiqueRequest:", "Critique:"),
            between(json_string_value(edit), "RevisionRequest:", "Revision:"), NULL,
            "Bai et al. 2022", key);
    }
    return true;
}

static bool paper_choices(struct import *m, const json_t *root) {
    size_t i;
    json_t *v;
    json_array_foreach(root, i, v) {
        char id[32], where[48];
        snprintf(where, sizeof where, "entry %zu", i + 1);
        snprintf(id, sizeof id, "choice-%zu", i + 1);
        if (!json_is_string(v))
            return wrong(m, where, "text");
        add(m, json_string(id), NULL, NULL, between(json_string_value(v), "", "Options:"),
            "Bai et al. 2022", where);
    }
    return true;
}

static bool read_paper(struct import *m, const json_t *root) {
    bool pairs = json_is_object(root);
    json_object_set_new(m->out, "name", json_string(pairs ? "cai-paper" : "cai-paper-choices"));
    if (!pairs && !json_is_array(root))
        return wrong(m, "the file",
                     "an object of critique and revision requests, or a list of texts");
    return pairs ? paper_pairs(m, root) : paper_choices(m, root);
}

/* Six turns: a question, its reply, critique request, critique, revision request, revision. */
static bool chat_example(struct import *m, const json_t *chat, size_t from, json_t *examples) {
    const char *t[6];
    for (size_t i = 0; i < 6; i++) {
        const json_t *turn = json_array_get(chat, from + i);
        const char *role = json_string_value(json_object_get(turn, "role"));
        t[i] = json_string_value(json_object_get(turn, "content"));
        if (!t[i] || !role || strcmp(role, i % 2 ? "assistant" : "user") != 0)
            return wrong(m, "'system_chat'", "of user and assistant turns, six to an example");
    }
    json_t *e = json_pack("{s:[{s:s},{s:s}]}", "turns", "user", t[0], "assistant", t[1]);
    static const char *const keys[] = {"critique_request", "critique", "revision_request",
                                       "revision"};
    for (size_t i = 0; i < 4; i++)
        json_object_set_new(e, keys[i], between(t[i + 2], "", ""));
    json_array_append_new(examples, e);
    return true;
}

static bool hf_chats(struct import *m, const json_t *chats) {
    json_t *examples = json_array(), *flat = json_array();
    size_t i;
    json_t *v;
    json_array_foreach(chats, i, v) { /* a list of chats, or one chat after the other */
        if (json_is_array(v))
            json_array_extend(flat, v);
        else
            json_array_append(flat, v);
    }
    bool good = json_array_size(flat) % 6 == 0 ||
                wrong(m, "'system_chat'", "of user and assistant turns, six to an example");
    for (i = 0; good && i < json_array_size(flat); i += 6)
        good = chat_example(m, flat, i, examples);
    json_decref(flat);
    json_object_set_new(m->out, "critique_examples", examples);
    return good;
}

static bool read_hf(struct import *m, const json_t *root) {
    const json_t *list = json_object_get(root, "constitutions");
    size_t i;
    json_t *v;
    json_object_set_new(m->out, "name", json_string("hf"));
    if (!json_is_array(list))
        return wrong(m, "'constitutions'", "a list of {\"critic\", \"revision\"}");
    json_array_foreach(list, i, v) {
        char where[48], id[32];
        const json_t *critic = json_object_get(v, "critic"),
                     *revision = json_object_get(v, "revision");
        snprintf(where, sizeof where, "constitutions[%zu]", i);
        snprintf(id, sizeof id, "hf-%zu", i + 1);
        if (!json_is_string(critic) || !json_is_string(revision))
            return wrong(m, where, "{\"critic\": text, \"revision\": text}");
        add(m, json_string(id), between(json_string_value(critic), "", ""),
            between(json_string_value(revision), "", ""), NULL, "huggingface/llm-swarm", where);
    }
    return hf_chats(m, json_object_get(root, "system_chat"));
}

/* What was read passes our own check, and is written from there. */
static int write_checked(struct import *m, struct cai_buf *ret) {
    struct constitution *c;
    CAI_AUTO(mem) char *text = json_dumps(m->out, JSON_INDENT(1));
    CAI_CHECK(text);
    CAI_TRY(constitution_parse("import", text, strlen(text), NULL, m->report, &c));
    constitution_write_yaml(c, ret);
    constitution_free(c);
    return CAI_OK;
}

static int import_json(const char *format, const json_t *root, struct input_report *report,
                       struct cai_buf *ret) {
    struct import m = {report, json_object(), json_array()};
    json_object_set_new(m.out, "constitution", json_integer(1));
    json_object_set_new(m.out, "principles", m.principles);
    bool good = strcmp(format, "hf") == 0 ? read_hf(&m, root) : read_paper(&m, root);
    int rc = good ? write_checked(&m, ret) : input_report_status(report);
    json_decref(m.out);
    return rc;
}

int constitution_import(const char *format, const char *path, struct input_report *report,
                        struct cai_buf *ret) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    json_error_t e;
    if (strcmp(format, "hf") != 0 && strcmp(format, "cai-paper") != 0)
        return cai_fail(CAI_EINPUT, "unknown format '%s'; there are cai-paper and hf", format);
    if (!report->file)
        report->file = path;
    CAI_TRY(input_file(path, YAML_BYTES_MAX, report, &text));
    json_t *root = json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &e);
    if (!root) {
        report->source = text.data;
        report->source_len = text.len;
        input_report_add(report, e.line > 0 ? (size_t)e.line : 1,
                         e.column > 0 ? (size_t)e.column : 1, "C001",
                         "the published files are JSON", "%s", e.text);
        report->source = NULL;
        return input_report_status(report);
    }
    int rc = import_json(format, root, report, ret);
    json_decref(root);
    return rc;
}
