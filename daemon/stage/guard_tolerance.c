/* guard_tolerance.c: is it ruled out that a failure rose? `rise` halts where a rise is sure and lets
 * pass what its probes cannot show; this one halts where it is not sure that there was none: the job
 * goes on only when, for every failure, the upper 95 % bound of (rate now − rate at the start) is at
 * most guards.tolerance.
 *
 * Every failure has the whole 5 %: to go on all must be ruled out, and the chance of that is at most
 * the chance for the one that did rise (intersection–union test: Berger 1982). For the same reason
 * rounds share nothing: a job that ends was let pass by its last look.
 *
 * Asking: one reply a probe; while a failure is neither ruled out nor surely risen, the probes of its
 * kind are asked again, start and policy with the same draws, until there are 2, 4 … as many replies,
 * stages.evaluate.draws at most (looks.h shares the 5 % among these looks).
 *
 * The grader: bounds are of what it sees. With people's verdicts (data.graded, human.checks,
 * human.grades) the bound is divided by the lower bound of its sensitivity + specificity − 1 (Rogan
 * and Gladen 1978): a rise that it sees in part is that much larger; where they do not show that it
 * tells failures from others (people found none, perhaps) only their verdicts on the job's own
 * replies count, whatever it said. Without any verdicts nothing is ruled out: a rate that nobody has
 * checked is unverified, however low it is; it is not asked again either, since the job halts
 * whatever is answered. What the engine counts needs no verdicts. A blind spot that training finds
 * shows in human.grades alone, as verdicts.h says.
 *
 * Phases: tolerance/reply/K, tolerance/score, and -base of both. Examples: again (k from 1, {"kind",
 * "cut"}), again_score ({"p"}).
 * Figures: draws (replies a probe); tolerance; for each failure NAME_bound, NAME_pairs (replies of each model
 * that were compared), NAME_worse and NAME_better (shares of them that failed only now, only at the
 * start), NAME_index (the lower bound for its grader, 1 where it has no verdicts), NAME_enough: replies
 * of each model with which the rise could have been ruled out at power 0.8, if it is as seen; absent
 * where it was, and where none would do; NAME_wanted: verdicts that it takes, half of them on failures,
 * where there are none or they show nothing. Where no tolerance is set the figures are of one reply a
 * probe and guards.margin, without the last, and nothing halts. */
#include "stage/guard_look.h"

#include "base/check.h"
#include "stage/classifier.h"
#include "stage/graders.h"
#include "stage/looks.h"
#include "stage/rates.h"
#include "stage/repeated.h"
#include "stage/verdicts.h"

#include <math.h>
#include <string.h>

#define ERROR 0.05

/* ---- what is known ----------------------------------------------------------------------------- */
struct told {
    const struct probes *first; /* k = 0 */
    struct probes again;        /* k from 1 */
};

struct known {
    const struct look *l;
    struct told start, now;
    size_t draws[LOOKS_MAX]; /* replies a probe, by look */
    double z[LOOKS_MAX];
    size_t looks;
    double tolerance;
    struct graded record[SIGN_CUT + 1]; /* people's verdicts on the grader of a sign */
    double index[SIGN_CUT + 1];         /* index_of() */
};

/* One failure, as far as it was looked at. */
struct bound {
    struct repeated pairs;
    double high;  /* upper bound of the rise, of its last look */
    double z;     /* of the last look there can be */
    double index; /* of the grader; 0: it is not shown to tell failures */
    bool unverified; /* a tolerance is set, and nobody has checked the grader */
    bool within, risen;
};

static double tolerance_of(const struct look *l) { return l->c->job->guards.tolerance; }

/* How much of a rise the grader shows at least: 1 without verdicts, 0 where they do not show that it
 * tells failures from others. */
static double index_of(const struct graded *g) {
    return verdicts_count(g) > 0 ? fmax(0, verdicts_index_low(g, 1 - ERROR / 2)) : 1;
}

/* Only where it is asked for are verdicts on the round's own replies counted. */
static int open_graders(struct known *n, bool asks) {
    for (int sign = 0; sign <= SIGN_CUT; sign++) {
        struct graded *g = &n->record[sign];
        if (sign != SIGN_CUT)
            CAI_TRY(asks ? verdicts_together(n->l->c, (enum probe_sign)sign, g)
                         : verdicts_elsewhere(n->l->c, (enum probe_sign)sign, g));
        n->index[sign] = index_of(g);
    }
    return 0;
}

static int open_known(const struct look *l, struct known *ret) {
    bool asks = tolerance_of(l) > 0;
    *ret = (struct known){.l = l, .tolerance = asks ? tolerance_of(l) : l->c->job->guards.margin};
    ret->start.first = &l->start;
    ret->now.first = &l->now;
    CAI_TRY(probes_load_again(l->c, 0, l->arena, &ret->start.again));
    CAI_TRY(probes_load_again(l->c, l->c->round, l->arena, &ret->now.again));
    CAI_TRY(open_graders(ret, asks));
    ret->looks = looks_doubling(asks ? (size_t)l->c->job->evaluate.draws : 1, ERROR, ret->draws, ret->z);
    return 0;
}

/* −1: not asked, or not judged. */
static int shows(const struct told *t, const struct probe_class *class, uint64_t item, uint32_t k) {
    const struct probes *p = k ? &t->again : t->first;
    const struct store_example *e = examples_find(&p->replies, item, k);
    return e ? probes_shows(p, class, (size_t)(e - p->replies.at)) : -1;
}

/* What pairs of the draws from … to − 1 say of each probe. */
struct tally {
    size_t pairs, both, worse, better;
};

static size_t count_draws(const struct known *n, const struct probe_class *class, size_t from, size_t to,
                          struct tally *io) {
    const struct examples *replies = &n->now.first->replies;
    size_t pairs = 0;
    for (size_t i = 0; i < replies->n; i++)
        for (size_t k = from; k < to; k++) {
            int now = shows(&n->now, class, replies->at[i].item, (uint32_t)k);
            int before = now < 0 ? -1 : shows(&n->start, class, replies->at[i].item, (uint32_t)k);
            if (before < 0)
                continue;
            io[i].pairs++;
            io[i].both += before && now;
            io[i].worse += !before && now;
            io[i].better += before && !now;
            pairs++;
        }
    return pairs;
}

/* A bound of what the grader sees as one of what is there; a fall is left as it is seen. */
static double corrected(double high, double index) {
    return index <= 0 ? 1 : high <= 0 ? high : fmin(1, high / index);
}

/* Look by look, until it is decided or nothing more was asked. */
static int bound_of(const struct known *n, const struct probe_class *class, struct bound *ret) {
    size_t probes = n->now.first->replies.n;
    struct tally *tally = cai_arena_array(n->l->arena, probes + 1, sizeof *tally);
    memset(tally, 0, (probes + 1) * sizeof *tally);
    *ret = (struct bound){.high = 1, .z = n->z[n->looks - 1], .index = n->index[class->sign],
                          .unverified = tolerance_of(n->l) > 0 && class->sign != SIGN_CUT &&
                                        verdicts_count(&n->record[class->sign]) <= 0};
    for (size_t j = 0; j < n->looks && !ret->within && !ret->risen; j++) {
        struct repeated r = {0};
        if (count_draws(n, class, j ? n->draws[j - 1] : 0, n->draws[j], tally) == 0)
            break;
        for (size_t i = 0; i < probes; i++)
            repeated_add(&r, tally[i].pairs, tally[i].both, tally[i].worse, tally[i].better);
        ret->pairs = r;
        ret->high = corrected(repeated_high(&r, n->z[j]), ret->index);
        ret->within = ret->high <= n->tolerance && !ret->unverified;
        ret->risen = repeated_low(&r, n->z[j]) > n->tolerance;
    }
    if (ret->pairs.pairs == 0 || ret->index > 0 || tolerance_of(n->l) <= 0)
        return 0;
    CAI_TRY(verdicts_rise_high(n->l->c, class, &ret->high));
    ret->within = ret->high <= n->tolerance;
    return 0;
}

/* ---- asking again ------------------------------------------------------------------------------ */
struct open {
    bool class[CLASSES_MAX];
    bool lost; /* one has risen, or cannot be judged: the job halts whatever else is asked */
    size_t n;
};

static int open_classes(const struct known *n, struct open *ret) {
    *ret = (struct open){0};
    for (size_t i = 0; probe_classes[i].name; i++) {
        struct bound b;
        if (!probe_classes[i].failure)
            continue;
        CAI_TRY(bound_of(n, &probe_classes[i], &b));
        ret->class[i] = b.pairs.pairs > 0 && !b.within;
        ret->n += ret->class[i];
        bool lost = b.risen || b.unverified || (b.index <= 0 && !b.within);
        ret->lost = ret->lost || (b.pairs.pairs > 0 && lost);
    }
    return 0;
}

/* Whether a class that is open is about this kind of prompt; `harm`: one that is judged by a model. */
static bool wanted(const struct open *o, const char *kind, bool harm) {
    for (size_t i = 0; probe_classes[i].name; i++)
        if (o->class[i] && probes_of_kind(&probe_classes[i], kind) &&
            (!harm || probe_classes[i].sign == SIGN_HARM))
            return true;
    return false;
}

/* The probes that are wanted, with their prompts: read once for all that is asked of them. */
struct asked {
    uint64_t item;
    struct dialog d;
};

struct list {
    struct asked *at; /* by item */
    size_t n;
};

static void list_free(struct list *l) {
    for (size_t i = 0; i < l->n; i++)
        data_dialog_free(&l->at[i].d);
}
static inline void cai_list_auto(struct list *l) { list_free(l); }

static int list_wanted(const struct known *n, const struct open *o, struct list *ret) {
    const struct probes *p = n->now.first;
    ret->at = cai_arena_array(n->l->arena, p->replies.n + 1, sizeof *ret->at);
    for (size_t i = 0; i < p->replies.n; i++) {
        struct asked *q = &ret->at[ret->n];
        if (!wanted(o, p->kind[i], false))
            continue;
        q->item = p->replies.at[i].item;
        CAI_TRY(data_dialog(n->l->c, q->item, n->l->arena, &q->d));
        ret->n++;
    }
    return 0;
}

static const struct dialog *dialog_of(const struct list *list, uint64_t item) {
    size_t low = 0, high = list->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->at[middle].item < item)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->n && list->at[low].item == item ? &list->at[low].d : NULL;
}

/* The k-th replies of one model to them, unless they are there. */
static int ask(const struct known *n, const struct list *list, uint32_t k, bool base, size_t *io_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    const struct stage_context *c = n->l->c;
    const struct told *t = base ? &n->start : &n->now;
    struct model_ref model;
    CAI_TRY(base ? models_start(c, &a, &model) : models_policy(c, c->round, &a, &model));
    build_generate(&b, c, cai_arena_printf(&a, "tolerance/reply/%u%s", k, base ? "-base" : ""), 0,
                   &model, &c->job->evaluate.reply);
    build_common_draws(&b, cai_arena_printf(&a, "evaluate/%u", k));
    for (size_t i = 0; i < list->n; i++) {
        const struct asked *q = &list->at[i];
        if (examples_find(&t->again.replies, q->item, k))
            continue;
        CAI_TRY(build_generate_turns(&b, q->item, k, 1, q->d.turns, q->d.n));
        ++*io_n;
    }
    return build_flush(&b);
}

/* Replies that are there, not judged yet, and about which a model is asked. */
static int ask_scores(const struct known *n, const struct open *o, const struct list *list, bool base,
                      size_t *io_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    const struct probes *p = base ? &n->start.again : &n->now.again;
    const char *phase = cai_arena_printf(&a, "tolerance/score/%zu%s", n->now.again.replies.n,
                                         base ? "-base" : "");
    CAI_TRY(classifier_build(&b, n->l->c, phase, 0, &a));
    for (size_t i = 0; i < p->replies.n; i++) {
        const struct store_example *e = &p->replies.at[i];
        const struct dialog *d = wanted(o, p->kind[i], true) ? dialog_of(list, e->item) : NULL;
        if (!d || examples_find(&p->scores, e->item, e->k))
            continue;
        CAI_TRY(classifier_reply(&b, e->item, e->k, d->turns, d->n, e->text));
        ++*io_n;
    }
    return build_flush(&b);
}

static size_t figure(const struct look *l, const char *name, size_t otherwise) {
    const struct stage_context *c = l->c;
    double value;
    if (rates_known(c, name) &&
        store_metric_get(c->store, c->job_id, c->round, c->stage, 0, name, &value) == 0)
        return (size_t)value;
    return otherwise;
}

/* Asked, then judged, then looked at: each once for a number of draws. */
int tolerance_more(const struct look *l, size_t *io_n) {
    CAI_AUTO(list) struct list list = {0};
    size_t asked = figure(l, "draws", 1), judged = figure(l, "draws_judged", 1);
    size_t most = (size_t)l->c->job->evaluate.draws, next = 2 * asked < most ? 2 * asked : most;
    size_t before = *io_n;
    struct known n;
    struct open o;
    if (tolerance_of(l) <= 0)
        return 0;
    CAI_TRY(open_known(l, &n));
    CAI_TRY(open_classes(&n, &o));
    if (o.n == 0 || o.lost)
        return 0;
    CAI_TRY(list_wanted(&n, &o, &list));
    if (judged < asked) {
        CAI_TRY(rates_value(l->c, "draws_judged", (double)asked));
        CAI_TRY(ask_scores(&n, &o, &list, true, io_n));
        CAI_TRY(ask_scores(&n, &o, &list, false, io_n));
    }
    if (*io_n > before || next <= asked)
        return 0;
    for (size_t k = asked; k < next; k++) {
        CAI_TRY(ask(&n, &list, (uint32_t)k, true, io_n));
        CAI_TRY(ask(&n, &list, (uint32_t)k, false, io_n));
    }
    return rates_value(l->c, "draws", (double)next);
}

int tolerance_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                     const Cai__V1__Result *result) {
    struct stage_context own = look_context(c, task);
    return task->work_case == CAI__V1__TASK__WORK_GENERATE
               ? probes_keep_replies(&own, task, result, "again", false)
               : probes_keep_scores(&own, task, result, "again_score", "");
}

/* ---- judging ------------------------------------------------------------------------------------ */
/* How many verdicts would do if the rise is as seen and the grader errs in none: those that show so much
 * of it that the replies which may be asked for rule the rise out at power 0.8. */
static size_t verdicts_wanted(const struct known *n, const struct bound *b) {
    double most = (double)(b->pairs.probes * n->draws[n->looks - 1]), index = 0.1;
    while (index < 0.95 && repeated_enough(&b->pairs, index * n->tolerance, b->z, LOOK_POWER) > most)
        index += 0.05;
    return verdicts_enough(index, 1 - ERROR / 2);
}

/* Where verdicts come from. */
static const char *sources(const struct bound *b, enum probe_sign sign, size_t wanted,
                           struct cai_arena *a) {
    return cai_arena_printf(a, "%s some %zu verdicts of people, half of them on failures: rows of "
                            "data.graded with \"of\": \"%s\", or human.grades: %zu and 'caictl review "
                            "next'", b->unverified ? "it takes" : "it would take", wanted,
                            job_graded_kinds[sign], wanted);
}

/* What people found of the grader, in brackets. */
static const char *checked(const struct graded *g, struct cai_arena *a) {
    double failing = g->hit + g->miss, others = g->pass + g->alarm;
    if (verdicts_count(g) <= 0)
        return "";
    return cai_arena_printf(a, " (%.0f verdicts: of %.0f failures it sees %.0f %%, of %.0f others it "
                            "passes %.0f %%)", failing + others, failing,
                            failing > 0 ? 100 * g->hit / failing : 0, others,
                            others > 0 ? 100 * g->pass / others : 0);
}

/* What would help, for the message. */
static const char *remedy(const struct known *n, const struct probe_class *class,
                          const struct bound *b, double enough) {
    struct cai_arena *a = n->l->arena;
    if (b->risen)
        return "it did rise";
    if (b->index <= 0)
        return cai_arena_printf(a, "which does not show that it tells failures from others; %s",
                                sources(b, class->sign, verdicts_wanted(n, b), a));
    if (isinf(enough))
        return "as it was seen, no number of replies would rule it out";
    return cai_arena_printf(a, "some %.0f replies of each model could rule it out, stages.evaluate."
                            "prompts × draws", enough);
}

static int record(const struct known *k, const struct probe_class *class, const struct bound *b) {
    const struct stage_context *c = k->l->c;
    double n = (double)b->pairs.pairs;
    CAI_TRY(look_record(c, b->high, "%s_bound", class->name));
    CAI_TRY(look_record(c, n, "%s_pairs", class->name));
    CAI_TRY(look_record(c, b->index, "%s_index", class->name));
    CAI_TRY(look_record(c, (double)b->pairs.worse / n, "%s_worse", class->name));
    CAI_TRY(look_record(c, (double)b->pairs.better / n, "%s_better", class->name));
    if (tolerance_of(k->l) <= 0 || b->within || (!b->unverified && b->index > 0))
        return 0;
    return look_record(c, (double)verdicts_wanted(k, b), "%s_wanted", class->name);
}

/* The kinds of failure that nobody has checked the grader of. */
static const char *unverified_of(const struct known *n) {
    const char *all = "";
    for (int sign = 0; sign < SIGN_CUT; sign++)
        if (verdicts_count(&n->record[sign]) <= 0)
            all = cai_arena_printf(n->l->arena, "%s%s%s", all, *all ? ", " : "", job_graded_kinds[sign]);
    return all;
}

static void say(const struct known *n, const struct probe_class *class, const struct bound *b,
                double enough, const char *grader, struct finding *ret) {
    struct cai_arena *a = n->l->arena;
    const char *seen = cai_arena_printf(
        a, "%s: %.1f %% at the start, %.1f %% now (%zu probes, %zu replies)", class->says,
        100 * repeated_before(&b->pairs), 100 * repeated_after(&b->pairs), b->pairs.probes,
        b->pairs.pairs);
    if (b->unverified && !b->risen)
        look_trip(ret, b->high - n->tolerance, 0,
                  "%s, as its grader, %s, sees it, which nobody has checked: no rise is ruled out "
                  "(guards.tolerance is %.1f points); %s; without verdicts: %s", seen, grader,
                  100 * n->tolerance, sources(b, class->sign, verdicts_wanted(n, b), a),
                  unverified_of(n));
    else
        look_trip(ret, b->high - n->tolerance, 0,
                  "%s; a rise of up to %.1f points is not ruled out (95 %%), guards.tolerance is %.1f; "
                  "graded by %s%s; %s", seen, 100 * b->high, 100 * n->tolerance, grader,
                  b->unverified ? ", which nobody has checked"
                                : checked(&n->record[class->sign], a),
                  remedy(n, class, b, enough));
}

static int judge_class(const struct known *n, const struct probe_class *class, struct finding *ret) {
    const struct look *l = n->l;
    struct graders g;
    struct grader who = {"engine", "", true};
    struct bound b;
    CAI_TRY(bound_of(n, class, &b));
    if (b.pairs.pairs == 0)
        return 0;
    ret->looked = ret->looked || tolerance_of(l) > 0;
    double enough = repeated_enough(&b.pairs, b.index * n->tolerance, b.z, LOOK_POWER);
    CAI_TRY(record(n, class, &b));
    if (!b.within && !isinf(enough))
        CAI_TRY(look_record(l->c, enough, "%s_enough", class->name));
    if (tolerance_of(l) <= 0 || !look_halts(l) || b.within)
        return 0;
    CAI_TRY(graders_load(l->c->store, l->c->job_id, &g));
    graders_of(&g, "evaluate", class->name, &who);
    say(n, class, &b, enough, who.name, ret);
    return 0;
}

int tolerance_judge(const struct look *l, struct finding *ret) {
    struct known n;
    CAI_TRY(open_known(l, &n));
    CAI_TRY(look_record(l->c, n.tolerance, "tolerance"));
    for (const struct probe_class *class = probe_classes; class->name; class++)
        if (class->failure)
            CAI_TRY(judge_class(&n, class, ret));
    return 0;
}
