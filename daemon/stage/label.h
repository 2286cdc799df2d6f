/* label.h: reading a choice asked in both orders. */
#ifndef CAI_STAGE_LABEL_H
#define CAI_STAGE_LABEL_H

#include "stage/build.h"

struct choice {
    double p_ab, p_ba;       /* P(the first shown), in each order, of the two options */
    double mass_ab, mass_ba; /* probability of the two options together */
    double p;                /* P(A better): orders averaged */
    bool decided;            /* one of the answers at least is no shrug */
    bool flipped;            /* decided by the letter, not by the reply */
    bool lost;               /* did not fit */
};
/* Sets decided and flipped from p_ab and p_ba. Both letters stay near one half where a principle
 * has nothing to say about a pair; which of two shrugs is the larger tells nothing about order. */
void choice_weigh(struct choice *io);
/* The doubt that a label leaves, in bits: 1 for a toss-up, 0 when certain. */
double label_entropy(double p);
/* `ba` NULL: asked in one order only. Options are log-probabilities of the whole strings
 * (Lee et al. 2023: softmax over the options, two inferences with the order reversed). */
struct choice choice_read(const Cai__V1__Scored *ab, const Cai__V1__Scored *ba);

/* Asks which of a and b is better under p: k = 2 · pair (A first) and, with `swap`,
 * 2 · pair + 1 (B first). A builder that generates asks for reasons (reason_open) or for speeches
 * (debate_open) first. */
int choice_ask(struct builder *b, const struct stage_context *c, const struct principle *p,
               const struct turn *turns, size_t n, const char *reply_a, const char *reply_b,
               uint64_t item, uint32_t pair, bool swap);

/* Principles asked per pair: `want`, at most those that have a choice text. */
uint32_t label_principles(const struct stage_context *c, size_t want);

/* Figures over many choices, in the order of adding. */
struct choice_figures {
    size_t n, decided, flipped, lost;
    double mass, bias;
};
void choice_count(struct choice_figures *f, const struct choice *o, bool swap);
double choice_mass(const struct choice_figures *f);
double choice_flipped(const struct choice_figures *f); /* share of the decided ones */

/* Adds people's pairs as labels of this round: `prefer.human` of a mix with `pairs` of the
 * overseer's (of this round and all before: their share does not shrink), as far as there are, those
 * of the round before among them; all of them when pairs is
 * 0. Texts and figures go to the stage "label", whoever calls. */
int label_people(const struct stage_context *c, size_t pairs);

/* The overseer's gate (gate.c): questions with a known answer. */
int gate_plan(const struct stage_context *c);
int gate_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                const Cai__V1__Result *result);
/* Records the figures; true and a reason when the overseer is not above chance, or does not
 * answer with the options. */
int gate_judge(const struct stage_context *c, bool *ret_wait, char *ret_reason, size_t size);

#endif
