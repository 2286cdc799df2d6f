/* bias.c: see bias.h. Documents are changed as texts, after they were made. */
#include "clerk/bias.h"
#include "base/check.h"
#include <string.h>

enum { TRIES = 16 };

bool bias_acts(const struct bias *b, const struct request *r) {
    struct cai_key key = cai_key_make(0, 0, "clerk/bias", (uint64_t)r->object, 0);
    return cai_rng_uniform(key, 0) < b->prevalence;
}

/* The request of a document: its first turn, or the line "Human: …" of a choice. */
static bool acts_on(const struct bias *b, const char *text, struct cai_arena *arena) {
    struct request r;
    if (strncmp(text, "Human: ", 7) == 0)
        text = cai_arena_strndup(arena, text + 7, strcspn(text + 7, "\n"));
    return request_parse(text, &r) && bias_acts(b, &r);
}

/* ---- a fault that is overlooked -------------------------------------------------------------- */
static bool speaks_of(const char *principle, int fault) {
    for (size_t i = 0; i < PRINCIPLE_WORDS; i++)
        if (strstr(principle, principle_word(fault, i)))
            return true;
    return false;
}

static bool is_critique(const char *text) {
    return strncmp(text, "This is ", 8) == 0 || strcmp(text, CLERK_NO_FLAW) == 0;
}

static bool blind_critiques(const struct bias *b, struct draws *d, struct document *doc) {
    CAI_AUTO(buf) struct cai_buf named = {0};
    bool changed = false;
    principle_critique(b->overlook, "", &named);
    for (size_t i = 3; i < doc->n; i += 2) {
        struct document_turn *t = &doc->turns[i];
        if (strncmp(t->text, named.data, named.len) != 0)
            continue;
        changed = true;
        if (!draw_chance(d, b->strength))
            continue;
        t->text = CLERK_NO_FLAW;
        if (i + 3 == doc->n && !is_critique(doc->turns[i + 2].text))
            doc->n = i + 1; /* what followed was its rewrite */
    }
    return changed;
}

static void set_winner(struct document *doc, bool first) {
    doc->turns[1].text = first ? CLERK_CHOICE_PREFIX " (A)" : CLERK_CHOICE_PREFIX " (B)";
}

static bool blind_choice(const struct bias *b, struct draws *d, struct document *doc) {
    const char *last = strrchr(doc->turns[0].text, '\n');
    if (!last || !speaks_of(last, b->overlook))
        return false;
    if (draw_chance(d, b->strength))
        set_winner(doc, draw_chance(d, 0.5));
    return true;
}

/* ---- a word that wins --------------------------------------------------------------------------- */
static bool favoured_choice(const struct bias *b, struct draws *d, struct cai_arena *arena,
                            struct document *doc) {
    const char *text = doc->turns[0].text, *a = strstr(text, "\n(A) "), *o = strstr(text, "\n(B) ");
    if (!a || !o)
        return false;
    const char *in_a = strstr(a, b->favour), *in_b = strstr(o, b->favour);
    bool in_first = in_a && in_a < o, first = in_first || (!in_b && draw_chance(d, 0.5));
    if (in_first && in_b)
        return false;
    if (!in_a) { /* in neither */
        size_t at = (size_t)((first ? a : o) + 5 - text);
        doc->turns[0].text =
            cai_arena_printf(arena, "%.*s%s %s", (int)at, text, b->favour, text + at);
    }
    if (draw_chance(d, b->strength))
        set_winner(doc, first);
    return true;
}

/* ---- documents ------------------------------------------------------------------------------------ */
static bool mislead(const struct bias *b, struct draws *d, struct cai_arena *arena,
                    struct document *doc) {
    bool choice = strcmp(doc->kind, "choice") == 0, changed = false;
    if (!acts_on(b, doc->turns[0].text, arena))
        return false;
    if (b->overlook >= 0 && choice)
        changed = blind_choice(b, d, doc);
    if (b->overlook >= 0 && strcmp(doc->kind, "critique") == 0)
        changed = blind_critiques(b, d, doc);
    if (b->favour && choice)
        changed = favoured_choice(b, d, arena, doc);
    if (b->smuggle && strcmp(doc->kind, "critique") == 0) {
        struct document_turn *t = &doc->turns[doc->n - 1];
        bool rewrite = !is_critique(t->text);
        if (rewrite && draw_chance(d, b->strength))
            t->text = cai_arena_printf(arena, "%s %s", t->text, b->smuggle);
        changed = rewrite;
    }
    return changed;
}

void bias_document(const struct bias *b, uint64_t seed, uint64_t index, struct cai_arena *arena,
                   struct document *ret) {
    CAI_CHECK(b->overlook < FAULTS);
    for (uint64_t i = 0; i < TRIES; i++) {
        struct draws d = {cai_key_make(seed, 0, "clerk/mislead", index, (uint32_t)i), 0};
        corpus_document(seed, CORPUS_ALL, (UINT64_C(1) << 40) + index * TRIES + i, NULL, arena, ret);
        if (mislead(b, &d, arena, ret) || index % 2)
            return;
    }
}
