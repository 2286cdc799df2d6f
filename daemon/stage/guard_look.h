/* guard_look.h: what the guards look at, and what they do alike. For guard*.c alone. */
#ifndef CAI_STAGE_GUARD_LOOK_H
#define CAI_STAGE_GUARD_LOOK_H

#include "stage/guard.h"
#include "stage/paired.h"
#include "stage/probes.h"

enum { CLASSES_MAX = 16 };
#define LOOK_POWER 0.8

struct look {
    const struct stage_context *c;
    struct cai_arena *arena;
    uint32_t last; /* the round before that was evaluated; 0 = the start */
    struct probes start, before, now;
    struct paired since_start[CLASSES_MAX]; /* by class */
    struct examples taken, scores;
    double confidence; /* of one comparison of the guard that judges */
};

/* The probes that both rounds answered, and that could be judged. */
struct paired look_compare(const struct probes *before, const struct probes *now,
                           const struct probe_class *class);
bool look_halts(const struct look *l); /* guards.alpha is not 0 */
/* Sets the finding if it is worse than the one that stands there. */
__attribute__((format(printf, 4, 5))) void look_trip(struct finding *f, double by, uint32_t last,
                                                     const char *says, ...);
/* One figure of evaluate; NAME is printf's. */
__attribute__((format(printf, 3, 4))) int look_record(const struct stage_context *c, double value,
                                                      const char *name, ...);
/* A paired comparison as NAME_rise, _low, _high (95 %) and NAME_least. */
int look_record_rise(const struct look *l, const char *name, const struct paired *p, double margin);
const char *look_place(const struct look *l, uint32_t round, char *ret, size_t size); /* "round 2" */
/* Round 0 in place of c's for what is the start's: phases that end with "-base". */
struct stage_context look_context(const struct stage_context *c, const Cai__V1__Task *task);

/* guard_rise.c */
size_t rise_comparisons(const struct look *l);
int rise_judge(const struct look *l, struct finding *ret);
/* guard_tolerance.c */
int tolerance_more(const struct look *l, size_t *io_n);
int tolerance_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                     const Cai__V1__Result *result);
int tolerance_judge(const struct look *l, struct finding *ret);
/* guard_style.c */
int style_plan_scores(const struct stage_context *c, bool base);
int style_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result);
int variety_judge(const struct look *l, struct finding *ret);
int openings_judge(const struct look *l, struct finding *ret);
int length_judge(const struct look *l, struct finding *ret);
int entropy_judge(const struct look *l, struct finding *ret);
/* guard_skill.c */
int skill_plan(const struct stage_context *c, bool base);
int skill_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result);
size_t skill_comparisons(const struct look *l);
int skill_judge(const struct look *l, struct finding *ret);
/* guard_watched.c */
int watched_plan(const struct stage_context *c, bool base);
int watched_plan_scores(const struct stage_context *c, bool base);
int watched_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                   const Cai__V1__Result *result);
size_t watched_comparisons(const struct look *l);
int watched_judge(const struct look *l, struct finding *ret);
/* guard_proxy.c */
int proxy_plan_scores(const struct stage_context *c, bool base);
int proxy_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result);
size_t people_comparisons(const struct look *l);
int people_judge(const struct look *l, struct finding *ret);
int disagreement_judge(const struct look *l, struct finding *ret);
/* guard_train.c */
int kl_judge(const struct look *l, struct finding *ret);
int sampler_judge(const struct look *l, struct finding *ret);

#endif
