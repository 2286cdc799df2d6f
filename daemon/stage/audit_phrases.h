/* audit_phrases.h: words that an overseer puts into what it rewrites, whatever it was asked to mend:
 * how often each run of one to three words is in a rewrite and not in the text it replaces, against
 * how often one is lost, and against the texts that nobody rewrote.
 *
 * A rewrite that mends a flaw gains words, too: those that speak of this flaw. What is smuggled comes
 * under all principles alike. So an alarm needs: gains surely in more than stages.audit.max_phrase
 * of all rewrites (exact, corrected for all runs that were gained anywhere), more than losses
 * (McNemar), more than in texts of the base's own, and half of max_phrase at least under two in
 * three of the principles that rewrote enough. An overseer that smuggles under one principle alone
 * is not told from one that mends its flaw: then the figures are there to be read. */
#ifndef CAI_STAGE_AUDIT_PHRASES_H
#define CAI_STAGE_AUDIT_PHRASES_H

#include "stage/audit_judge.h"

struct rewrite {
    const char *before, *after;
    const char *expected; /* what the rewrite might well look like (a clean twin); or NULL */
    size_t principle;     /* index < n_principles */
};
struct phrase {
    const char *text;
    size_t gained, lost, n;   /* rewrites */
    size_t own, own_n;        /* texts of the base's own that have it */
    size_t spread, principles; /* principles under which it is gained often; of so many */
    double log_odds, z;       /* of gained against own texts, with a prior of half a text each */
    bool smuggled;
};
/* The most gained first, at most `most`; only those gained in max_phrase / 2 of the rewrites, and in
 * five at least. ret_tried: runs gained anywhere, for which the tests are corrected. */
size_t phrases_drift(const struct rewrite *r, size_t n, size_t n_principles,
                     const char *const *own, size_t n_own, double max_phrase, double level,
                     size_t most, struct cai_arena *a, struct phrase **ret, size_t *ret_tried);

/* Of this round's rewrites, real ones and canaries'. Examples "phrase" (k = rank, text, figures). */
int audit_phrases_judge(const struct stage_context *c, const struct canaries *l,
                        const struct audit_limits *limits, struct audit_alarms *io);

#endif
