/* diff.c: what changed between two constitutions, for people: principle by principle, then
 * the rest. Order of principles is compared too: draws go by position. */
#include "base/text.h"
#include "constitution/constitution.h"
#include "constitution/frames.h"
#include <stdio.h>
#include <string.h>

struct diff {
    struct cai_buf *out;
    size_t n;
    const char *heading; /* printed before the first change under it */
};

static void line(struct diff *d, char sign, const char *key, const char *text) {
    cai_buf_printf(d->out, "  %c %s: ", sign, key);
    cai_text_printable(d->out, text, strlen(text), false);
    cai_buf_putc(d->out, '\n');
}

static void heading(struct diff *d) {
    if (d->heading)
        cai_buf_printf(d->out, "~ %s\n", d->heading);
    d->heading = NULL;
    d->n++;
}

static void text(struct diff *d, const char *key, const char *a, const char *b) {
    if ((!a && !b) || (a && b && strcmp(a, b) == 0))
        return;
    heading(d);
    if (a)
        line(d, '-', key, a);
    if (b)
        line(d, '+', key, b);
}

static void number(struct diff *d, const char *key, double a, double b) {
    char x[40], y[40];
    snprintf(x, sizeof x, "%.10g", a);
    snprintf(y, sizeof y, "%.10g", b);
    if (a != b)
        text(d, key, x, strcmp(x, y) ? y : "(in a later digit)");
}

static void truth(struct diff *d, const char *key, bool a, bool b) {
    text(d, key, a ? "true" : "false", b ? "true" : "false");
}

static const char *phase_text(uint32_t bits) {
    static const char *const names[] = {"none", "sft", "rl", "sft, rl"};
    return names[bits & 3];
}

static void tags(struct diff *d, const struct principle *a, const struct principle *b) {
    char x[512] = "", y[512] = "";
    for (size_t i = 0; i < a->n_tags; i++)
        snprintf(x + strlen(x), sizeof x - strlen(x), "%s ", a->tags[i]);
    for (size_t i = 0; i < b->n_tags; i++)
        snprintf(y + strlen(y), sizeof y - strlen(y), "%s ", b->tags[i]);
    text(d, "tags", x, y);
}

static void principle(struct diff *d, const struct principle *a, const struct principle *b) {
    char title[96];
    snprintf(title, sizeof title, "principle '%s'", b->id);
    d->heading = title;
    text(d, "title", a->title, b->title);
    number(d, "tier", a->tier, b->tier);
    number(d, "weight", a->weight, b->weight);
    truth(d, "enabled", a->enabled, b->enabled);
    text(d, "phases", phase_text(a->phases), phase_text(b->phases));
    text(d, "critique", a->critique, b->critique);
    text(d, "revision", a->revision, b->revision);
    text(d, "choice", a->choice, b->choice);
    text(d, "rationale", a->rationale, b->rationale);
    text(d, "source.name", a->source_name, b->source_name);
    text(d, "source.ref", a->source_ref, b->source_ref);
    number(d, "source.votes", (double)a->source_votes, (double)b->source_votes);
    tags(d, a, b);
    d->heading = NULL;
}

/* Principles that only one side has. */
static void only(struct diff *d, const struct constitution *a, const struct constitution *b,
                 char sign) {
    for (size_t i = 0; i < a->n_principles; i++) {
        const struct principle *p = &a->principles[i];
        if (constitution_find(b, p->id))
            continue;
        cai_buf_printf(d->out, "%c principle '%s'%s%s\n", sign, p->id, p->title ? ": " : "",
                       p->title ? p->title : "");
        d->n++;
    }
}

static void order(struct diff *d, const struct constitution *a, const struct constitution *b) {
    size_t next = 0;
    for (size_t i = 0; i < b->n_principles; i++) {
        const struct principle *p = constitution_find(a, b->principles[i].id);
        if (!p)
            continue;
        size_t at = (size_t)(p - a->principles);
        if (at < next) {
            cai_buf_printf(d->out, "~ principle '%s' moved up from place %zu to %zu\n", p->id,
                           at + 1, i + 1);
            d->n++;
        } else {
            next = at;
        }
    }
}

static bool turns_differ(const struct turn *a, size_t n, const struct turn *b, size_t m) {
    if (n != m)
        return true;
    for (size_t i = 0; i < n; i++)
        if (strcmp(a[i].role, b[i].role) || strcmp(a[i].text, b[i].text))
            return true;
    return false;
}

static bool same(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool critique_same(const struct critique_example *a, const struct critique_example *b) {
    return !turns_differ(a->turns, a->n_turns, b->turns, b->n_turns) && a->no_flaw == b->no_flaw &&
           same(a->critique_request, b->critique_request) && same(a->critique, b->critique) &&
           same(a->revision_request, b->revision_request) && same(a->revision, b->revision);
}

static bool choice_same(const struct choice_example *a, const struct choice_example *b) {
    return !turns_differ(a->turns, a->n_turns, b->turns, b->n_turns) && a->answer == b->answer &&
           same(a->choice, b->choice) && same(a->a, b->a) && same(a->b, b->b) &&
           same(a->reasoning, b->reasoning);
}

static void examples(struct diff *d, const struct constitution *a, const struct constitution *b) {
    size_t changed = 0, n = a->n_critique_examples, m = b->n_critique_examples;
    for (size_t i = 0; i < n || i < m; i++)
        changed +=
            i >= n || i >= m || !critique_same(&a->critique_examples[i], &b->critique_examples[i]);
    if (changed)
        cai_buf_printf(d->out, "~ critique_examples: %zu of %zu differ\n", changed, n > m ? n : m);
    d->n += changed != 0;
    changed = 0;
    n = a->n_choice_examples;
    m = b->n_choice_examples;
    for (size_t i = 0; i < n || i < m; i++)
        changed += i >= n || i >= m || !choice_same(&a->choice_examples[i], &b->choice_examples[i]);
    if (changed)
        cai_buf_printf(d->out, "~ choice_examples: %zu of %zu differ\n", changed, n > m ? n : m);
    d->n += changed != 0;
}

size_t constitution_diff(const struct constitution *a, const struct constitution *b,
                         struct cai_buf *ret) {
    struct diff d = {.out = ret};
    only(&d, a, b, '-');
    only(&d, b, a, '+');
    for (size_t i = 0; i < b->n_principles; i++) {
        const struct principle *p = constitution_find(a, b->principles[i].id);
        if (p)
            principle(&d, p, &b->principles[i]);
    }
    order(&d, a, b);
    d.heading = "constitution";
    text(&d, "name", a->name, b->name);
    text(&d, "license", a->license, b->license);
    number(&d, "sampling.revisions", a->revisions, b->revisions);
    number(&d, "sampling.per_comparison", a->per_comparison, b->per_comparison);
    d.heading = "frames";
    for (size_t i = 0; i < FRAME_FIELDS; i++) {
        const struct frame_field *f = &frame_fields[i];
        text(&d, f->key, *(const char *const *)((const char *)&a->frames + f->offset),
             *(const char *const *)((const char *)&b->frames + f->offset));
    }
    examples(&d, a, b);
    return d.n;
}
