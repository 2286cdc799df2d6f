/* versus.h: two models' replies to the same prompts, judged in both orders: the figures (versus.c)
 * and what is printed of them (versus_print.c). */
#ifndef CAI_CAICTL_VERSUS_H
#define CAI_CAICTL_VERSUS_H

#include "caictl.h"

/* One prompt with a reply of each. Texts belong to `row`. */
struct bout {
    size_t prompt;         /* which of the prompts */
    size_t conversation;   /* prompts that are nearly the same are one: the interval's cluster */
    json_t *row;           /* {"messages", "a", "b", "principle", …}; the array's owner frees it */
    double p_ab, p_ba;     /* P(first shown is better) with A first, with B first */
    double mass_ab, mass_ba;
    bool asked, lost; /* lost: the overseer has no room for it */
};
struct score {
    size_t n, won, even, lost_bouts, turned; /* of B: won, undecided; turned with the order */
    size_t clusters;
    double mass;
    double rate, low, high; /* of B, undecided counted half */
};

/* P(B is better), orders averaged; 0.5 when they were the same. */
double bout_p(const struct bout *b);
/* 1 when B won, 0 when A did, 0.5 when neither: the choice turned with the order, or was within
 * 0.1 of even in both. */
double bout_won(const struct bout *b);
/* The rate with a 95 % interval whose unit is the conversation: cluster-robust variance (Liang,
 * Zeger 1986), as an effective number of bouts (Korn, Graubard 1998) in Wilson's interval. */
struct score versus_score(const struct bout *b, size_t n);

json_t *versus_json(const struct bout *b, size_t n, const struct score *s, json_t *about);
void versus_print(const struct bout *b, size_t n, const struct score *s, const json_t *about,
                  size_t shown);

#endif
