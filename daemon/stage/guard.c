/* guard.c: the table of guards, what they look at, and the gates at which a job waits. Not for any
 * one guard's figures or thresholds: their files. */
#include "stage/guard_look.h"

#include "base/check.h"
#include "base/error.h"
#include "stage/rates.h"
#include "stage/sft.h"
#include "stage/table.h"
#include "stage/verdicts.h"

#include <stdarg.h>
#include <string.h>

const struct guard guards[] = {
    {"rise", "guards.margin", "a failure of any class rose: R above 1", NULL, NULL, NULL,
     rise_comparisons, rise_judge},
    {"tolerance", "guards.tolerance", "it is not ruled out that a failure of some class rose", NULL,
     NULL, tolerance_absorb, NULL, tolerance_judge, tolerance_more},
    {"watched", "guards.watched", "failures differ under a marker: behaves only when watched",
     watched_plan, watched_plan_scores, watched_absorb, watched_comparisons, watched_judge},
    {"skill", "guards.skill", "what the model could, it can no longer", skill_plan, NULL,
     skill_absorb, skill_comparisons, skill_judge},
    {"people", "guards.people", "the preference model goes up while people agree with it less", NULL,
     proxy_plan_scores, proxy_absorb, people_comparisons, people_judge},
    {"disagreement", "guards.disagreement", "the preference models no longer agree on the replies",
     NULL, NULL, NULL, NULL, disagreement_judge},
    {"kl", "guards.kl_budget", "the policy's distance from the start is spent", NULL, NULL, NULL,
     NULL, kl_judge},
    {"sampler", "guards.sampler_gap", "sampler and trainer disagree on the same tokens", NULL, NULL,
     NULL, NULL, sampler_judge},
    {"variety", "guards.diversity", "replies to harmless prompts lose their variety", NULL, NULL,
     NULL, NULL, variety_judge},
    {"openings", "guards.openings", "replies to harmless prompts begin alike", NULL, NULL, NULL,
     NULL, openings_judge},
    {"length", "guards.length", "replies grow or shrink out of measure", NULL, NULL, NULL, NULL,
     length_judge},
    {"entropy", "guards.entropy", "the policy is no longer undecided about anything", NULL,
     style_plan_scores, style_absorb, NULL, entropy_judge},
    {0},
};

/* ---- what was trained on ------------------------------------------------------------------- */
static int gather(const struct stage_context *c, struct cai_arena *a, struct sft_rows *ret) {
    struct sft_rows own, helpful;
    CAI_TRY(sft_rows(c, c->round, a, &own));
    CAI_TRY(sft_helpful_rows(c, own.n, a, &helpful));
    *ret = (struct sft_rows){cai_arena_array(a, own.n + helpful.n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < own.n; i++)
        ret->at[ret->n++] = own.at[i];
    for (size_t i = 0; i < helpful.n; i++)
        ret->at[ret->n++] = helpful.at[i];
    return 0;
}

int guard_take(const struct stage_context *c, struct cai_arena *a, struct examples *ret) {
    struct sft_rows rows;
    *ret = (struct examples){.arena = a};
    if (!c->job->sft.enabled || c->round > (uint32_t)c->job->rounds)
        return 0;
    CAI_TRY(gather(c, a, &rows));
    struct items drawn = {cai_arena_array(a, rows.n + 1, sizeof *drawn.at), rows.n};
    for (size_t i = 0; i < rows.n; i++)
        drawn.at[i] = i;
    items_take(c, c->round, "guard/taken", (size_t)c->job->evaluate.prompts, &drawn);
    for (size_t i = 0, k = 0; i < drawn.n; i++) {
        const struct sft_row *r = &rows.at[drawn.at[i]];
        k = i && rows.at[drawn.at[i - 1]].item == r->item ? k + 1 : 0;
        CAI_TRY(example_put(c, r->item, (uint32_t)k, "taken", r->text, NULL, "",
                            json_pack("{s:s}", "kind", probes_kind_trained(r->item))));
    }
    return examples_load(c, c->round, "evaluate", "taken", a, ret);
}

/* ---- questions of their own ------------------------------------------------------------------ */
int guard_plan(const struct stage_context *c, bool base) {
    for (const struct guard *g = guards; g->name; g++)
        if (g->plan)
            CAI_TRY(g->plan(c, base));
    return 0;
}

int guard_plan_scores(const struct stage_context *c, bool base) {
    CAI_TRY(verdicts_plan(c, base));
    for (const struct guard *g = guards; g->name; g++)
        if (g->plan_scores)
            CAI_TRY(g->plan_scores(c, base));
    return 0;
}

static const struct guard *guard_of(const Cai__V1__Task *task) {
    for (const struct guard *g = guards; g->name; g++) {
        size_t len = strlen(g->name);
        if (strncmp(task->phase, g->name, len) == 0 && task->phase[len] == '/')
            return g;
    }
    return NULL;
}

bool guard_asked(const Cai__V1__Task *task) {
    return verdicts_asked(task) || guard_of(task);
}

int guard_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result) {
    const struct guard *g = guard_of(task);
    if (!g)
        return verdicts_absorb(c, task, result);
    CAI_CHECK(g->absorb);
    return g->absorb(c, task, result);
}

/* ---- what they do alike ---------------------------------------------------------------------- */
struct stage_context look_context(const struct stage_context *c, const Cai__V1__Task *task) {
    struct stage_context o = *c;
    size_t len = strlen(task->phase), n = strlen("-base");
    if (len >= n && strcmp(task->phase + len - n, "-base") == 0)
        o.round = 0;
    return o;
}

struct paired look_compare(const struct probes *before, const struct probes *now,
                           const struct probe_class *class) {
    struct paired p = {0};
    for (size_t i = 0; i < now->replies.n; i++) {
        const struct store_example *e = examples_find(&before->replies, now->replies.at[i].item, 0);
        if (e)
            paired_add(&p, probes_shows(before, class, (size_t)(e - before->replies.at)),
                       probes_shows(now, class, i));
    }
    return p;
}

bool look_halts(const struct look *l) { return l->c->job->guards.alpha > 0; }

void look_trip(struct finding *f, double by, uint32_t last, const char *says, ...) {
    va_list list;
    if (f->tripped && by <= f->by)
        return;
    f->tripped = true;
    f->by = by;
    f->last = last;
    va_start(list, says);
    vsnprintf(f->says, sizeof f->says, says, list);
    va_end(list);
}

int look_record(const struct stage_context *c, double value, const char *name, ...) {
    char full[128];
    va_list list;
    va_start(list, name);
    vsnprintf(full, sizeof full, name, list);
    va_end(list);
    return store_metric_add(c->store, c->job_id, c->round, "evaluate", 0, full, value);
}

int look_record_rise(const struct look *l, const char *name, const struct paired *p, double margin) {
    double rise = paired_after(p) - paired_before(p);
    CAI_TRY(look_record(l->c, rise, "%s_rise", name));
    CAI_TRY(look_record(l->c, paired_rise_low(p, 0.975), "%s_rise_low", name));
    CAI_TRY(look_record(l->c, paired_rise_high(p, 0.975), "%s_rise_high", name));
    return look_record(l->c, paired_least_rise(p, margin, l->confidence, LOOK_POWER), "%s_least",
                       name);
}

const char *look_place(const struct look *l, uint32_t round, char *ret, size_t size) {
    (void)l;
    if (round == 0)
        snprintf(ret, size, "the start");
    else
        snprintf(ret, size, "round %u", round);
    return ret;
}

/* ---- judging ------------------------------------------------------------------------------- */
/* The first guard, of what multiplies, has half of guards.alpha for its comparisons; those of all
 * others share the other half. */
static double confidence_of(const struct look *l, const struct guard *g) {
    const struct job_spec *j = l->c->job;
    double alpha = j->guards.alpha > 0 ? j->guards.alpha : 0.01; /* 0: only measured */
    size_t looks = (size_t)j->rounds + j->ppo.enabled, first = guards->comparisons(l), others = 0;
    for (const struct guard *o = guards + 1; o->name; o++)
        others += o->comparisons ? o->comparisons(l) : 0;
    size_t n = g == guards ? first : others;
    double share = others ? 0.5 : 1;
    return 1 - share * alpha / (double)((looks ? looks : 1) * (n ? n : 1));
}

static int look_open(const struct stage_context *c, struct cai_arena *a, struct look *ret) {
    *ret = (struct look){.c = c, .arena = a};
    for (uint32_t round = c->round; round-- > 1 && !ret->last;) {
        struct stage_context o = *c;
        o.round = round;
        ret->last = rates_known(&o, "replies") ? round : 0;
    }
    CAI_TRY(probes_load(c, 0, a, &ret->start));
    ret->before = ret->start;
    if (ret->last)
        CAI_TRY(probes_load(c, ret->last, a, &ret->before));
    CAI_TRY(probes_load(c, c->round, a, &ret->now));
    CAI_TRY(examples_load(c, c->round, "evaluate", "taken", a, &ret->taken));
    CAI_TRY(examples_load(c, c->round, "evaluate", "taken_score", a, &ret->scores));
    for (size_t i = 0; probe_classes[i].name; i++) {
        CAI_CHECK(i < CLASSES_MAX);
        ret->since_start[i] = look_compare(&ret->start, &ret->now, &probe_classes[i]);
    }
    return 0;
}

int guard_more(const struct stage_context *c, size_t *ret_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct look l;
    *ret_n = 0;
    CAI_TRY(look_open(c, &a, &l));
    for (const struct guard *g = guards; g->name; g++)
        if (g->more)
            CAI_TRY(g->more(&l, ret_n));
    return 0;
}

/* "guard-2-rise"; a person may also have accepted all of a round's: "guard-2". */
static bool accepted(const struct stage_context *c, const char *gate) {
    char all[32];
    snprintf(all, sizeof all, "guard-%u", c->round);
    return stage_accepted(c, gate) || stage_accepted(c, all);
}

/* Where somebody goes from here; read after every reason. */
static void wait_for(const struct look *l, const struct guard *g, const struct finding *f,
                     struct stage_verdict *ret) {
    long long id = (long long)l->c->job_id;
    const struct stage_context *c = l->c;
    ret->next = STAGE_WAIT;
    snprintf(ret->gate, sizeof ret->gate, "guard-%u-%s", c->round, g->name);
    snprintf(ret->reason, sizeof ret->reason,
             "%s; read 'caictl samples %lld --stage evaluate', then 'caictl rollback %lld --to %u', or "
             "'caictl resume %lld --accept %s'", f->says, id, id, f->last, id, ret->gate);
}

int guard_judge(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct look l;
    CAI_TRY(look_open(c, &a, &l));
    for (const struct guard *g = guards; g->name; g++) {
        struct finding f = {.last = l.last};
        struct stage_verdict found = {0};
        l.confidence = confidence_of(&l, g);
        CAI_TRY(g->judge(&l, &f));
        if (f.looked)
            CAI_TRY(look_record(c, f.tripped, "guard_%s", g->name));
        if (!f.tripped || ret->next == STAGE_WAIT)
            continue;
        wait_for(&l, g, &f, &found);
        if (!accepted(c, found.gate))
            *ret = found;
    }
    return 0;
}
