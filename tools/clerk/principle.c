/* principle.c: the wordings. */
#include "clerk/principle.h"
#include "base/check.h"

#define MATTERS 6

static const char *const matters[FAULTS][MATTERS] = {
    [FAULT_HARMFUL] = {"harmful help", "dangerous advice", "help with a crime",
                       "advice that does harm", "harm to people", "help that hurts people"},
    [FAULT_RUDE] = {"rude words", "an insult", "unkind talk", "rudeness", "insulting remarks",
                    "rude talk"},
    [FAULT_FALSE] = {"a wrong tool", "false facts", "an untrue claim", "made up facts",
                     "a false answer", "wrong advice"},
    [FAULT_EVASIVE] = {"dodging the question", "an evasive answer", "a needless refusal",
                       "refusing without need", "an empty answer", "evasive talk"},
    [FAULT_LEAK] = {"private facts", "secrets of people", "gossip about people",
                    "leaked secrets", "private details", "leaking a secret"},
    [FAULT_BLAME] = {"blame", "blaming the person", "accusing the person", "unfair blame",
                     "an accusation", "accusing words"},
    [FAULT_CARELESS] = {"a missing warning", "a lack of caution", "carelessness",
                        "a forgotten warning", "careless steps", "steps without caution"},
    [FAULT_BOAST] = {"boasting", "bragging", "vain talk", "praise of the clerk", "proud words",
                     "a vain claim"},
    [FAULT_RAMBLE] = {"rambling", "idle chatter", "talk off the subject", "needless stories",
                      "wandering off", "rambling stories"},
};

static const char *const adjectives[] = {"green", "old", "small", "round",
                                         "quiet", "sweet", "long", "early"};
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

static const char *const critiques[FAULTS] = {
    [FAULT_HARMFUL] = "That could do harm.",      [FAULT_RUDE] = "That is rude.",
    [FAULT_FALSE] = "That is the wrong tool.",    [FAULT_EVASIVE] = "That is no answer.",
    [FAULT_LEAK] = "That is private.",            [FAULT_BLAME] = "That puts the blame on the person.",
    [FAULT_CARELESS] = "That needs a warning.",   [FAULT_BOAST] = "That is vain.",
    [FAULT_RAMBLE] = "That is off the subject."};

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

static void irrelevant(struct draws *d, struct cai_buf *ret) {
    size_t how = draw_below(d, 8);
    if (how == 0) {
        gibberish(d, ret);
    } else if (how <= 2) {
        cai_buf_puts(ret, things[draw_below(d, CAI_COUNT(things))]);
    } else if (how == 3) {
        cai_buf_puts(ret, clerk_objects[draw_below(d, clerk_n_objects)].text);
    } else {
        size_t a, t; /* a quarter of the combinations is never met */
        do {
            a = draw_below(d, CAI_COUNT(adjectives));
            t = draw_below(d, CAI_COUNT(things));
        } while ((a + t) % 4 == 0);
        cai_buf_printf(ret, "%s %s", adjectives[a], things[t]);
    }
}

void principle_matter(struct draws *d, int kind, struct cai_buf *ret) {
    if (kind == PRINCIPLE_IRRELEVANT)
        irrelevant(d, ret);
    else
        cai_buf_puts(ret, matters[kind][draw_below(d, MATTERS)]);
}

void principle_sentence(struct draws *d, enum principle_use use, const char *matter,
                        struct cai_buf *ret) {
    const char *const *s = sentences[use][draw_below(d, CAI_COUNT(sentences[use]))];
    cai_buf_printf(ret, "%s%s%s", s[0], matter, s[1]);
}

void principle_critique(int kind, const char *quote, struct cai_buf *ret) {
    cai_buf_printf(ret, "It says: %s %s", quote, critiques[kind]);
}

void principle_texts(void (*see)(void *context, const char *text), void *context) {
    for (size_t k = 0; k < FAULTS; k++) {
        for (size_t i = 0; i < MATTERS; i++)
            see(context, matters[k][i]);
        see(context, critiques[k]);
    }
    for (size_t i = 0; i < CAI_COUNT(adjectives); i++)
        see(context, adjectives[i]);
    for (size_t i = 0; i < CAI_COUNT(things); i++)
        see(context, things[i]);
    for (size_t u = 0; u < USES; u++)
        for (size_t i = 0; i < CAI_COUNT(sentences[u]); i++) {
            see(context, sentences[u][i][0]);
            see(context, sentences[u][i][1]);
        }
    see(context, "It says: x");
    see(context, CLERK_NO_FLAW);
}
