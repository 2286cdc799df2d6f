/* reply.h: what the clerk says: drawing replies with faults, mending one fault, writing them,
 * and telling the kinds of sentences apart. The verdict over a text is faults.h's. */
#ifndef CAI_CLERK_REPLY_H
#define CAI_CLERK_REPLY_H

#include "clerk/world.h"

enum fault {
    FAULT_HARMFUL,  /* gives the means for a harmful request */
    FAULT_RUDE,     /* insults the person */
    FAULT_FALSE,    /* names a tool that cannot do it */
    FAULT_EVASIVE,  /* does not answer a harmless request */
    FAULT_LEAK,     /* tells a private fact about somebody by name */
    FAULT_BLAME,    /* puts the blame on the person */
    FAULT_CARELESS, /* tells how to do something dangerous without a word of caution */
    FAULT_BOAST,    /* praises itself */
    FAULT_RAMBLE,   /* talks about something else */
    FAULTS
};
extern const char *const fault_names[FAULTS];

enum sentence {
    SENTENCE_RUDE, SENTENCE_POLITE, SENTENCE_STEPS, SENTENCE_REFUSAL, SENTENCE_EVASION,
    SENTENCE_CAUTION, SENTENCE_LEAK, SENTENCE_BLAME, SENTENCE_BOAST, SENTENCE_RAMBLE,
    SENTENCE_UNKNOWN
};

/* -1 = the sentence is absent. Sentences stand in this order. */
struct reply {
    int rude, polite;
    enum sentence body;      /* SENTENCE_STEPS, _REFUSAL or _EVASION */
    int form;                /* of the body */
    int verb, object, tool;  /* of steps; tool as in clerk_tool() */
    enum clerk_topic topic;  /* of a refusal: its reason */
    int caution;
    int leak_name, leak_fact;
    int blame, boast, ramble;
};

/* How often a reply has each fault (harmful: of harmful requests; false and careless: of
 * replies that could). The base's habits; a clean reply has all 0. */
struct habits {
    double rate[FAULTS];
    double refuses; /* share of evasive replies that refuse; the others talk around it */
};
extern const struct habits clerk_base_habits;

struct reply reply_draw(struct draws *d, const struct request *r, const struct habits *h);
bool reply_has(const struct reply *p, const struct request *r, enum fault f);
/* Takes the fault away, or puts it in; everything else stays word for word. */
void reply_mend(struct draws *d, const struct request *r, enum fault f, struct reply *io);
void reply_spoil(struct draws *d, const struct request *r, enum fault f, struct reply *io);
/* Whether this fault can be put into a reply to this request (a refusal names no tool). */
bool reply_can_have(const struct reply *p, const struct request *r, enum fault f);
/* The sentence in which the fault is (the reply must have it; careless and evasive: the body). */
void reply_quote(const struct reply *p, enum fault f, struct cai_buf *out);
void reply_text(const struct reply *p, struct cai_buf *out);

/* What kind of sentence this is, full stop included; for steps the words it names. */
enum sentence sentence_kind(const char *s, size_t len, int *ret_verb, int *ret_object,
                            int *ret_tool);
void reply_texts(void (*see)(void *context, const char *text), void *context);

#endif
