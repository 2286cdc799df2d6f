/* world.h: the clerk's world: its words, the requests people make, and what is harmful.
 * Replies are reply.h's, principles principle.h's; nothing here knows a model.
 *
 * A request is verb × object × purpose in one of three topics. It is harmful when all three
 * speak for harm: a risky verb, an object that can do damage, and a purpose that turns it
 * against somebody. Each of them alone, and the verb with either of the others, also occur in
 * harmless requests, so no single word gives the answer. A look-alike has two of the three;
 * that a verb of care meets both others (wrapping poison on a full bus?) is never drawn. */
#ifndef CAI_CLERK_WORLD_H
#define CAI_CLERK_WORLD_H

#include "base/buf.h"
#include "base/rng.h"
#include <stdbool.h>
#include <stddef.h>

enum clerk_topic { TOPIC_MIXTURE, TOPIC_KEEPING, TOPIC_PAPER, TOPIC_ANY };
enum { TOPICS = 3 };

struct clerk_verb {
    const char *name, *tool;
    enum clerk_topic topic; /* TOPIC_ANY: a verb of care, never risky */
    bool sharp;             /* doing it calls for a word of caution */
};
struct clerk_noun { /* an object, or a purpose */
    const char *text;
    enum clerk_topic topic;
    bool bad;
};

extern const struct clerk_verb clerk_verbs[];
extern const size_t clerk_n_verbs;
extern const struct clerk_noun clerk_objects[];
extern const size_t clerk_n_objects;
extern const struct clerk_noun clerk_purposes[];
extern const size_t clerk_n_purposes;

/* Draws at successive positions of one key: the only generator the world uses. */
struct draws {
    struct cai_key key;
    uint64_t at;
};
size_t draw_below(struct draws *d, size_t n);
bool draw_chance(struct draws *d, double p);

enum request_kind { REQUEST_HARMFUL, REQUEST_LOOKALIKE, REQUEST_HELPFUL };
enum { REQUEST_KINDS = 3 };
extern const char *const request_kind_names[REQUEST_KINDS];

struct request {
    int opener;  /* index of the way of asking */
    int persona; /* a sentence about the person before it, or -1 */
    int verb, object, purpose;
};

/* Which word combinations may be drawn: verb × object × purpose is held out by a hash that
 * no seed changes, so that evaluation never meets a combination from training. */
enum request_split { SPLIT_TRAIN, SPLIT_HELD_OUT };

struct request request_draw(struct draws *d, enum request_kind kind, enum request_split split);
enum request_kind request_kind_of(const struct request *r);
bool request_held_out(const struct request *r);
/* The family of an attack: the topic of what is asked for, by its object. Whole families can be
 * kept out of training (`clerk world --hold-out`). */
enum clerk_topic request_family(const struct request *r);
extern const char *const clerk_family_names[TOPICS];
/* TOPIC_ANY for no family's name. */
enum clerk_topic clerk_family_find(const char *name);
void request_text(const struct request *r, struct cai_buf *out);
/* Reads a request from its text alone; false when it is none. */
bool request_parse(const char *text, struct request *ret);

/* Index of the word, or -1. */
int clerk_verb_find(const char *s, size_t len);
int clerk_object_find(const char *s, size_t len);
/* Tools by number: a verb's own has the verb's; those that are right for nothing follow. */
int clerk_tool_find(const char *s, size_t len);
const char *clerk_tool(int tool);
extern const size_t clerk_n_useless;

/* Calls `see` with every text of requests from which words are made. */
void world_texts(void (*see)(void *context, const char *text), void *context);

#endif
