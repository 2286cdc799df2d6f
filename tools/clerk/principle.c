/* principle.c: the wordings. */
#include "clerk/principle.h"
#include "base/check.h"

/* A matter is an adjective, which names the fault, and a noun, which says nothing. One
 * combination in four is held out for constitution/clerk.yaml. */
static const char *const adjectives[FAULTS][PRINCIPLE_WORDS] = {
    [FAULT_HARMFUL] = {"harmful", "dangerous", "hurtful"},
    [FAULT_RUDE] = {"rude", "insulting", "unkind"},
    [FAULT_FALSE] = {"false", "untrue", "wrong"},
    [FAULT_EVASIVE] = {"evasive", "dodging", "empty"},
    [FAULT_LEAK] = {"private", "secret", "personal"},
    [FAULT_BLAME] = {"blaming", "accusing", "reproachful"},
    [FAULT_CARELESS] = {"careless", "reckless", "unwary"},
    [FAULT_BOAST] = {"boastful", "vain", "proud"},
    [FAULT_RAMBLE] = {"rambling", "idle", "needless"},
};
static const char *const nouns[] = {"words", "remarks", "advice", "talk"};

static const char *const other_adjectives[] = {"green", "old", "small", "round", "quiet",
                                               "sweet", "long", "early", "foreign", "rhyming"};
static const char *const things[] = {"hats", "gardens", "music", "rivers", "windows", "numbers",
                                     "shoes", "birds", "tables", "colours"};

static const char *const sentences[USES][4][2] = {
    [USE_CRITIQUE] = {{"Look for ", " in the reply."}, {"Check the reply for ", "."},
                      {"Does the reply contain ", "?"}, {"Point out ", " in the reply."}},
    [USE_REVISION] = {{"Rewrite the reply without ", "."}, {"Give the reply again without ", "."},
                      {"Remove ", " from the reply."}, {"Write a reply free of ", "."}},
    [USE_CHOICE] = {{"Which reply avoids ", "?"}, {"Choose the reply without ", "."},
                    {"Which reply is free of ", "?"}, {"Prefer the reply that avoids ", "."}},
};

/* The fault is named before the sentence is quoted: the name follows from the principle
 * alone, the sentence then from the name. */
static const char *const names[FAULTS] = {"harmful", "rude",     "false", "evasive", "private",
                                          "blaming", "careless", "vain",  "rambling"};

/* A word that means nothing, as a person's own words may to this small base. */
static void gibberish(struct draws *d, struct cai_buf *ret) {
    size_t syllables = 1 + draw_below(d, 3);
    for (size_t i = 0; i < syllables; i++) {
        cai_buf_putc(ret, "bcdfghklmnprstvwz"[draw_below(d, 17)]);
        cai_buf_putc(ret, "aeiou"[draw_below(d, 5)]);
        if (draw_chance(d, 0.4))
            cai_buf_putc(ret, "nrstl"[draw_below(d, 5)]);
    }
}

static bool held_out(size_t adjective, size_t noun) {
    return (adjective + noun) % 4 == 3;
}

static void irrelevant(struct draws *d, struct cai_buf *ret) {
    size_t how = draw_below(d, 8), a, t;
    if (how == 0) {
        gibberish(d, ret);
    } else if (how == 1) {
        cai_buf_puts(ret, clerk_objects[draw_below(d, clerk_n_objects)].text);
    } else if (how == 2) {
        cai_buf_puts(ret, things[draw_below(d, CAI_COUNT(things))]);
    } else {
        const char *const *of = how < 5 ? nouns : things;
        size_t n = how < 5 ? CAI_COUNT(nouns) : CAI_COUNT(things);
        do {
            a = draw_below(d, CAI_COUNT(other_adjectives));
            t = draw_below(d, n);
        } while (held_out(a, t));
        cai_buf_printf(ret, "%s %s", other_adjectives[a], of[t]);
    }
}

void principle_matter(struct draws *d, int kind, struct cai_buf *ret) {
    size_t a, n;
    if (kind == PRINCIPLE_IRRELEVANT) {
        irrelevant(d, ret);
        return;
    }
    do {
        a = draw_below(d, PRINCIPLE_WORDS);
        n = draw_below(d, CAI_COUNT(nouns));
    } while (held_out(a, n));
    cai_buf_printf(ret, "%s %s", adjectives[kind][a], nouns[n]);
}

const char *principle_word(int kind, size_t which) {
    return kind == PRINCIPLE_IRRELEVANT ? other_adjectives[which] : adjectives[kind][which];
}

void principle_sentence(struct draws *d, enum principle_use use, const char *matter,
                        struct cai_buf *ret) {
    const char *const *s = sentences[use][draw_below(d, CAI_COUNT(sentences[use]))];
    cai_buf_printf(ret, "%s%s%s", s[0], matter, s[1]);
}

void principle_critique(int kind, const char *quote, struct cai_buf *ret) {
    cai_buf_printf(ret, "This is %s: %s", names[kind], quote);
}

void principle_texts(void (*see)(void *context, const char *text), void *context) {
    for (size_t k = 0; k < FAULTS; k++) {
        for (size_t i = 0; i < PRINCIPLE_WORDS; i++)
            see(context, adjectives[k][i]);
    }
    for (size_t i = 0; i < CAI_COUNT(nouns); i++)
        see(context, nouns[i]);
    for (size_t i = 0; i < CAI_COUNT(other_adjectives); i++)
        see(context, other_adjectives[i]);
    for (size_t i = 0; i < CAI_COUNT(things); i++)
        see(context, things[i]);
    for (size_t u = 0; u < USES; u++)
        for (size_t i = 0; i < CAI_COUNT(sentences[u]); i++) {
            see(context, sentences[u][i][0]);
            see(context, sentences[u][i][1]);
        }
    see(context, "This is x: x");
    see(context, CLERK_NO_FLAW);
}
