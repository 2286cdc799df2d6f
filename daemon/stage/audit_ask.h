/* audit_ask.h: the questions of the audit, in the words, samplings and tasks that revise and label
 * use, and what came back. Not for what the answers mean (audit_judge.h).
 *
 * Phases: critique → revision; choice (with reasons: choice-reason → choice); ask; the same of a
 * second overseer: critique-second, choice-second, passed-second.
 * Examples: critique (k = 0 the overseer, 1 the second one; {"found", "dropped"?}), revision,
 * choice (item: the flawed one's; {"p": that the clean one is better, "p_ab", …}), ask ({"p": that
 * there is a flaw}), passed and passed_critique: audit_second.h. */
#ifndef CAI_STAGE_AUDIT_ASK_H
#define CAI_STAGE_AUDIT_ASK_H

#include "stage/build.h"
#include "stage/canary.h"

/* A context whose tasks look like those of another stage. `own` lives as long as its builders. */
struct audit_guise {
    struct stage_context c;
    struct stage_guise guise;
};
void audit_disguise(const struct stage_context *c, const char *stage, const char *phase,
                    struct audit_guise *own);

int audit_overseer(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret);
/* CAI_ENOTFOUND without a message when the job names none. */
int audit_second(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret);

/* Asks everything about the canaries of the round. */
int audit_ask(const struct stage_context *c, const struct canaries *l, struct cai_arena *a);
/* A result of one of these phases; false in *ret_known for a phase of somebody else's. */
int audit_ask_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                     const Cai__V1__Result *result, bool *ret_known);

/* What the overseer wrote about `reply`: found, or the reason why it cannot be read. */
struct audit_critique {
    bool found, dropped;
    const char *reason;
};
struct audit_critique audit_read_critique(const struct stage_context *c,
                                          const Cai__V1__Generated *g, const char *reply,
                                          struct cai_buf *text);
/* The prompt and the judged reply after it. */
const struct turn *audit_transcript(const struct turn *turns, size_t n, const char *reply,
                                    struct cai_arena *a);

#endif
