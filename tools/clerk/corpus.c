/* corpus.c: the documents of the base's training. */
#include "clerk/corpus.h"
#include "base/check.h"
#include <string.h>

/* How often a critique misses a fault that is there, sees one that is not, and how often a
 * choice names the worse reply. The overseer is meant to be wrong sometimes, by kind. */
static const double miss[FAULTS] = {
    [FAULT_HARMFUL] = 0.14, [FAULT_RUDE] = 0.08,     [FAULT_FALSE] = 0.15,
    [FAULT_EVASIVE] = 0.10, [FAULT_LEAK] = 0.10,     [FAULT_BLAME] = 0.10,
    [FAULT_CARELESS] = 0.15, [FAULT_BOAST] = 0.08,   [FAULT_RAMBLE] = 0.10};
static const double false_alarm = 0.04;
static const double wrong_choice[FAULTS] = {
    [FAULT_HARMFUL] = 0.08, [FAULT_RUDE] = 0.08,     [FAULT_FALSE] = 0.12,
    [FAULT_EVASIVE] = 0.10, [FAULT_LEAK] = 0.10,     [FAULT_BLAME] = 0.10,
    [FAULT_CARELESS] = 0.12, [FAULT_BOAST] = 0.08,   [FAULT_RAMBLE] = 0.10};

/* How often each principle is practised; the last is PRINCIPLE_IRRELEVANT. */
static const double practice[FAULTS + 1] = {2, 1, 1.3, 1, 1, 1, 1.3, 1, 1, 1.2};

struct making {
    struct draws draws;
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
static struct habits draw_habits(struct draws *d, double usual, bool *ret_usual) {
    struct habits h = clerk_base_habits;
    *ret_usual = draw_chance(d, usual);
    if (!*ret_usual)
        for (size_t f = 0; f < FAULTS; f++)
            h.rate[f] *= f == FAULT_EVASIVE ? 1.5 : cai_rng_uniform(d->key, d->at++);
    return h;
}

static void make_chat(struct making *m) {
    struct request r = draw_request(&m->draws, PRINCIPLE_IRRELEVANT);
    struct reply p = reply_draw(&m->draws, &r, &clerk_base_habits);
    m->doc->kind = "chat";
    turn(m, "user", request_words(m, &r), false);
    turn(m, "assistant", reply_words(m, &p), true);
}

static void make_critique(struct making *m) {
    struct draws *d = &m->draws;
    int k = draw_principle(d);
    bool real = k != PRINCIPLE_IRRELEVANT, usual;
    struct request r = draw_request(d, k);
    struct habits h = draw_habits(d, 0.5, &usual);
    struct reply p = reply_draw(d, &r, &h);
    if (real && draw_chance(d, 0.4)) { /* enough faulty ones to learn from */
        reply_spoil(d, &r, (enum fault)k, &p);
        usual = false;
    }
    m->doc->kind = "critique";
    turn(m, "user", request_words(m, &r), false);
    turn(m, "assistant", reply_words(m, &p), usual);
    const char *matter = matter_words(m, k);
    turn(m, "user", principle_words(m, USE_CRITIQUE, matter), false);
    bool there = real && reply_has(&p, &r, (enum fault)k);
    bool flawed = there ? !draw_chance(d, miss[k]) : real && draw_chance(d, false_alarm);
    turn(m, "assistant", flawed ? principle_critique(d, k) : CLERK_NO_FLAW, true);
    if (!flawed)
        return;
    turn(m, "user", principle_words(m, USE_REVISION, matter), false);
    reply_mend(d, &r, (enum fault)k, &p);
    turn(m, "assistant", reply_words(m, &p), true);
}

static const char *choice_words(struct making *m, const char *principle, const struct request *r,
                                const struct reply *a, const struct reply *b) {
    return cai_arena_printf(m->arena, "%s\n\nHuman: %s\n\n(A) %s\n(B) %s", principle,
                            request_words(m, r), reply_words(m, a), reply_words(m, b));
}

static void make_choice(struct making *m) {
    struct draws *d = &m->draws;
    int k = draw_principle(d);
    bool real = k != PRINCIPLE_IRRELEVANT, usual;
    struct request r = draw_request(d, k);
    struct habits h = draw_habits(d, 0.5, &usual);
    struct reply good = reply_draw(d, &r, &h), bad = reply_draw(d, &r, &h);
    if (draw_chance(d, 0.3))
        bad = good;
    if (real && draw_chance(d, 0.8)) {
        reply_spoil(d, &r, (enum fault)k, &bad);
        reply_mend(d, &r, (enum fault)k, &good);
    }
    int difference = real ? reply_has(&bad, &r, (enum fault)k) - reply_has(&good, &r, (enum fault)k)
                          : 0;
    bool first_wins = difference > 0 || (difference == 0 && draw_chance(d, 0.5));
    if (difference != 0 && draw_chance(d, wrong_choice[k]))
        first_wins = !first_wins;
    bool swap = draw_chance(d, 0.5);
    m->doc->kind = "choice";
    turn(m, "user",
         choice_words(m, principle_words(m, USE_CHOICE, matter_words(m, k)), &r,
                      swap ? &bad : &good, swap ? &good : &bad),
         false);
    turn(m, "assistant", first_wins != swap ? CLERK_CHOICE_PREFIX " (A)" : CLERK_CHOICE_PREFIX " (B)",
         true);
    m->doc->turns[1].prefix = CLERK_CHOICE_PREFIX;
}

void corpus_document(uint64_t seed, uint64_t index, struct cai_arena *arena, struct document *ret) {
    static const double share[] = {0.15, 0.50, 0.35};
    static void (*const make[])(struct making *) = {make_chat, make_critique, make_choice};
    *ret = (struct document){0};
    struct making m = {{cai_key_make(seed, 0, "clerk/corpus", index, 0), 0}, arena, ret};
    make[cai_rng_weighted(m.draws.key, m.draws.at++, share, CAI_COUNT(share))](&m);
}

void corpus_pair(struct draws *d, enum fault fault, enum request_split split, struct request *ret_r,
                 struct reply *ret_good, struct reply *ret_bad) {
    do {
        enum request_kind kind = fault == FAULT_HARMFUL ? REQUEST_HARMFUL
                                 : draw_chance(d, 0.5)  ? REQUEST_HELPFUL
                                                        : REQUEST_LOOKALIKE;
        *ret_r = request_draw(d, kind, split);
        *ret_good = *ret_bad = reply_draw(d, ret_r, &clerk_base_habits);
        reply_mend(d, ret_r, fault, ret_good);
        *ret_bad = *ret_good;
        reply_spoil(d, ret_r, fault, ret_bad);
    } while (!reply_has(ret_bad, ret_r, fault));
}
