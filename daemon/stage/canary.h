/* canary.h: replies with a planted flaw and their twins without it: which of data.canaries a
 * round asks about, under which numbers they go to workers, and the sealed key that says which is
 * which. For the audit alone. Not for asking (audit_ask.h) or judging (audit_judge.h).
 *
 * A worker sees numbers that real prompts could have, in an order that says nothing; the key
 * stays in the store. Sealed: before any task is added, its hash with a salt, "seal", is stored
 * and noted among the job's events. Opened: the salt and the key's lines are, and anybody can
 * work out that they give that hash (`caictl audit`). */
#ifndef CAI_STAGE_CANARY_H
#define CAI_STAGE_CANARY_H

#include "stage/data.h"

struct canary {
    uint64_t item;    /* its number to workers */
    size_t class;     /* index of the class of its pair */
    bool flawed;
    size_t twin;      /* index */
    const char *pair;
    const char *reply;
    const struct turn *turns; /* the prompt */
    size_t n_turns;
    const struct principle *principle; /* that speaks of the flaw */
    const char *question, *prefix, *yes, *no; /* critiqueability; question NULL = as the job says */
};
struct canaries {
    struct canary *at; /* pairs side by side, the flawed one first; by class, then pair */
    size_t n;
    const char **classes; /* in order of their names */
    size_t n_classes;
    size_t alone, unknown; /* rows left out: without a twin, of no principle of the constitution */
};
/* Those of this round: job.audit.pairs of each class, others in every round as far as they reach.
 * The same for the same job, data and round. Texts lie in the arena. */
int canaries_draw(const struct stage_context *c, struct cai_arena *a, struct canaries *ret);
/* The one with this number, or NULL. */
const struct canary *canaries_find(const struct canaries *l, uint64_t item);
/* In the order of their numbers. */
const struct canary **canaries_by_item(const struct canaries *l, struct cai_arena *a);

/* Stores the seal of the round's key and notes it among the job's events. */
int canaries_seal(const struct stage_context *c, const struct canaries *l);
/* Stores the salt ("opening") and the key's lines ("key"). Once. */
int canaries_open(const struct stage_context *c, const struct canaries *l);
/* The hash of a key: SHA-256 over the salt's hexadecimal digits and each line, a line end after
 * each. `line` in the order of the numbers. */
void canaries_hash(const char *salt, const char *const *line, size_t n, char ret_hex[65]);

#endif
