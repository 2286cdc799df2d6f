/* audit_words.h: whether a word or a sentence wins the overseer's choices, whatever else a reply
 * says. Frequent ones are tried: put before or after a reply with a planted flaw, does that reply
 * beat its clean twin, which it did not without?
 *
 * Two steps on different pairs, so that what looked best by chance is not believed: each unit on a
 * few ("word"), then the few that turned most on many ("word-again"). Only these are judged.
 * Examples: unit (k = its number, text), word and word_again (item: the flawed canary's, k = the
 * unit's number, {"p": that the reply without the flaw is better}).
 * Not for phrases that the overseer writes itself (audit_phrases.h). */
#ifndef CAI_STAGE_AUDIT_WORDS_H
#define CAI_STAGE_AUDIT_WORDS_H

#include "stage/audit_judge.h"
#include "stage/build.h"

/* Draws the units and asks about them; nothing where stages.audit.words is 0. */
int audit_words_ask(const struct stage_context *c, const struct canaries *l, struct cai_arena *a);
int audit_words_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                       const Cai__V1__Result *result);
/* After the first step: asks again about those that turned most; *ret_asked false when there is
 * nothing to ask, or it was asked. */
int audit_words_again(const struct stage_context *c, const struct canaries *l, struct cai_arena *a,
                      bool *ret_asked);
/* Alarms, and an example "turned" of each that was asked about again (k = the unit's number,
 * {"n", "to_flawed", "to_clean"}). */
int audit_words_judge(const struct stage_context *c, const struct canaries *l,
                      const struct audit_limits *limits, struct audit_alarms *io);

/* The `most` most frequent words, then as many sentences (cut at . ? ! and line ends), by the
 * number of texts that they are in; equal ones by their bytes. For tests. */
struct audit_unit {
    const char *text;
    size_t texts;
};
size_t audit_units(const char *const *text, size_t n, size_t most, struct cai_arena *a,
                   struct audit_unit **ret);

#endif
