/* canonical.c: struct constitution → the one JSON text that its revision is the hash of. */
#include "constitution/constitution.h"
#include "constitution/frames.h"
#include "constitution/read.h"
#include <jansson.h>
#include <stdlib.h>

static void put_text(json_t *o, const char *key, const char *text) {
    if (text)
        json_object_set_new(o, key, json_string(text));
}

static json_t *phases(uint32_t bits) {
    json_t *list = json_array();
    if (bits & PHASE_SFT)
        json_array_append_new(list, json_string("sft"));
    if (bits & PHASE_RL)
        json_array_append_new(list, json_string("rl"));
    return list;
}

static json_t *principle(const struct principle *p) {
    json_t *o = json_object(), *source = json_object(), *tags = json_array();
    put_text(o, "id", p->id);
    put_text(o, "title", p->title);
    put_text(o, "critique", p->critique);
    put_text(o, "revision", p->revision);
    put_text(o, "choice", p->choice);
    put_text(o, "rationale", p->rationale);
    json_object_set_new(o, "tier", json_integer(p->tier));
    json_object_set_new(o, "weight", json_real(p->weight));
    json_object_set_new(o, "enabled", json_boolean(p->enabled));
    if (p->phases)
        json_object_set_new(o, "phases", phases(p->phases));
    for (size_t i = 0; i < p->n_tags; i++)
        json_array_append_new(tags, json_string(p->tags[i]));
    json_object_set_new(o, "tags", tags);
    put_text(source, "name", p->source_name);
    put_text(source, "ref", p->source_ref);
    if (p->source_votes >= 0)
        json_object_set_new(source, "votes", json_integer(p->source_votes));
    json_object_set_new(o, "source", source);
    return o;
}

static json_t *turns(const struct turn *t, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s}", t[i].role, t[i].text));
    return list;
}

static json_t *critique_example(const struct critique_example *e) {
    json_t *o = json_object();
    json_object_set_new(o, "turns", turns(e->turns, e->n_turns));
    put_text(o, "critique_request", e->critique_request);
    put_text(o, "critique", e->critique);
    put_text(o, "revision_request", e->revision_request);
    put_text(o, "revision", e->revision);
    json_object_set_new(o, "no_flaw", json_boolean(e->no_flaw));
    return o;
}

static json_t *choice_example(const struct choice_example *e) {
    json_t *o = json_object();
    const char answer[2] = {e->answer, '\0'};
    json_object_set_new(o, "turns", turns(e->turns, e->n_turns));
    put_text(o, "choice", e->choice);
    put_text(o, "a", e->a);
    put_text(o, "b", e->b);
    put_text(o, "reasoning", e->reasoning);
    put_text(o, "answer", answer);
    return o;
}

static json_t *frames(const struct constitution_frames *f) {
    json_t *o = json_object();
    for (size_t i = 0; i < FRAME_FIELDS; i++)
        put_text(o, frame_fields[i].key,
                 *(const char *const *)((const char *)f + frame_fields[i].offset));
    return o;
}

static json_t *whole(const struct constitution *c) {
    json_t *o = json_object(), *principles = json_array(), *critiques = json_array(),
           *choices = json_array();
    for (size_t i = 0; i < c->n_principles; i++)
        json_array_append_new(principles, principle(&c->principles[i]));
    for (size_t i = 0; i < c->n_critique_examples; i++)
        json_array_append_new(critiques, critique_example(&c->critique_examples[i]));
    for (size_t i = 0; i < c->n_choice_examples; i++)
        json_array_append_new(choices, choice_example(&c->choice_examples[i]));
    json_object_set_new(o, "constitution", json_integer(CONSTITUTION_VERSION));
    put_text(o, "name", c->name);
    put_text(o, "license", c->license);
    json_object_set_new(o, "sampling",
                        json_pack("{s:I, s:I}", "revisions", (json_int_t)c->revisions,
                                  "per_comparison", (json_int_t)c->per_comparison));
    json_object_set_new(o, "principles", principles);
    json_object_set_new(o, "critique_examples", critiques);
    json_object_set_new(o, "choice_examples", choices);
    json_object_set_new(o, "frames", frames(&c->frames));
    return o;
}

void constitution_canonical(const struct constitution *c, struct cai_buf *ret) {
    json_t *o = whole(c);
    char *text = json_dumps(o, JSON_SORT_KEYS | JSON_COMPACT);
    CAI_CHECK(text);
    cai_buf_puts(ret, text);
    free(text);
    json_decref(o);
}
