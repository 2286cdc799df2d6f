/* emit.c: struct constitution → YAML that people edit. Reading it back gives the same
 * revision. */
#include "constitution/constitution.h"
#include "constitution/frames.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { WRAP = 92 };

/* Text that a folded block ("> -") gives back unchanged: words, each one blank apart. */
static bool foldable(const char *s) {
    size_t n = strlen(s);
    return n > 60 && !strchr(s, '\n') && !strchr(s, '\t') && !strstr(s, "  ") && s[0] != ' ' &&
           s[n - 1] != ' ';
}

static void fold(struct cai_buf *out, int indent, const char *s) {
    size_t column = 0;
    cai_buf_puts(out, ">-\n");
    while (*s) {
        size_t word = strcspn(s, " ");
        bool wrap = column && column + 1 + word > (size_t)(WRAP - indent);
        if (!column || wrap) {
            cai_buf_printf(out, "%s%*s", wrap ? "\n" : "", indent, "");
            column = 0;
        } else {
            cai_buf_putc(out, ' ');
            column++;
        }
        cai_buf_append(out, s, word);
        column += word;
        s += word + (s[word] == ' ');
    }
    cai_buf_putc(out, '\n');
}

static void quoted(struct cai_buf *out, const char *s) {
    json_t *v = json_string(s);
    CAI_CHECK(v);
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    cai_buf_printf(out, "%s\n", text);
    free(text);
    json_decref(v);
}

static void key_text(struct cai_buf *out, int indent, const char *lead, const char *key,
                     const char *s) {
    if (!s)
        return;
    cai_buf_printf(out, "%*s%s%s: ", indent, "", lead, key);
    int inner = indent + (int)strlen(lead) + 2;
    if (foldable(s))
        fold(out, inner, s);
    else
        quoted(out, s);
}

static void tags(struct cai_buf *out, const struct principle *p) {
    if (p->n_tags == 0)
        return;
    cai_buf_puts(out, "    tags:\n");
    for (size_t i = 0; i < p->n_tags; i++) {
        cai_buf_puts(out, "      - ");
        quoted(out, p->tags[i]);
    }
}

static void source(struct cai_buf *out, const struct principle *p) {
    if (!p->source_name && !p->source_ref && p->source_votes < 0)
        return;
    cai_buf_puts(out, "    source:\n");
    key_text(out, 6, "", "name", p->source_name);
    key_text(out, 6, "", "ref", p->source_ref);
    if (p->source_votes >= 0)
        cai_buf_printf(out, "      votes: %lld\n", (long long)p->source_votes);
}

static uint32_t usual_phases(const struct principle *p) {
    return (p->critique ? PHASE_SFT : 0) | (p->choice ? PHASE_RL : 0);
}

static void principle(struct cai_buf *out, const struct principle *p) {
    key_text(out, 2, "- ", "id", p->id);
    key_text(out, 4, "", "title", p->title);
    if (p->tier != 1)
        cai_buf_printf(out, "    tier: %u\n", p->tier);
    if (p->weight != 1)
        cai_buf_printf(out, "    weight: %.17g\n", p->weight);
    if (!p->enabled)
        cai_buf_puts(out, "    enabled: false\n");
    if (p->phases != usual_phases(p))
        cai_buf_printf(out, "    phases: [%s]\n", p->phases == PHASE_SFT ? "sft" : "rl");
    key_text(out, 4, "", "critique", p->critique);
    key_text(out, 4, "", "revision", p->revision);
    key_text(out, 4, "", "choice", p->choice);
    key_text(out, 4, "", "rationale", p->rationale);
    source(out, p);
    tags(out, p);
}

static void turns(struct cai_buf *out, const struct turn *t, size_t n) {
    cai_buf_puts(out, "  - turns:\n");
    for (size_t i = 0; i < n; i++)
        key_text(out, 6, "- ", t[i].role, t[i].text);
}

static void examples(struct cai_buf *out, const struct constitution *c) {
    if (c->n_critique_examples)
        cai_buf_puts(out, "critique_examples:\n");
    for (size_t i = 0; i < c->n_critique_examples; i++) {
        const struct critique_example *e = &c->critique_examples[i];
        turns(out, e->turns, e->n_turns);
        key_text(out, 4, "", "critique_request", e->critique_request);
        key_text(out, 4, "", "critique", e->critique);
        key_text(out, 4, "", "revision_request", e->revision_request);
        key_text(out, 4, "", "revision", e->revision);
        if (e->no_flaw)
            cai_buf_puts(out, "    no_flaw: true\n");
    }
    if (c->n_choice_examples)
        cai_buf_puts(out, "choice_examples:\n");
    for (size_t i = 0; i < c->n_choice_examples; i++) {
        const struct choice_example *e = &c->choice_examples[i];
        turns(out, e->turns, e->n_turns);
        key_text(out, 4, "", "choice", e->choice);
        key_text(out, 4, "", "a", e->a);
        key_text(out, 4, "", "b", e->b);
        key_text(out, 4, "", "reasoning", e->reasoning);
        cai_buf_printf(out, "    answer: %c\n", e->answer);
    }
}

void constitution_write_yaml(const struct constitution *c, struct cai_buf *ret) {
    cai_buf_puts(ret, "constitution: 1\n");
    key_text(ret, 0, "", "name", c->name);
    key_text(ret, 0, "", "license", c->license);
    cai_buf_printf(ret, "sampling: {revisions: %u, per_comparison: %u}\n", c->revisions,
                   c->per_comparison);
    bool any = false;
    for (size_t i = 0; i < FRAME_FIELDS; i++) {
        const char *text =
            *(const char *const *)((const char *)&c->frames + frame_fields[i].offset);
        if (strcmp(text, frame_fields[i].text) == 0)
            continue;
        cai_buf_puts(ret, any ? "" : "frames:\n");
        any = true;
        key_text(ret, 2, "", frame_fields[i].key, text);
    }
    cai_buf_puts(ret, "principles:\n");
    for (size_t i = 0; i < c->n_principles; i++)
        principle(ret, &c->principles[i]);
    examples(ret, c);
}
