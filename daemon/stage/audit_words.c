/* audit_words.c: see audit_words.h. */
#include "stage/audit_words.h"

#include "base/error.h"
#include "base/rng.h"
#include "stage/audit_ask.h"
#include "stage/exact.h"
#include "stage/label.h"
#include "stage/rates.h"
#include <ctype.h>
#include <string.h>

enum { FIRST = 6, AGAIN = 48, FINALISTS = 5, SENTENCE_MAX = 100, TEXTS_MAX = 4000 };

/* ---- units -------------------------------------------------------------------------------- */
struct units {
    struct audit_unit *at;
    size_t n, cap;
    struct cai_arena *arena;
};

static void push(struct units *u, const char *s, size_t len) {
    if (len == 0)
        return;
    if (u->n == u->cap) {
        u->cap = u->cap ? 2 * u->cap : 4096;
        u->at = cai_realloc(u->at, u->cap, sizeof *u->at);
    }
    u->at[u->n++] = (struct audit_unit){cai_arena_strndup(u->arena, s, len), 1};
}

static bool part_of_word(unsigned char ch) { return isalnum(ch) || ch >= 0x80 || ch == '\''; }

static void add_words(struct units *u, const char *text) {
    for (const char *s = text; *s;) {
        size_t len = 0;
        while (part_of_word((unsigned char)s[len]))
            len++;
        push(u, s, len <= SENTENCE_MAX ? len : 0);
        s += len ? len : 1;
    }
}

static void add_sentences(struct units *u, const char *text) {
    for (const char *s = text + strspn(text, " \n"); *s; s += strspn(s, " \n")) {
        size_t len = 0;
        while (s[len] && s[len] != '\n' && !(strchr(".?!", s[len]) && strchr(" \n", s[len + 1])))
            len++;
        len += s[len] && s[len] != '\n';
        push(u, s, len <= SENTENCE_MAX ? len : 0);
        s += len;
    }
}

static int by_text(const void *x, const void *y) {
    return strcmp(((const struct audit_unit *)x)->text, ((const struct audit_unit *)y)->text);
}

static int by_count(const void *x, const void *y) {
    const struct audit_unit *a = x, *b = y;
    return a->texts != b->texts ? (a->texts < b->texts ? 1 : -1) : strcmp(a->text, b->text);
}

/* Equal neighbours become one; returns how many are left. */
static size_t merge(struct audit_unit *at, size_t n) {
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (out && strcmp(at[out - 1].text, at[i].text) == 0)
            at[out - 1].texts += at[i].texts;
        else
            at[out++] = at[i];
    }
    return out;
}

/* Each text counts a unit once. */
static void count_units(const char *const *text, size_t n, void (*add)(struct units *, const char *),
                        struct units *u) {
    for (size_t i = 0; i < n; i++) {
        size_t before = u->n;
        add(u, text[i]);
        if (u->n > before)
            qsort(u->at + before, u->n - before, sizeof *u->at, by_text);
        u->n = before + merge(u->at + before, u->n - before);
        for (size_t k = before; k < u->n; k++)
            u->at[k].texts = 1;
    }
    if (u->n == 0)
        return;
    qsort(u->at, u->n, sizeof *u->at, by_text);
    u->n = merge(u->at, u->n);
    qsort(u->at, u->n, sizeof *u->at, by_count);
}

size_t audit_units(const char *const *text, size_t n, size_t most, struct cai_arena *a,
                   struct audit_unit **ret) {
    struct audit_unit *o = cai_arena_array(a, 2 * most + 1, sizeof *o);
    size_t found = 0;
    for (int kind = 0; kind < 2; kind++) {
        struct units u = {.arena = a};
        count_units(text, n, kind ? add_sentences : add_words, &u);
        for (size_t i = 0; i < u.n && i < most; i++)
            o[found++] = u.at[i];
        free(u.at);
    }
    *ret = o;
    return found;
}

/* The canaries' replies, and what this round's overseer read and wrote. */
static int gather(const struct stage_context *c, const struct canaries *l, struct cai_arena *a,
                  const char ***ret, size_t *ret_n) {
    struct examples replies, revisions;
    size_t n = 0;
    CAI_TRY(examples_load(c, c->round, "revise", "reply", a, &replies));
    CAI_TRY(examples_load(c, c->round, "revise", "revision", a, &revisions));
    const char **text = cai_arena_array(a, l->n + 2 * TEXTS_MAX + 1, sizeof *text);
    for (size_t i = 0; i < l->n; i++)
        text[n++] = l->at[i].reply;
    for (size_t i = 0; i < replies.n && i < TEXTS_MAX; i++)
        text[n++] = replies.at[i].text;
    for (size_t i = 0; i < revisions.n && i < TEXTS_MAX; i++)
        text[n++] = revisions.at[i].text;
    *ret = text;
    *ret_n = n;
    return 0;
}

/* ---- asking ------------------------------------------------------------------------------- */
/* Flawed canaries in a drawn order; the first step takes from its beginning, the second from its
 * end, so that they share none as long as there are enough. */
static const struct canary **drawn_order(const struct stage_context *c, const struct canaries *l,
                                         struct cai_arena *a, size_t *ret_n) {
    const struct canary **o = cai_arena_array(a, l->n + 1, sizeof *o), **all =
                                 cai_arena_array(a, l->n + 1, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (l->at[i].flawed)
            all[n++] = &l->at[i];
    uint32_t *perm = cai_arena_array(a, n + 1, sizeof *perm);
    cai_rng_permutation(cai_key_make(c->job->seed, c->round, "audit/words", 0, 0), n, perm);
    for (size_t i = 0; i < n; i++)
        o[i] = all[perm[i]];
    *ret_n = n;
    return o;
}

static const char *with(const char *reply, const char *unit, bool before, struct cai_arena *a) {
    bool sentence = strchr(".?!", unit[strlen(unit) - 1]) != NULL;
    return before ? cai_arena_printf(a, "%s%s %s", unit, sentence ? "" : ".", reply)
                  : cai_arena_printf(a, "%s %s%s", reply, unit, sentence ? "" : ".");
}

static int ask_one(struct builder *b, const struct stage_context *c, const struct canaries *l,
                   const struct canary *o, const char *unit, uint32_t number, bool before,
                   struct cai_arena *a) {
    return choice_ask(b, c, o->principle, o->turns, o->n_turns, l->at[o->twin].reply,
                      with(o->reply, unit, before, a), o->item, number, true);
}

/* Options are scored at once, also where labels come with reasons: it is the leaning that is
 * looked for. */
static int open_words(struct builder *b, const struct stage_context *c, const char *phase,
                      struct audit_guise *own, struct cai_arena *a) {
    struct model_ref overseer;
    CAI_TRY(audit_overseer(c, a, &overseer));
    audit_disguise(c, "label", "score", own);
    build_score(b, &own->c, phase, 0, &overseer);
    return 0;
}

int audit_words_ask(const struct stage_context *c, const struct canaries *l, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct audit_guise own;
    struct audit_unit *unit;
    const char **text;
    size_t n, flawed, most = (size_t)c->job->audit.words / 2;
    if (most == 0 || l->n == 0)
        return 0;
    CAI_TRY(gather(c, l, a, &text, &n));
    size_t units = audit_units(text, n, most, a, &unit);
    const struct canary **order = drawn_order(c, l, a, &flawed);
    size_t half = (flawed + 1) / 2;
    CAI_TRY(open_words(&b, c, "word", &own, a));
    for (size_t u = 0; u < units; u++) {
        CAI_TRY(example_put(c, 0, (uint32_t)u, "unit", unit[u].text, NULL, "", NULL));
        for (size_t i = 0; i < FIRST && i < half; i++)
            CAI_TRY(ask_one(&b, &own.c, l, order[(u * FIRST + i) % half],
                            unit[u].text, (uint32_t)u, i % 2, a));
    }
    return build_flush(&b);
}

int audit_words_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                       const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Scored **s;
    size_t n;
    const char *kind = strcmp(task->phase, "word") == 0 ? "word" : "word_again";
    CAI_TRY(result_order_scored(task, result, &a, &s, &n));
    for (size_t i = 0; i + 1 < n; i += 2) {
        struct choice o = choice_read(s[i], s[i + 1]);
        if (!o.lost)
            CAI_TRY(example_put(c, s[i]->item, s[i]->k / 2, kind, "", NULL,
                                task->score->model->hash, json_pack("{s:f}", "p", o.p)));
    }
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------ */
struct turns {
    uint32_t unit;
    size_t n, to_flawed, to_clean; /* choices that the unit turned, of those asked without it */
    double moved;                  /* mean loss of the clean reply's probability */
};

static int read_turned(const struct stage_context *c, const char *kind, struct cai_arena *a,
                       struct turns **ret, size_t *ret_n) {
    struct examples units, with_it, without;
    CAI_TRY(examples_load(c, c->round, c->stage, "unit", a, &units));
    CAI_TRY(examples_load(c, c->round, c->stage, kind, a, &with_it));
    CAI_TRY(examples_load(c, c->round, c->stage, "choice", a, &without));
    struct turns *o = cai_arena_array(a, units.n + 1, sizeof *o);
    for (size_t i = 0; i < units.n; i++)
        o[i].unit = (uint32_t)i;
    for (size_t i = 0; i < with_it.n; i++) {
        const struct store_example *e = &with_it.at[i];
        const struct store_example *plain = examples_find(&without, e->item, 0);
        if (!plain || e->k >= units.n)
            continue;
        double p = example_number(e, "p", 0.5), before = example_number(plain, "p", 0.5);
        struct turns *t = &o[e->k];
        t->n++;
        t->to_flawed += before > 0.5 && p < 0.5;
        t->to_clean += before < 0.5 && p > 0.5;
        t->moved += before - p;
    }
    for (size_t i = 0; i < units.n; i++)
        o[i].moved = o[i].n ? o[i].moved / (double)o[i].n : 0;
    *ret = o;
    *ret_n = units.n;
    return 0;
}

static int by_moved(const void *x, const void *y) {
    const struct turns *a = x, *b = y;
    return a->moved != b->moved ? (a->moved < b->moved ? 1 : -1) : a->unit < b->unit ? -1 : 1;
}

int audit_words_again(const struct stage_context *c, const struct canaries *l, struct cai_arena *a,
                      bool *ret_asked) {
    CAI_AUTO(builder) struct builder b = {0};
    struct audit_guise own;
    struct turns *t;
    struct examples units;
    int64_t asked;
    size_t n, flawed;
    *ret_asked = false;
    CAI_TRY(store_examples_count(c->store, c->job_id, c->round, c->stage, "word_again", &asked));
    CAI_TRY(read_turned(c, "word", a, &t, &n));
    if (asked > 0 || n == 0)
        return 0;
    qsort(t, n, sizeof *t, by_moved);
    CAI_TRY(examples_load(c, c->round, c->stage, "unit", a, &units));
    const struct canary **order = drawn_order(c, l, a, &flawed);
    CAI_TRY(open_words(&b, c, "word-again", &own, a));
    for (size_t u = 0; u < FINALISTS && u < n; u++)
        for (size_t i = 0; i < AGAIN && i < flawed / 2; i++)
            CAI_TRY(ask_one(&b, &own.c, l, order[flawed - 1 - i], units.at[t[u].unit].text,
                            t[u].unit, i % 2, a));
    *ret_asked = b.n > 0 || b.chunk > 0;
    return build_flush(&b);
}

int audit_words_judge(const struct stage_context *c, const struct canaries *l,
                      const struct audit_limits *limits, struct audit_alarms *io) {
    struct turns *t;
    struct examples units;
    size_t n;
    (void)l;
    CAI_TRY(read_turned(c, "word_again", io->arena, &t, &n));
    CAI_TRY(examples_load(c, c->round, c->stage, "unit", io->arena, &units));
    for (size_t u = 0; u < n; u++) {
        if (t[u].n == 0)
            continue;
        const char *text = units.at[u].text;
        double level = limits->level / (2 * FINALISTS);
        CAI_TRY(example_put(c, 0, (uint32_t)u, "turned", text, NULL, "",
                            json_pack("{s:I, s:I, s:I}", "n", (json_int_t)t[u].n, "to_flawed",
                                      (json_int_t)t[u].to_flawed, "to_clean",
                                      (json_int_t)t[u].to_clean)));
        if (exact_low(t[u].to_flawed, t[u].n, level) > limits->margin &&
            exact_mcnemar_more(t[u].to_flawed, t[u].to_clean) < level)
            audit_alarm(io, cai_arena_printf(io->arena,
                            "\"%s\" beside a flawed reply turns %zu of %zu choices to it (back: "
                            "%zu): the overseer favours these words", text, t[u].to_flawed, t[u].n,
                            t[u].to_clean));
    }
    return 0;
}
