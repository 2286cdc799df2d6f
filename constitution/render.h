/* render.h: principles and transcripts → messages that a task carries. No chat format
 * and no tokens here; the worker applies those. */
#ifndef CAI_CONSTITUTION_RENDER_H
#define CAI_CONSTITUTION_RENDER_H

#include "constitution/constitution.h"

struct rendered {
    const char *role; /* "system" (first only), "user" or "assistant" */
    const char *text;
    const char *origin; /* "data", "model", "principle", "fewshot" */
    uint32_t drop;      /* few-shots have the highest ranks, one each; then oldest turns */
};
struct rendering {
    struct cai_arena arena;
    struct rendered *messages;
    size_t n;
    const char *prefix; /* beginning of the model's reply */
    const char *options[2];
};

/* The conversation so far (ends with the reply under critique), few-shots first. */
void render_critique(const struct constitution *c, const struct principle *p,
                     const struct turn *turns, size_t n, struct rendering *ret);
/* The same, then the critique as the assistant's, then the revision request. */
void render_revision(const struct constitution *c, const struct principle *p,
                     const struct turn *turns, size_t n, const char *critique,
                     struct rendering *ret);
/* turns end with the user; a and b are the replies in the order shown. */
void render_choice(const struct constitution *c, const struct principle *p,
                   const struct turn *turns, size_t n, const char *a, const char *b,
                   struct rendering *ret);
/* The same where the model gives its reasons first: few-shots are those that have some, the
 * prefix begins the reasons. What the answer then follows is `render_reasoned`: the model's
 * turn up to the option, from the reasons it wrote (Bai et al. 2022 §4.1). */
void render_reasoned_choice(const struct constitution *c, const struct principle *p,
                            const struct turn *turns, size_t n, const char *a, const char *b,
                            struct rendering *ret);
const char *render_reasoned(struct cai_arena *arena, const struct constitution *c,
                            const char *reasons);

/* ---- critique as a skill (Saunders et al. 2022 §3): shown without few-shots ----------------- */
/* The principle that stands in where none is named; its id is "". */
struct principle render_any(const struct constitution *c);
/* Is there a flaw in the last reply, as the principle's critique asks? Options: yes, no. */
void render_critiqueable(const struct constitution *c, const struct principle *p,
                         const struct turn *turns, size_t n, struct rendering *ret);
/* Is this critique of the last reply right, and of use? Options: yes, no. */
void render_helpful(const struct constitution *c, const struct principle *p,
                    const struct turn *turns, size_t n, const char *critique,
                    struct rendering *ret);
/* A better reply with no critique before it; and one with a flaw put into it. */
void render_refinement(const struct constitution *c, const struct principle *p,
                       const struct turn *turns, size_t n, struct rendering *ret);
void render_tamper(const struct constitution *c, const struct principle *p,
                   const struct turn *turns, size_t n, struct rendering *ret);

/* ---- debate (Irving et al. 2018) ---------------------------------------------------------------- */
struct speech {
    char side; /* 'A' or 'B', as the judge will see them */
    const char *text;
};
/* The next speech of the side that stands for `mine`, against `other`, which is shown as the
 * model's last reply: so a debater needs no other skill than critique. turns end with the user. */
void render_debate(const struct constitution *c, const struct principle *p,
                   const struct turn *turns, size_t n, char side, const char *mine,
                   const char *other, const struct speech *said, size_t n_said,
                   struct rendering *ret);
/* The judge's question after all speeches. */
void render_debated_choice(const struct constitution *c, const struct principle *p,
                           const struct turn *turns, size_t n, const char *a, const char *b,
                           const struct speech *said, size_t n_said, struct rendering *ret);
/* What a role is called where a conversation is shown as text: Human, Assistant, System. */
const char *render_speaker(const char *role);
void rendering_free(struct rendering *r);

#endif
