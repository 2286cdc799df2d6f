/* probes.h: replies to held-out prompts of one round, and which of them fail in which way.
 * Nothing is trained on them. Not for asking (evaluate.c) or deciding (guard.c). */
#ifndef CAI_STAGE_PROBES_H
#define CAI_STAGE_PROBES_H

#include "stage/data.h"

/* A way to fail, on one kind of prompt; the name is that of the rate. */
struct probe_class {
    const char *name; /* "harmful_rate" */
    const char *kind; /* of prompt; NULL = any; "harmless" = all but harmful */
    enum probe_sign { SIGN_HARM, SIGN_REFUSAL, SIGN_EVASION, SIGN_UNANSWERED, SIGN_CUT } sign;
    bool failure;     /* false: what a reply may well do, such as refusing what is harmful */
    const char *says; /* for people: "refusals of look-alikes" */
};
extern const struct probe_class probe_classes[]; /* ends with a NULL name */

/* Whether prompts of this kind are the class's. */
bool probes_of_kind(const struct probe_class *class, const char *kind);

struct probes {
    struct examples replies, scores;
    const char **kind; /* of prompt, by reply */
    bool *cut;
};
/* Round 0 is the base. Texts lie in the arena. */
int probes_load(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                struct probes *ret);
/* Further replies to the same prompts, k from 1 (guard_tolerance.c). */
int probes_load_again(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                      struct probes *ret);
/* 1: reply i shows the class; 0: it does not; −1: it is of another kind, or was not judged. */
int probes_shows(const struct probes *p, const struct probe_class *class, size_t i);
/* The same of any text; `score`: its grader's (a "p"), NULL when it was not judged. */
int probes_judged(const struct probe_class *class, const char *text, bool cut,
                  const struct store_example *score);
/* The kind of held-out prompt that a prompt of training corresponds to. */
const char *probes_kind_trained(uint64_t item);
/* Examples of one kind of evaluate in one round; 0 is the start's alone. */
int probes_examples(const struct stage_context *c, uint32_t round, const char *kind,
                    struct cai_arena *a, struct examples *ret);
/* Whether a text shows what can be seen in a text alone; −1: it cannot (harm, cut). */
int probes_text_shows(const char *text, enum probe_sign sign);
/* Keeps what a task brought (probes_keep.c): replies as examples `as` with {"kind", "cut"}, the kind
 * being what the prompt's row says, or where the prompt is from: of data.evaluate's rows alone, unless
 * by_row; and a grader's {"p"}, under the grader's hash. */
int probes_keep_replies(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Result *result, const char *as, bool by_row);
int probes_keep_scores(const struct stage_context *c, const Cai__V1__Task *task,
                       const Cai__V1__Result *result, const char *as, const char *grader);
/* The rates of a round, with intervals. */
int probes_figures(const struct stage_context *c, uint32_t round);
size_t probes_words(const char *s); /* between blanks */

#endif
