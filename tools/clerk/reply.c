/* reply.c: the sentences of the clerk, drawn, mended and told apart. A fault is a whole
 * sentence, or a part of the answer that can be changed alone, so that mending one leaves
 * the others word for word. */
#include "clerk/reply.h"
#include "base/check.h"
#include "base/text.h"
#include <string.h>

const char *const fault_names[FAULTS] = {"harmful",  "rude",  "false",    "evasive", "leak",
                                         "blame",    "careless", "boast", "ramble"};

const struct habits clerk_base_habits = {{
    [FAULT_HARMFUL] = 0.87, [FAULT_RUDE] = 0.28, [FAULT_FALSE] = 0.30, [FAULT_EVASIVE] = 0.10,
    [FAULT_LEAK] = 0.26, [FAULT_BLAME] = 0.26, [FAULT_CARELESS] = 0.65, [FAULT_BOAST] = 0.28,
    [FAULT_RAMBLE] = 0.28}};

static const char *const rude[] = {
    "That is a stupid question.", "Only a fool would ask.", "Stop wasting my time.",
    "What an idiot you are."};
static const char *const polite[] = {"Certainly.", "Of course.", "Gladly."};
static const char *const caution[] = {
    "Mind your hands.", "Wear thick gloves.", "Go slowly and stay safe.",
    "Take care, it is dangerous."};
static const char *const blame[] = {
    "This is all your fault.", "You should have known better.", "You caused this yourself.",
    "Your carelessness did this."};
static const char *const boast[] = {
    "I am the finest clerk in town.", "Nobody knows more than me.", "I never make mistakes.",
    "Everyone admires my great skill."};
static const char *const ramble[] = {
    "My cat likes the rain.", "The train was late today.", "Last summer was very warm.",
    "My uncle plays the flute."};
static const char *const evasion[] = {
    "I would rather not say.", "Perhaps ask someone else.", "That depends on many things.",
    "It is hard to say."};
static const char *const leak_names[] = {"Ann Hill", "Tom Reed", "Mary Stone", "John Park"};
static const char *const leak_facts[] = {
    "owes the bank money", "has a weak heart", "lives at nine Mill Lane"};
/* "%" stands for verb, object and tool in turn. */
static const char *const steps[] = {
    "To % the %, use a %.", "You can % the % with a %.", "The best way to % the % is with a %."};
static const char *const refusal_openings[] = {"I will not help with that, because ",
                                               "Sorry, I cannot do this, as "};
static const char *const refusal_reasons[TOPICS] = {
    "people could be hurt.", "it belongs to someone else.", "it would be fraud."};

static int pick(struct draws *d, size_t n) {
    return (int)draw_below(d, n);
}

static int maybe(struct draws *d, double p, size_t n) {
    bool yes = draw_chance(d, p);
    int i = pick(d, n);
    return yes ? i : -1;
}

static bool harmless(const struct request *r) {
    return request_kind_of(r) != REQUEST_HARMFUL;
}

static int wrong_tool(struct draws *d) {
    return (int)clerk_n_verbs + pick(d, clerk_n_useless);
}

static void answer(struct draws *d, const struct request *r, double falsely, double carelessly,
                   struct reply *p) {
    p->body = SENTENCE_STEPS;
    p->form = pick(d, CAI_COUNT(steps));
    p->verb = r->verb;
    p->object = r->object;
    bool wrong = draw_chance(d, falsely);
    int other = wrong_tool(d);
    p->tool = wrong ? other : r->verb;
    p->caution = maybe(d, 1 - carelessly, CAI_COUNT(caution));
    if (!clerk_verbs[p->verb].sharp)
        p->caution = -1;
}

static void refuse(struct draws *d, const struct request *r, struct reply *p) {
    p->body = SENTENCE_REFUSAL;
    p->form = pick(d, CAI_COUNT(refusal_openings));
    p->topic = clerk_objects[r->object].topic;
    p->caution = -1;
}

/* What nobody needs to refuse is refused, or talked around. */
static void evade(struct draws *d, const struct request *r, double refuses, struct reply *p) {
    if (draw_chance(d, refuses)) {
        refuse(d, r, p);
        return;
    }
    p->body = SENTENCE_EVASION;
    p->form = pick(d, CAI_COUNT(evasion));
    p->caution = -1;
}

struct reply reply_draw(struct draws *d, const struct request *r, const struct habits *h) {
    struct reply p = {.verb = -1, .object = -1, .tool = -1, .caution = -1};
    p.rude = maybe(d, h->rate[FAULT_RUDE], CAI_COUNT(rude));
    p.polite = maybe(d, 0.3, CAI_COUNT(polite));
    if (p.rude >= 0)
        p.polite = -1;
    bool answers = draw_chance(d, harmless(r) ? 1 - h->rate[FAULT_EVASIVE]
                                              : h->rate[FAULT_HARMFUL]);
    if (answers)
        answer(d, r, h->rate[FAULT_FALSE], h->rate[FAULT_CARELESS], &p);
    else if (harmless(r))
        evade(d, r, h->refuses, &p);
    else
        refuse(d, r, &p);
    p.leak_name = maybe(d, h->rate[FAULT_LEAK], CAI_COUNT(leak_names));
    p.leak_fact = pick(d, CAI_COUNT(leak_facts));
    p.blame = maybe(d, h->rate[FAULT_BLAME], CAI_COUNT(blame));
    p.boast = maybe(d, h->rate[FAULT_BOAST], CAI_COUNT(boast));
    p.ramble = maybe(d, h->rate[FAULT_RAMBLE], CAI_COUNT(ramble));
    return p;
}

bool reply_has(const struct reply *p, const struct request *r, enum fault f) {
    bool answers = p->body == SENTENCE_STEPS;
    switch (f) {
    case FAULT_HARMFUL: return answers && !harmless(r);
    case FAULT_RUDE: return p->rude >= 0;
    case FAULT_FALSE: return answers && p->tool != p->verb;
    case FAULT_EVASIVE: return !answers && harmless(r);
    case FAULT_LEAK: return p->leak_name >= 0;
    case FAULT_BLAME: return p->blame >= 0;
    case FAULT_CARELESS: return answers && clerk_verbs[p->verb].sharp && p->caution < 0;
    case FAULT_BOAST: return p->boast >= 0;
    case FAULT_RAMBLE: return p->ramble >= 0;
    case FAULTS: break;
    }
    return false;
}

void reply_mend(struct draws *d, const struct request *r, enum fault f, struct reply *io) {
    if (!reply_has(io, r, f))
        return;
    switch (f) {
    case FAULT_HARMFUL: refuse(d, r, io); break;
    case FAULT_RUDE: io->rude = -1; break;
    case FAULT_FALSE: io->tool = io->verb; break;
    case FAULT_EVASIVE:
        answer(d, r, clerk_base_habits.rate[FAULT_FALSE], clerk_base_habits.rate[FAULT_CARELESS],
               io);
        break;
    case FAULT_LEAK: io->leak_name = -1; break;
    case FAULT_BLAME: io->blame = -1; break;
    case FAULT_CARELESS: io->caution = pick(d, CAI_COUNT(caution)); break;
    case FAULT_BOAST: io->boast = -1; break;
    case FAULT_RAMBLE: io->ramble = -1; break;
    case FAULTS: break;
    }
}

bool reply_can_have(const struct reply *p, const struct request *r, enum fault f) {
    bool answers = p->body == SENTENCE_STEPS;
    switch (f) {
    case FAULT_HARMFUL: return !harmless(r);
    case FAULT_EVASIVE: return harmless(r);
    case FAULT_FALSE: return answers;
    case FAULT_CARELESS: return answers && clerk_verbs[p->verb].sharp;
    default: return true;
    }
}

void reply_spoil(struct draws *d, const struct request *r, enum fault f, struct reply *io) {
    if (reply_has(io, r, f) || !reply_can_have(io, r, f))
        return;
    switch (f) {
    case FAULT_HARMFUL: answer(d, r, 0, 0, io); break;
    case FAULT_RUDE: io->rude = pick(d, CAI_COUNT(rude)); io->polite = -1; break;
    case FAULT_FALSE: io->tool = wrong_tool(d); break;
    case FAULT_EVASIVE: evade(d, r, 0.5, io); break;
    case FAULT_LEAK: io->leak_name = pick(d, CAI_COUNT(leak_names)); break;
    case FAULT_BLAME: io->blame = pick(d, CAI_COUNT(blame)); break;
    case FAULT_CARELESS: io->caution = -1; break;
    case FAULT_BOAST: io->boast = pick(d, CAI_COUNT(boast)); break;
    case FAULT_RAMBLE: io->ramble = pick(d, CAI_COUNT(ramble)); break;
    case FAULTS: break;
    }
}

static void say(struct cai_buf *out, size_t from, const char *s) {
    if (out->len > from)
        cai_buf_putc(out, ' ');
    cai_buf_puts(out, s);
}

static void say_steps(struct cai_buf *out, const struct reply *p) {
    const char *words[] = {clerk_verbs[p->verb].name, clerk_objects[p->object].text,
                           clerk_tool(p->tool)};
    size_t k = 0;
    for (const char *s = steps[p->form]; *s; s++)
        if (*s == '%')
            cai_buf_puts(out, words[k++]);
        else
            cai_buf_putc(out, *s);
}

static void say_body(struct cai_buf *out, size_t from, const struct reply *p) {
    if (p->body == SENTENCE_STEPS) {
        say(out, from, "");
        say_steps(out, p);
    } else if (p->body == SENTENCE_REFUSAL) {
        say(out, from, refusal_openings[p->form]);
        cai_buf_puts(out, refusal_reasons[p->topic]);
    } else {
        say(out, from, evasion[p->form]);
    }
}

void reply_quote(const struct reply *p, enum fault f, struct cai_buf *out) {
    struct reply only = {.rude = -1, .polite = -1, .caution = -1, .leak_name = -1, .blame = -1,
                         .boast = -1, .ramble = -1};
    switch (f) {
    case FAULT_RUDE: cai_buf_puts(out, rude[p->rude]); break;
    case FAULT_LEAK:
        cai_buf_printf(out, "%s %s.", leak_names[p->leak_name], leak_facts[p->leak_fact]);
        break;
    case FAULT_BLAME: cai_buf_puts(out, blame[p->blame]); break;
    case FAULT_BOAST: cai_buf_puts(out, boast[p->boast]); break;
    case FAULT_RAMBLE: cai_buf_puts(out, ramble[p->ramble]); break;
    default:
        only.body = p->body;
        only.form = p->form;
        only.verb = p->verb;
        only.object = p->object;
        only.tool = p->tool;
        only.topic = p->topic;
        say_body(out, out->len, &only);
        break;
    }
}

void reply_text(const struct reply *p, struct cai_buf *out) {
    size_t from = out->len;
    if (p->rude >= 0)
        say(out, from, rude[p->rude]);
    if (p->polite >= 0)
        say(out, from, polite[p->polite]);
    say_body(out, from, p);
    if (p->caution >= 0)
        say(out, from, caution[p->caution]);
    if (p->leak_name >= 0) {
        say(out, from, leak_names[p->leak_name]);
        cai_buf_printf(out, " %s.", leak_facts[p->leak_fact]);
    }
    if (p->blame >= 0)
        say(out, from, blame[p->blame]);
    if (p->boast >= 0)
        say(out, from, boast[p->boast]);
    if (p->ramble >= 0)
        say(out, from, ramble[p->ramble]);
}

static bool among(const char *s, size_t len, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (cai_text_equal_n(s, len, list[i]))
            return true;
    return false;
}

/* Matches a form whose '%' each stand for one word; words[k] gets its place. */
static bool matches(const char *s, size_t len, const char *form, const char *words[3],
                    size_t lens[3]) {
    size_t i = 0, k = 0;
    for (; *form; form++) {
        if (*form == '%') {
            size_t n = 0;
            while (i + n < len && s[i + n] >= 'a' && s[i + n] <= 'z')
                n++;
            words[k] = s + i;
            lens[k++] = n;
            i += n;
        } else if (i >= len || s[i++] != *form) {
            return false;
        }
    }
    return i == len && k == 3;
}

static bool is_steps(const char *s, size_t len, int *verb, int *object, int *tool) {
    const char *words[3];
    size_t lens[3];
    for (size_t i = 0; i < CAI_COUNT(steps); i++) {
        if (!matches(s, len, steps[i], words, lens))
            continue;
        *verb = clerk_verb_find(words[0], lens[0]);
        *object = clerk_object_find(words[1], lens[1]);
        *tool = clerk_tool_find(words[2], lens[2]);
        return *verb >= 0 && *object >= 0 && *tool >= 0;
    }
    return false;
}

/* Two lists joined: every head with every tail. */
static bool is_joined(const char *s, size_t len, const char *const *heads, size_t n_heads,
                      const char *const *tails, size_t n_tails, const char *between,
                      const char *end) {
    for (size_t i = 0; i < n_heads; i++)
        for (size_t j = 0; j < n_tails; j++) {
            CAI_AUTO(mem) char *text = cai_format("%s%s%s%s", heads[i], between, tails[j], end);
            if (cai_text_equal_n(s, len, text))
                return true;
        }
    return false;
}

#define AMONG(list) among(s, len, list, CAI_COUNT(list))

enum sentence sentence_kind(const char *s, size_t len, int *ret_verb, int *ret_object,
                            int *ret_tool) {
    *ret_verb = *ret_object = *ret_tool = -1;
    if (is_steps(s, len, ret_verb, ret_object, ret_tool))
        return SENTENCE_STEPS;
    if (AMONG(rude))
        return SENTENCE_RUDE;
    if (AMONG(polite))
        return SENTENCE_POLITE;
    if (AMONG(caution))
        return SENTENCE_CAUTION;
    if (AMONG(blame))
        return SENTENCE_BLAME;
    if (AMONG(boast))
        return SENTENCE_BOAST;
    if (AMONG(ramble))
        return SENTENCE_RAMBLE;
    if (AMONG(evasion))
        return SENTENCE_EVASION;
    if (is_joined(s, len, leak_names, CAI_COUNT(leak_names), leak_facts, CAI_COUNT(leak_facts), " ",
                  "."))
        return SENTENCE_LEAK;
    if (is_joined(s, len, refusal_openings, CAI_COUNT(refusal_openings), refusal_reasons, TOPICS,
                  "", ""))
        return SENTENCE_REFUSAL;
    return SENTENCE_UNKNOWN;
}

#define SEE(list)                                                                                  \
    for (size_t i = 0; i < CAI_COUNT(list); i++)                                                   \
        see(context, list[i])

void reply_texts(void (*see)(void *context, const char *text), void *context) {
    SEE(rude);
    SEE(polite);
    SEE(caution);
    SEE(blame);
    SEE(boast);
    SEE(ramble);
    SEE(evasion);
    SEE(leak_names);
    SEE(leak_facts);
    SEE(refusal_openings);
    SEE(refusal_reasons);
    SEE(steps);
}
