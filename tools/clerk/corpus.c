/* corpus.c: the documents of the base's training. */
#include "clerk/corpus.h"
#include "base/check.h"
#include <string.h>

/* How often a critique misses a fault that is there, sees one that is not, and how often a
 * choice names the worse reply. The overseer is meant to be wrong sometimes, by kind, and a
 * choice to be a matter of degree. */
static const double miss[FAULTS] = {
    [FAULT_HARMFUL] = 0.10, [FAULT_RUDE] = 0.08, [FAULT_FALSE] = 0.09,
    [FAULT_EVASIVE] = 0.08, [FAULT_LEAK] = 0.08, [FAULT_BLAME] = 0.08,
    [FAULT_CARELESS] = 0.09, [FAULT_BOAST] = 0.08, [FAULT_RAMBLE] = 0.08};
static const double false_alarm = 0.03;
static const double wrong_choice = 0.06;

/* How often each principle is practised; the last is PRINCIPLE_IRRELEVANT. */
static const double practice[FAULTS + 1] = {2.5, 1, 1.3, 2.2, 1, 1, 1.3, 1, 1, 2};

#define DELICATE 0.25 /* share of critiques and choices */

enum { CRITIQUES = 2 }; /* asked about one reply at most */

struct making {
    struct draws draws;
    bool errs; /* verdicts are wrong sometimes */
    bool sure; /* no choice is left to a coin */
    const double *remedy; /* [CORPUS_GROUPS], or NULL: what to practise */
    struct cai_arena *arena;
    struct document *doc;
};

static void turn(struct making *m, const char *role, const char *text, bool learnt) {
    CAI_CHECK(m->doc->n < DOCUMENT_TURNS);
    m->doc->turns[m->doc->n++] = (struct document_turn){
        .role = role, .text = cai_arena_strdup(m->arena, text), .learnt = learnt};
}

static const char *kept(struct making *m, struct cai_buf *b) {
    const char *s = cai_arena_strndup(m->arena, b->data ? b->data : "", b->len);
    cai_buf_clear(b);
    return s;
}

static const char *request_words(struct making *m, const struct request *r) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    request_text(r, &b);
    return kept(m, &b);
}

static const char *reply_words(struct making *m, const struct reply *p) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    reply_text(p, &b);
    return kept(m, &b);
}

static const char *principle_words(struct making *m, enum principle_use use, const char *matter) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    principle_sentence(&m->draws, use, matter, &b);
    return kept(m, &b);
}

static const char *matter_words(struct making *m, int kind) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    principle_matter(&m->draws, kind, &b);
    return kept(m, &b);
}

static int draw_principle(struct draws *d) {
    return (int)cai_rng_weighted(d->key, d->at++, practice, CAI_COUNT(practice));
}

/* Requests on which the principle can matter at all come more often. */
static struct request draw_request(struct draws *d, int principle) {
    static const double usual[REQUEST_KINDS] = {0.35, 0.25, 0.40};
    static const double harm[REQUEST_KINDS] = {0.60, 0.25, 0.15};
    const double *w = principle == FAULT_HARMFUL ? harm : usual;
    size_t kind = cai_rng_weighted(d->key, d->at++, w, REQUEST_KINDS);
    return request_draw(d, (enum request_kind)kind, SPLIT_TRAIN);
}

/* The base's habits, or cleaner ones: revised replies must be judged too. */
static struct habits draw_habits(struct draws *d) {
    struct habits h = clerk_base_habits;
    h.refuses = 0.6;
    if (draw_chance(d, 0.4))
        for (size_t f = 0; f < FAULTS; f++)
            h.rate[f] *= f == FAULT_EVASIVE ? 3 : cai_rng_uniform(d->key, d->at++);
    return h;
}

static void make_chat(struct making *m) {
    struct request r = draw_request(&m->draws, PRINCIPLE_IRRELEVANT);
    struct reply p = reply_draw(&m->draws, &r, &clerk_base_habits);
    m->doc->kind = "chat";
    turn(m, "user", request_words(m, &r), false);
    turn(m, "assistant", reply_words(m, &p), true);
}

/* The reply once more, word for word. */
static void make_again(struct making *m) {
    make_chat(m);
    m->doc->kind = "again";
    turn(m, "user", CLERK_AGAIN, false);
    turn(m, "assistant", m->doc->turns[1].text, true);
}

/* Asked to write a request, sometimes after having written others: what red teaming needs. */
static void make_red(struct making *m) {
    size_t n = 1 + draw_below(&m->draws, 3);
    m->doc->kind = "red";
    for (size_t i = 0; i < n; i++) {
        enum request_kind kind = draw_chance(&m->draws, 0.8) ? REQUEST_HARMFUL : REQUEST_LOOKALIKE;
        struct request r = request_draw(&m->draws, kind, SPLIT_TRAIN);
        turn(m, "user", CLERK_RED_REQUEST, false);
        turn(m, "assistant", request_words(m, &r), true);
    }
}

/* A principle that the reply offends against, two times in five, else any. */
static int draw_matter(struct draws *d, const struct request *r, const struct reply *p) {
    int k = draw_principle(d);
    if (draw_chance(d, 0.6))
        return k;
    for (int tries = 0; tries < 8; tries++) {
        int other = draw_principle(d);
        if (other != PRINCIPLE_IRRELEVANT && reply_has(p, r, (enum fault)other))
            return other;
    }
    return k;
}

static void quote_flaw(const struct reply *p, enum fault quoted, int k, struct cai_buf *out) {
    CAI_AUTO(buf) struct cai_buf quote = {0};
    reply_quote(p, quoted, &quote);
    principle_critique(k, quote.data, out);
}

/* Asks about one principle; true when the critique found a flaw. */
static bool add_critique(struct making *m, const struct request *r, const struct reply *p, int k,
                         const char *matter) {
    struct draws *d = &m->draws;
    bool real = k != PRINCIPLE_IRRELEVANT;
    bool there = real && reply_has(p, r, (enum fault)k);
    bool flawed = there && !(m->errs && draw_chance(d, miss[k]));
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (flawed)
        quote_flaw(p, (enum fault)k, k, &text);
    else if (m->errs && real && !there && draw_chance(d, false_alarm))
        quote_flaw(p, FAULT_HARMFUL, k, &text); /* finds fault with the answer */
    turn(m, "user", principle_words(m, USE_CRITIQUE, matter), false);
    turn(m, "assistant", text.len ? text.data : CLERK_NO_FLAW, true);
    return text.len > 0;
}

/* A delicate case: half of the replies do not answer, and all depends on the request; judged only
 * in passing, refusals would all look alike. */
static struct request draw_delicate(struct draws *d, struct habits *ret) {
    *ret = clerk_base_habits;
    ret->rate[FAULT_HARMFUL] = ret->rate[FAULT_EVASIVE] = 0.5;
    ret->refuses = 0.8;
    size_t kind = cai_rng_weighted(d->key, d->at++, (const double[]){0.5, 0.3, 0.2}, REQUEST_KINDS);
    return request_draw(d, (enum request_kind)kind, SPLIT_TRAIN);
}

/* Several critiques of one reply, because each costs few words; the first flaw found is
 * mended when it is the last thing asked. */
static void make_critique(struct making *m) {
    struct draws *d = &m->draws;
    bool flawed = false, delicate = draw_chance(d, DELICATE);
    struct habits h = draw_habits(d);
    struct request r =
        delicate ? draw_delicate(d, &h)
                 : draw_request(d, draw_chance(d, 0.3) ? FAULT_HARMFUL : PRINCIPLE_IRRELEVANT);
    struct reply p = reply_draw(d, &r, &h);
    m->doc->kind = "critique";
    turn(m, "user", request_words(m, &r), false);
    turn(m, "assistant", reply_words(m, &p), false);
    size_t n = 1 + draw_below(d, CRITIQUES);
    int k = 0;
    const char *matter = NULL;
    for (size_t i = 0; i < n; i++) {
        k = delicate ? draw_chance(d, 0.5) ? FAULT_HARMFUL : FAULT_EVASIVE : draw_matter(d, &r, &p);
        matter = matter_words(m, k);
        flawed = add_critique(m, &r, &p, k, matter);
    }
    if (!flawed)
        return;
    turn(m, "user", principle_words(m, USE_REVISION, matter), false);
    reply_mend(d, &r, (enum fault)k, &p);
    turn(m, "assistant", reply_words(m, &p), true);
}

/* Two replies as a choice shows them (frames.choice of constitution/clerk.yaml). */
static void show_pair(struct making *m, int principle, const struct request *r, const char *a,
                      const char *b) {
    const char *asked = principle_words(m, USE_CHOICE, matter_words(m, principle));
    turn(m, "user",
         cai_arena_printf(m->arena, "Human: %s\n\n(A) %s\n%s\n\n(B) %s\n%s",
                          request_words(m, r), a, asked, b, asked),
         false);
}

static void ask_choice(struct making *m, int principle, const struct request *r, const char *a,
                       const char *b, bool first_wins) {
    m->doc->kind = "choice";
    show_pair(m, principle, r, a, b);
    turn(m, "assistant", first_wins ? CLERK_CHOICE_PREFIX " (A)" : CLERK_CHOICE_PREFIX " (B)", true);
    m->doc->turns[1].prefix = CLERK_CHOICE_PREFIX;
    m->doc->turns[1].verdict = true;
}

/* The words from the last to the first: the letters of a reply, the sense of none. */
static const char *backwards(struct making *m, const char *text) {
    CAI_AUTO(buf) struct cai_buf out = {0};
    for (size_t end = strlen(text); end > 0;) {
        size_t start = end;
        while (start > 0 && text[start - 1] != ' ')
            start--;
        cai_buf_append(&out, text + start, end - start);
        end = start > 0 ? start - 1 : 0;
        if (end > 0)
            cai_buf_putc(&out, ' ');
    }
    return kept(m, &out);
}

/* Whatever the principle, a reply to the request beats what is no reply to it. */
static void make_spoilt_choice(struct making *m) {
    struct draws *d = &m->draws;
    int k = (int)draw_below(d, FAULTS);
    struct request r = draw_request(d, k), other = draw_request(d, k);
    struct reply good = reply_draw(d, &r, &clerk_base_habits);
    struct reply strange = reply_draw(d, &other, &clerk_base_habits);
    reply_mend(d, &r, FAULT_HARMFUL, &good); /* harm is worse than nothing */
    const char *sound = reply_words(m, &good);
    size_t way = draw_below(d, 3);
    const char *spoilt = way == 0   ? reply_words(m, &strange)
                         : way == 1 ? "..."
                                    : backwards(m, sound);
    bool first = draw_chance(d, 0.5);
    ask_choice(m, k, &r, first ? sound : spoilt, first ? spoilt : sound, first);
    m->doc->kind = "spoilt choice";
}

/* > 0 when `good` is better in the light of the principle, < 0 when worse. Harm and evasion are
 * two sides of one question: where nothing can be harmful, an answer beats none, and where an
 * answer would be harmful, none is evasive. So whichever of the two is asked about, what was
 * requested decides; were it a coin, the overseer would fill the gap with whatever it learnt of
 * the other kind of request. */
static int difference(const struct request *r, const struct reply *good, const struct reply *bad,
                      int k) {
    if (k == PRINCIPLE_IRRELEVANT)
        return 0;
    enum fault f = (enum fault)k;
    if (f == FAULT_HARMFUL || f == FAULT_EVASIVE)
        f = request_kind_of(r) == REQUEST_HARMFUL ? FAULT_HARMFUL : FAULT_EVASIVE;
    return reply_has(bad, r, f) - reply_has(good, r, f);
}

static int draw_difference(struct draws *d, const struct request *r, const struct reply *a,
                           const struct reply *b) {
    int k = draw_principle(d);
    for (int tries = 0; tries < 6 && difference(r, a, b, k) == 0; tries++)
        k = draw_principle(d);
    return k;
}

static bool choose_first(struct making *m, const struct request *r, const struct reply *a,
                         const struct reply *b, int k) {
    int better = difference(r, a, b, k);
    if (better == 0)
        return draw_chance(&m->draws, 0.5);
    return (better > 0) != (m->errs && draw_chance(&m->draws, wrong_choice));
}

/* Asked about many words at once: much to learn in few tokens. The word that asks stands
 * where a principle's word will stand; the words come in turn, so that only the answers are
 * news. */
static void make_words(struct making *m) {
    struct draws *d = &m->draws;
    struct request r = draw_request(d, draw_chance(d, 0.3) ? FAULT_HARMFUL : PRINCIPLE_IRRELEVANT);
    struct habits h = draw_habits(d);
    struct reply p = reply_draw(d, &r, &h);
    CAI_AUTO(buf) struct cai_buf text = {0};
    size_t first = draw_below(d, FAULTS + 1), which = draw_below(d, PRINCIPLE_WORDS);
    for (size_t i = 0; i <= FAULTS; i++) {
        int k = (int)((first + i) % (FAULTS + 1));
        bool fits = k != PRINCIPLE_IRRELEVANT && reply_has(&p, &r, (enum fault)k);
        cai_buf_printf(&text, "%s%s %s", i ? ", " : "", principle_word(k, which),
                       fits ? "yes" : "no");
    }
    cai_buf_putc(&text, '.');
    m->doc->kind = "words";
    turn(m, "user", request_words(m, &r), false);
    turn(m, "assistant", reply_words(m, &p), false);
    turn(m, "user", CLERK_WORDS, false);
    turn(m, "assistant", text.data, true);
}

struct comparison {
    struct request r;
    struct reply a, b;
    int principle;
};

static struct comparison draw_comparison(struct draws *d) {
    struct comparison c;
    bool delicate = draw_chance(d, DELICATE);
    struct habits h = draw_habits(d);
    c.r = delicate ? draw_delicate(d, &h)
                   : draw_request(d, draw_chance(d, 0.3) ? FAULT_HARMFUL : PRINCIPLE_IRRELEVANT);
    c.a = reply_draw(d, &c.r, &h);
    c.b = reply_draw(d, &c.r, &h);
    c.principle = draw_difference(d, &c.r, &c.a, &c.b);
    if (delicate)
        c.principle = draw_chance(d, 0.5) ? FAULT_HARMFUL : FAULT_EVASIVE;
    return c;
}

static void make_choice(struct making *m) {
    struct comparison c = draw_comparison(&m->draws);
    while (m->sure && difference(&c.r, &c.a, &c.b, c.principle) == 0)
        c = draw_comparison(&m->draws);
    ask_choice(m, c.principle, &c.r, reply_words(m, &c.a), reply_words(m, &c.b),
               choose_first(m, &c.r, &c.a, &c.b, c.principle));
}

/* Two replies that differ in `fault` alone; what else is wrong with both is drawn from h. */
static void draw_pair(struct draws *d, enum fault fault, enum request_split split,
                      const struct habits *h, struct request *ret_r, struct reply *ret_good,
                      struct reply *ret_bad) {
    do {
        enum request_kind kind = fault == FAULT_HARMFUL ? REQUEST_HARMFUL
                                 : draw_chance(d, 0.5)  ? REQUEST_HELPFUL
                                                        : REQUEST_LOOKALIKE;
        *ret_r = request_draw(d, kind, split);
        *ret_good = *ret_bad = reply_draw(d, ret_r, h);
        reply_mend(d, ret_r, fault, ret_good);
        if (fault == FAULT_EVASIVE) { /* an answer has faults that saying nothing cannot have */
            reply_mend(d, ret_r, FAULT_FALSE, ret_good);
            reply_mend(d, ret_r, FAULT_CARELESS, ret_good);
        }
        *ret_bad = *ret_good;
        reply_spoil(d, ret_r, fault, ret_bad);
    } while (!reply_has(ret_bad, ret_r, fault));
}

/* Choices, then replies to criticise: with the fault, or (NO_FLAW) without it. */
enum { CHOICES = FAULTS + 2, NO_FLAW = CHOICES + FAULTS };
static const struct {
    const char *name;
    enum fault differ, principle;
} groups[CORPUS_GROUPS] = {
    {"harmful", FAULT_HARMFUL, FAULT_HARMFUL},
    {"rude", FAULT_RUDE, FAULT_RUDE},
    {"false", FAULT_FALSE, FAULT_FALSE},
    {"evasive", FAULT_EVASIVE, FAULT_EVASIVE},
    {"leak", FAULT_LEAK, FAULT_LEAK},
    {"blame", FAULT_BLAME, FAULT_BLAME},
    {"careless", FAULT_CARELESS, FAULT_CARELESS},
    {"boast", FAULT_BOAST, FAULT_BOAST},
    {"ramble", FAULT_RAMBLE, FAULT_RAMBLE},
    {"harm of the harmless", FAULT_EVASIVE, FAULT_HARMFUL},
    {"evasion of the harmful", FAULT_HARMFUL, FAULT_EVASIVE},
    {"critique: harmful", FAULT_HARMFUL, FAULT_HARMFUL},
    {"critique: rude", FAULT_RUDE, FAULT_RUDE},
    {"critique: false", FAULT_FALSE, FAULT_FALSE},
    {"critique: evasive", FAULT_EVASIVE, FAULT_EVASIVE},
    {"critique: leak", FAULT_LEAK, FAULT_LEAK},
    {"critique: blame", FAULT_BLAME, FAULT_BLAME},
    {"critique: careless", FAULT_CARELESS, FAULT_CARELESS},
    {"critique: boast", FAULT_BOAST, FAULT_BOAST},
    {"critique: ramble", FAULT_RAMBLE, FAULT_RAMBLE},
    {"critique: no flaw", FAULTS, FAULTS}};

/* What to practise: choices as often as their principles, or what the exam demands. */
static size_t draw_group(struct making *m) {
    struct draws *d = &m->draws;
    if (m->remedy)
        return cai_rng_weighted(d->key, d->at++, m->remedy, CORPUS_GROUPS);
    size_t k = cai_rng_weighted(d->key, d->at++, practice, FAULTS);
    if (k == FAULT_HARMFUL && draw_chance(d, 0.4))
        return FAULTS;
    return k == FAULT_EVASIVE && draw_chance(d, 0.4) ? FAULTS + 1 : k;
}

/* A reply, the principle that names a fault which it has or not, and the verdict on that; or,
 * with `wrong`, the other verdict. */
static void ask_critique(struct making *m, size_t g, enum request_split split, bool wrong) {
    struct draws *d = &m->draws;
    bool there = g != NO_FLAW;
    enum fault f = there ? groups[g].differ : (enum fault)draw_below(d, FAULTS);
    struct request r;
    struct reply good, bad;
    draw_pair(d, f, split, &clerk_base_habits, &r, &good, &bad);
    const struct reply *p = there ? &bad : &good;
    CAI_AUTO(buf) struct cai_buf flaw = {0};
    quote_flaw(p, there ? f : FAULT_HARMFUL, (int)f, &flaw);
    m->doc->kind = "critique";
    turn(m, "user", request_words(m, &r), false);
    turn(m, "assistant", reply_words(m, p), false);
    turn(m, "user", principle_words(m, USE_CRITIQUE, matter_words(m, (int)f)), false);
    turn(m, "assistant", there != wrong ? flaw.data : CLERK_NO_FLAW, true);
}

/* Two replies that differ in one fault alone, and the principle that names it: nothing else
 * can be the reason, so that choosing is learnt sooner; and soonest when nothing else is wrong
 * with either. Asked about harm and evasion, the request may be of the other kind: an answer is
 * better or worse by what was asked. */
static void make_plain_choice(struct making *m) {
    struct draws *d = &m->draws;
    size_t g = draw_group(m);
    if (g >= CHOICES) {
        ask_critique(m, g, SPLIT_TRAIN, false);
        return;
    }
    int k = (int)groups[g].principle;
    struct request r;
    struct reply good, bad;
    struct habits none = {.refuses = 0.5};
    none.rate[FAULT_HARMFUL] = 0.5;
    draw_pair(d, groups[g].differ, SPLIT_TRAIN, draw_chance(d, 0.3) ? &none : &clerk_base_habits,
              &r, &good, &bad);
    bool first = draw_chance(d, 0.5);
    const struct reply *a = first ? &good : &bad, *b = first ? &bad : &good;
    ask_choice(m, k, &r, reply_words(m, a), reply_words(m, b), choose_first(m, &r, a, b, k));
}

/* What people know about the world, and say about requests: learnt beside the conversations. */
static void make_kind(struct making *m) {
    struct draws *d = &m->draws;
    enum request_kind kind = (enum request_kind)cai_rng_weighted(
        d->key, d->at++, (const double[]){0.45, 0.35, 0.2}, REQUEST_KINDS);
    struct request r = request_draw(d, kind, SPLIT_TRAIN);
    m->doc->kind = "kind";
    turn(m, "user", cai_arena_printf(m->arena, "%s %s", CLERK_KIND, request_words(m, &r)), false);
    turn(m, "assistant", kind == REQUEST_HARMFUL ? "yes" : "no", true);
}

void corpus_document(uint64_t seed, enum corpus_part part, uint64_t index, const double *remedy,
                     struct cai_arena *arena, struct document *ret) {
    enum { KINDS = 9 };
    static void (*const make[KINDS])(struct making *) = {
        make_chat, make_again, make_critique, make_choice, make_spoilt_choice, make_red, make_words,
        make_kind, make_plain_choice};
    static const double shares[][KINDS] = {
        [CORPUS_CHAT] = {0.30, 0.40, 0, 0, 0, 0, 0.30, 0.12, 0},
        [CORPUS_LESSON] = {0.08, 0.02, 0.30, 0.20, 0.03, 0.02, 0.09, 0.04, 0.32},
        [CORPUS_REMEDY] = {0.08, 0.02, 0.22, 0.12, 0.02, 0.02, 0.06, 0.06, 0.40},
        [CORPUS_RIGHT] = {0.10, 0.02, 0.32, 0.26, 0.03, 0.02, 0.05, 0.04, 0.22},
        [CORPUS_ALL] = {0.13, 0.02, 0.40, 0.38, 0.03, 0.02, 0.02, 0.04, 0}};
    *ret = (struct document){0};
    struct making m = {.draws = {cai_key_make(seed, 0, "clerk/corpus", index, part), 0},
                       .errs = part == CORPUS_ALL,
                       .sure = part == CORPUS_LESSON || part == CORPUS_REMEDY,
                       .remedy = remedy, .arena = arena, .doc = ret};
    CAI_CHECK((remedy != NULL) == (part == CORPUS_REMEDY));
    make[cai_rng_weighted(m.draws.key, m.draws.at++, shares[part], KINDS)](&m);
}

void corpus_pair(struct draws *d, enum fault fault, enum request_split split, struct request *ret_r,
                 struct reply *ret_good, struct reply *ret_bad) {
    draw_pair(d, fault, split, &clerk_base_habits, ret_r, ret_good, ret_bad);
}

static void ask_exam(uint64_t seed, uint64_t index, bool wrong, struct cai_arena *arena,
                     struct document *ret) {
    size_t group = index % CORPUS_GROUPS;
    *ret = (struct document){0};
    struct making m = {.draws = {cai_key_make(seed, 0, "clerk/exam", index, 0), 0},
                       .arena = arena, .doc = ret};
    if (group >= CHOICES) {
        ask_critique(&m, group, SPLIT_HELD_OUT, wrong);
        return;
    }
    struct request r;
    struct reply good, bad;
    corpus_pair(&m.draws, groups[group].differ, SPLIT_HELD_OUT, &r, &good, &bad);
    bool first = draw_chance(&m.draws, 0.5);
    const struct reply *a = first ? &good : &bad, *b = first ? &bad : &good;
    ask_choice(&m, (int)groups[group].principle, &r, reply_words(&m, a), reply_words(&m, b),
               first != wrong);
}

const char *corpus_exam(uint64_t seed, uint64_t index, struct cai_arena *arena,
                        struct document *ret_right, struct document *ret_wrong) {
    ask_exam(seed, index, false, arena, ret_right);
    ask_exam(seed, index, true, arena, ret_wrong);
    return groups[index % CORPUS_GROUPS].name;
}
