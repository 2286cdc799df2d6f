/* render.c: principles, few-shots and transcripts → messages. Drop ranks: a worked example is
 * dropped whole, the one farthest from the question first; after all of them, turns of the
 * conversation from the oldest, a question and its answer together. The last question, the
 * judged reply, the critique and the request have rank 0 and always stay. A system message goes
 * before the few-shots, since many templates take one only at the top, and always stays. */
#include "constitution/render.h"
#include "constitution/frames.h"
#include <string.h>

static void add(struct rendering *r, const char *role, const char *text, const char *origin,
                uint32_t drop) {
    r->messages[r->n++] = (struct rendered){cai_arena_strdup(&r->arena, role),
                                            cai_arena_strdup(&r->arena, text), origin, drop};
}

/* Exchanges before the last one: what may be dropped of a conversation. */
static uint32_t earlier_exchanges(const struct turn *turns, size_t n) {
    uint32_t users = 0;
    for (size_t i = 0; i < n; i++)
        users += strcmp(turns[i].role, "user") == 0;
    return users ? users - 1 : 0;
}

static bool of_system(const struct turn *t) { return strcmp(t->role, "system") == 0; }

static void add_system(struct rendering *r, const struct turn *turns, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (of_system(&turns[i]))
            add(r, turns[i].role, turns[i].text, "data", 0);
}

static void add_conversation(struct rendering *r, const struct turn *turns, size_t n) {
    uint32_t left = earlier_exchanges(turns, n) + 1;
    for (size_t i = 0; i < n; i++) {
        if (of_system(&turns[i]))
            continue;
        if (left && strcmp(turns[i].role, "user") == 0)
            left--;
        bool judged = i + 1 == n;
        bool reply = strcmp(turns[i].role, "assistant") == 0;
        add(r, turns[i].role, turns[i].text, judged && reply ? "model" : "data", left);
    }
}

static const char *request(struct rendering *r, const struct constitution *c, const char *frame,
                           const char *principle) {
    const char *const pairs[] = {"principle", principle, "no_flaw", c->frames.no_flaw, NULL};
    return frame_fill(&r->arena, frame, pairs);
}

/* What the model's turn shows: the prefix it begins with, then its text. */
static const char *answered(struct cai_arena *arena, const char *prefix, const char *text) {
    return *prefix ? cai_arena_printf(arena, "%s%s%s", prefix,
                                      strchr(" \n", prefix[strlen(prefix) - 1]) ? "" : " ", text)
                   : text;
}

static void add_critique_examples(struct rendering *r, const struct constitution *c, uint32_t base,
                                  bool revise) {
    const struct constitution_frames *f = &c->frames;
    for (size_t i = 0; i < c->n_critique_examples; i++) {
        const struct critique_example *e = &c->critique_examples[i];
        uint32_t rank = base + (uint32_t)(c->n_critique_examples - i);
        for (size_t t = 0; t < e->n_turns; t++)
            add(r, e->turns[t].role, e->turns[t].text, "fewshot", rank);
        add(r, "user", request(r, c, f->critique, e->critique_request), "fewshot", rank);
        add(r, "assistant", answered(&r->arena, f->critique_prefix, e->critique), "fewshot", rank);
        if (!revise || e->no_flaw)
            continue;
        add(r, "user", request(r, c, f->revision, e->revision_request), "fewshot", rank);
        add(r, "assistant", answered(&r->arena, f->revision_prefix, e->revision), "fewshot", rank);
    }
}

static size_t example_turns(const struct constitution *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_critique_examples; i++)
        n += c->critique_examples[i].n_turns + 4;
    return n;
}

/* Few-shots, the conversation and the critique request. */
static void begin_critique(const struct constitution *c, const struct principle *p,
                           const struct turn *turns, size_t n, bool revise, struct rendering *ret) {
    *ret = (struct rendering){0};
    ret->messages = cai_arena_array(&ret->arena, example_turns(c) + n + 3, sizeof *ret->messages);
    add_system(ret, turns, n);
    add_critique_examples(ret, c, earlier_exchanges(turns, n), revise);
    add_conversation(ret, turns, n);
    add(ret, "user", request(ret, c, c->frames.critique, p->critique ? p->critique : ""),
        "principle", 0);
}

void render_critique(const struct constitution *c, const struct principle *p,
                     const struct turn *turns, size_t n, struct rendering *ret) {
    begin_critique(c, p, turns, n, false, ret);
    ret->prefix = cai_arena_strdup(&ret->arena, c->frames.critique_prefix);
}

void render_revision(const struct constitution *c, const struct principle *p,
                     const struct turn *turns, size_t n, const char *critique,
                     struct rendering *ret) {
    begin_critique(c, p, turns, n, true, ret);
    add(ret, "assistant", answered(&ret->arena, c->frames.critique_prefix, critique), "model", 0);
    add(ret, "user", request(ret, c, c->frames.revision, p->revision ? p->revision : ""),
        "principle", 0);
    ret->prefix = cai_arena_strdup(&ret->arena, c->frames.revision_prefix);
}

const char *render_speaker(const char *role) {
    return strcmp(role, "user") == 0     ? "Human"
           : strcmp(role, "system") == 0 ? "System"
                                         : "Assistant";
}

static const char *transcript(struct rendering *r, const struct turn *turns, size_t n) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; i < n; i++)
        cai_buf_printf(&text, "%s%s: %s", i ? "\n\n" : "",
                       render_speaker(turns[i].role), turns[i].text);
    return cai_arena_strndup(&r->arena, text.data ? text.data : "", text.len);
}

const char *render_reasoned(struct cai_arena *arena, const struct constitution *c,
                            const char *reasons) {
    const struct constitution_frames *f = &c->frames;
    return cai_arena_printf(arena, "%s\n\n%s", answered(arena, f->reasoning_prefix, reasons),
                            f->reasoned_prefix);
}

static const char *question(struct rendering *r, const char *frame, const char *principle,
                            const struct turn *turns, size_t n, const char *a, const char *b) {
    const char *const pairs[] = {
        "conversation", transcript(r, turns, n), "principle", principle, "a", a, "b", b, NULL};
    return frame_fill(&r->arena, frame, pairs);
}

/* The worked examples of a choice with their answers, and the question itself; with reasons,
 * only the examples that give some. */
static void ask_choice(const struct constitution *c, const struct principle *p,
                       const struct turn *turns, size_t n, const char *a, const char *b,
                       bool reasoned, struct rendering *ret) {
    const struct constitution_frames *f = &c->frames;
    const char *frame = reasoned ? f->reasoned_choice : f->choice;
    *ret = (struct rendering){0};
    ret->messages =
        cai_arena_array(&ret->arena, 2 * c->n_choice_examples + 1, sizeof *ret->messages);
    for (size_t i = 0; i < c->n_choice_examples; i++) {
        const struct choice_example *e = &c->choice_examples[i];
        uint32_t rank = (uint32_t)(c->n_choice_examples - i);
        if (reasoned && !e->reasoning)
            continue;
        add(ret, "user", question(ret, frame, e->choice, e->turns, e->n_turns, e->a, e->b), "fewshot",
            rank);
        const char *before = reasoned ? render_reasoned(&ret->arena, c, e->reasoning)
                                      : f->choice_prefix;
        add(ret, "assistant",
            cai_arena_printf(&ret->arena, "%s%s", before, e->answer == 'A' ? f->option_a : f->option_b),
            "fewshot", rank);
    }
    add(ret, "user", question(ret, frame, p->choice ? p->choice : "", turns, n, a, b), "principle", 0);
    ret->prefix = cai_arena_strdup(&ret->arena, reasoned ? f->reasoning_prefix : f->choice_prefix);
    ret->options[0] = cai_arena_strdup(&ret->arena, f->option_a);
    ret->options[1] = cai_arena_strdup(&ret->arena, f->option_b);
}

void render_choice(const struct constitution *c, const struct principle *p,
                   const struct turn *turns, size_t n, const char *a, const char *b,
                   struct rendering *ret) {
    ask_choice(c, p, turns, n, a, b, false, ret);
}

void render_reasoned_choice(const struct constitution *c, const struct principle *p,
                            const struct turn *turns, size_t n, const char *a, const char *b,
                            struct rendering *ret) {
    ask_choice(c, p, turns, n, a, b, true, ret);
}

/* ---- critique as a skill --------------------------------------------------------------------- */
struct principle render_any(const struct constitution *c) {
    return (struct principle){.id = "", .critique = c->frames.any_critique,
                              .revision = c->frames.any_revision, .weight = 1, .enabled = true};
}

/* The conversation and one request, without few-shots. */
static void begin_bare(const struct turn *turns, size_t n, struct rendering *ret) {
    *ret = (struct rendering){0};
    ret->messages = cai_arena_array(&ret->arena, n + 4, sizeof *ret->messages);
    add_system(ret, turns, n);
    add_conversation(ret, turns, n);
}

static void set_options(const struct constitution *c, struct rendering *ret) {
    ret->prefix = cai_arena_strdup(&ret->arena, c->frames.verdict_prefix);
    ret->options[0] = cai_arena_strdup(&ret->arena, c->frames.option_yes);
    ret->options[1] = cai_arena_strdup(&ret->arena, c->frames.option_no);
}

void render_critiqueable(const struct constitution *c, const struct principle *p,
                         const struct turn *turns, size_t n, struct rendering *ret) {
    begin_bare(turns, n, ret);
    add(ret, "user", request(ret, c, c->frames.critiqueable, p->critique), "principle", 0);
    set_options(c, ret);
}

void render_helpful(const struct constitution *c, const struct principle *p,
                    const struct turn *turns, size_t n, const char *critique,
                    struct rendering *ret) {
    const struct constitution_frames *f = &c->frames;
    begin_bare(turns, n, ret);
    add(ret, "user", request(ret, c, f->critique, p->critique), "principle", 0);
    add(ret, "assistant", answered(&ret->arena, f->critique_prefix, critique), "model", 0);
    add(ret, "user", f->helpful, "principle", 0);
    set_options(c, ret);
}

void render_refinement(const struct constitution *c, const struct principle *p,
                       const struct turn *turns, size_t n, struct rendering *ret) {
    begin_bare(turns, n, ret);
    add(ret, "user", request(ret, c, c->frames.revision, p->revision), "principle", 0);
    ret->prefix = cai_arena_strdup(&ret->arena, c->frames.revision_prefix);
}

void render_tamper(const struct constitution *c, const struct principle *p,
                   const struct turn *turns, size_t n, struct rendering *ret) {
    begin_bare(turns, n, ret);
    add(ret, "user", request(ret, c, c->frames.tamper, p->critique), "principle", 0);
    ret->prefix = cai_arena_strdup(&ret->arena, c->frames.revision_prefix);
}

/* ---- debate ------------------------------------------------------------------------------------ */
/* Speeches of one side (0 = both) as text; `you` is the side they are shown to, 0 = the judge. */
static const char *speeches(struct rendering *r, const struct speech *said, size_t n, char only,
                            char you) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; i < n; i++) {
        const char *between = text.len ? (only ? " " : "\n") : "";
        if (only && said[i].side != only)
            continue;
        if (only)
            cai_buf_printf(&text, "%s%s", between, said[i].text);
        else if (you)
            cai_buf_printf(&text, "%s%s: %s", between, said[i].side == you ? "You" : "Against you",
                           said[i].text);
        else
            cai_buf_printf(&text, "%sFor (%c): %s", between, said[i].side, said[i].text);
    }
    return cai_arena_strndup(&r->arena, text.data ? text.data : "", text.len);
}

void render_debate(const struct constitution *c, const struct principle *p,
                   const struct turn *turns, size_t n, char side, const char *mine,
                   const char *other, const struct speech *said, size_t n_said,
                   struct rendering *ret) {
    *ret = (struct rendering){0};
    ret->messages = cai_arena_array(&ret->arena, n + 2, sizeof *ret->messages);
    struct turn *shown = cai_arena_array(&ret->arena, n + 1, sizeof *shown);
    memcpy(shown, turns, n * sizeof *turns);
    shown[n] = (struct turn){"assistant", other};
    add_system(ret, shown, n + 1);
    add_conversation(ret, shown, n + 1);
    const char *question = p->choice ? p->choice : "";
    const char *const pairs[] = {"principle", p->critique ? p->critique : question,
                                 "question", question, "mine", mine, "debate",
                                 n_said ? speeches(ret, said, n_said, 0, side) : "(nothing yet)",
                                 NULL};
    add(ret, "user", frame_fill(&ret->arena, c->frames.debate, pairs), "principle", 0);
    ret->prefix = cai_arena_strdup(&ret->arena, c->frames.debate_prefix);
}

void render_debated_choice(const struct constitution *c, const struct principle *p,
                           const struct turn *turns, size_t n, const char *a, const char *b,
                           const struct speech *said, size_t n_said, struct rendering *ret) {
    *ret = (struct rendering){0};
    ret->messages = cai_arena_array(&ret->arena, 1, sizeof *ret->messages);
    const char *const pairs[] = {"conversation", transcript(ret, turns, n), "principle",
                                 p->choice ? p->choice : "", "a", a, "b", b,
                                 "debate", speeches(ret, said, n_said, 0, 0),
                                 "said_a", speeches(ret, said, n_said, 'A', 0),
                                 "said_b", speeches(ret, said, n_said, 'B', 0), NULL};
    add(ret, "user", frame_fill(&ret->arena, c->frames.debated_choice, pairs), "principle", 0);
    ret->prefix = cai_arena_strdup(&ret->arena, c->frames.choice_prefix);
    ret->options[0] = cai_arena_strdup(&ret->arena, c->frames.option_a);
    ret->options[1] = cai_arena_strdup(&ret->arena, c->frames.option_b);
}

void rendering_free(struct rendering *r) {
    if (!r)
        return;
    cai_arena_free(&r->arena);
    *r = (struct rendering){0};
}
