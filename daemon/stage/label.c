/* label.c: AI preference labels. First the overseer proves itself (gate.c); then two
 * replies of the present policy to each prompt are compared under a principle drawn by
 * weight (or several, averaged later), by the probabilities of the whole option strings,
 * in both orders.
 *
 * Phases: gate → (done) reply → score; with reasons (mode cot, reason.h) each scoring has a
 * text before it: gate-reason → gate → (done) reply → reason → score; with debates (mode debate,
 * debate.h) speeches, and the gate's questions are asked in every way (methods.h). Prompts: harmful ones
 * (data.harmful and failing red-team cases up to this round) and helpful ones in the share
 * stages.label.helpful: by default that of PPO, the mix on which the preference model will be
 * asked; 0 when people's pairs are the helpful ones.
 * Examples: gate_question, gate, reply_a, reply_b (k = pass). Labels: "ai", k = pass ×
 * principles + i; "human", from data.human, k = 0, with replies of their own.
 * Metrics: prompts, pairs (compared), identical, empty, too_long (pairs dropped), labels,
 *   labels_human, option_mass, flipped, bias (mean |P(A|AB) + P(A|BA) − 1|), mean_margin
 *   (mean |2p − 1|), entropy (mean, bits), principles_drawn, and of each of them
 *   labels/PRINCIPLE, entropy/PRINCIPLE, flipped/PRINCIPLE; those of gate.c and reason.h.
 * Gates: overseer, label. */
#include "stage/label.h"

#include "base/error.h"
#include "base/rng.h"
#include "stage/data.h"
#include "stage/debate.h"
#include "stage/draw.h"
#include "stage/rates.h"
#include "stage/reason.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

static bool enabled(const struct job_spec *job) {
    return job->label.enabled && job->label.pairs > 0;
}

static uint32_t per_pair(const struct stage_context *c) {
    return label_principles(c, c->job->label.principles > 0 ? (size_t)c->job->label.principles : 1);
}

/* The same prompt, and those nearly the same, are on the same side in every round. */
static int held_out(const struct stage_context *c, uint64_t item, bool *ret) {
    uint64_t group;
    CAI_TRY(data_group(c, item, &group));
    *ret = cai_rng_uniform(cai_key_make(c->job->seed, 0, "label/held_out", group, 0), 0) <
           c->job->prefer.held_out;
    return 0;
}

/* ---- replies ------------------------------------------------------------------------------- */
static int harmful_items(const struct stage_context *c, struct cai_arena *a, struct items *ret) {
    struct items own, red;
    CAI_TRY(data_pool(c, JOB_DATA_HARMFUL, a, &own));
    CAI_TRY(data_red_pool(c, c->round, false, a, &red));
    ret->n = own.n + red.n;
    ret->at = cai_arena_array(a, ret->n + 1, sizeof *ret->at);
    memcpy(ret->at, own.at, own.n * sizeof *own.at);
    if (red.n)
        memcpy(ret->at + own.n, red.at, red.n * sizeof *red.at);
    return 0;
}

/* Asks for `want` pairs over a pool: whole passes over it, then a drawn part. */
static int ask_pool(struct builder *b, const struct stage_context *c, const char *what,
                    struct items pool, size_t want, size_t *io_asked) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    for (uint32_t pass = 0; want > 0 && pool.n > 0; pass++) {
        struct items part = {cai_arena_array(&a, pool.n, sizeof *part.at), pool.n};
        memcpy(part.at, pool.at, pool.n * sizeof *pool.at);
        items_take(c, c->round, cai_arena_printf(&a, "label/%s-%u", what, pass), want, &part);
        for (size_t i = 0; i < part.n; i++) {
            CAI_AUTO(dialog) struct dialog d = {0};
            CAI_TRY(data_dialog(c, part.at[i], &a, &d));
            CAI_TRY(build_generate_turns(b, part.at[i], 2 * pass, 2, d.turns, d.n));
        }
        want -= part.n;
        *io_asked += part.n;
    }
    return 0;
}

static int plan_replies(const struct stage_context *c, size_t *ret_asked) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct items harmful, helpful;
    struct model_ref policy;
    size_t pairs = (size_t)c->job->label.pairs;
    CAI_TRY(harmful_items(c, &a, &harmful));
    CAI_TRY(data_pool(c, JOB_DATA_HELPFUL, &a, &helpful));
    double share = harmful.n == 0 ? 1 : helpful.n == 0 ? 0 : c->job->label.helpful;
    size_t soft = (size_t)llround(share * (double)pairs);
    CAI_TRY(models_policy(c, c->round, &a, &policy));
    build_generate(&b, c, "reply", 0, &policy, &c->job->label.reply);
    *ret_asked = 0;
    CAI_TRY(ask_pool(&b, c, "harmful", harmful, pairs - soft, ret_asked));
    CAI_TRY(ask_pool(&b, c, "helpful", helpful, soft, ret_asked));
    CAI_TRY(rates_value(c, "prompts", (double)*ret_asked));
    return build_flush(&b);
}

/* ---- people's pairs ------------------------------------------------------------------------- */
static int add_human(const struct stage_context *c, uint64_t item) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(c, item, &a, &d));
    const char *x = json_string_value(json_object_get(d.row, "chosen"));
    const char *y = json_string_value(json_object_get(d.row, "rejected"));
    double p = 1;
    if (!x || !y) {
        x = json_string_value(json_object_get(d.row, "a"));
        y = json_string_value(json_object_get(d.row, "b"));
        p = json_number_value(json_object_get(d.row, "p"));
    }
    /* A coin, so that the better one does not always stand first. */
    if (cai_rng_below(cai_key_make(c->job->seed, 0, "label/human_side", item, 0), 0, 2)) {
        const char *other = x;
        x = y;
        y = other;
        p = 1 - p;
    }
    CAI_TRY(example_put(c, item, 0, "reply_a", x, NULL, "", NULL));
    CAI_TRY(example_put(c, item, 0, "reply_b", y, NULL, "", NULL));
    struct store_label l = {.job = c->job_id, .round = c->round, .item = item, .principle = "",
                            .revision = c->constitution->revision, .model = "",
                            .source = "human", .p = p, .p_ab = p, .p_ba = 1 - p, .mass_ab = 1,
                            .mass_ba = 1};
    CAI_TRY(held_out(c, item, &l.held_out));
    return store_label_add(c->store, &l);
}

int label_people(const struct stage_context *c, size_t pairs) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct items all;
    double share = c->job->prefer.human;
    CAI_TRY(data_pool(c, JOB_DATA_HUMAN, &a, &all));
    bool every = share >= 1 || pairs == 0;
    size_t want = every ? all.n : (size_t)llround(share / (1 - share) * (double)pairs);
    if (want == 0)
        all.n = 0;
    items_take(c, 0, "label/human", want, &all);
    for (size_t i = 0; i < all.n; i++)
        CAI_TRY(add_human(c, all.at[i]));
    return rates_value(c, "labels_human", (double)all.n);
}

/* ---- plan and results ----------------------------------------------------------------------- */
/* A frozen overseer that passed in an earlier round need not be asked again. */
static bool gate_passed_before(const struct stage_context *c) {
    double low = 0;
    bool trained = c->job->skill.enabled && c->job->skill.use;
    if (c->round == 1 || trained || strcmp(c->job->models.overseer, "latest") == 0)
        return false;
    for (uint32_t r = 1; r < c->round; r++)
        if (store_metric_get(c->store, c->job_id, r, "label", 0, "prompts", &low) == 0)
            return true;
    cai_error_clear();
    return false;
}

static int plan(const struct stage_context *c) {
    size_t n;
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    if (per_pair(c) == 0)
        return cai_fail(CAI_EINPUT, "constitution %s: no enabled principle has a choice; give one "
                        "that text, or switch the stage label off", c->constitution->name);
    if (c->job->label.gate_pairs > 0 && !gate_passed_before(c))
        return gate_plan(c); /* then done() judges it, also when nothing could be asked */
    CAI_TRY(label_people(c, c->round * (size_t)c->job->label.pairs));
    return plan_replies(c, &n);
}

/* A pair that cannot be compared: counted, not asked. */
static int put_dropped(const struct stage_context *c, uint64_t item, uint32_t pass,
                       const char *why) {
    return example_put(c, item, pass, "dropped", "", NULL, "", json_pack("{s:s}", "reason", why));
}

static bool blank(const char *s) { return s[strspn(s, " \t\r\n")] == 0; }

/* Comparisons of the pairs in `keep` under their j-th principle: one task, so that many
 * principles do not make one too large. */
static int ask_principle(const struct stage_context *c, const Cai__V1__Task *task,
                         const Cai__V1__Generated **g, size_t n, const bool *keep, uint32_t j,
                         struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct model_ref overseer;
    uint32_t principles = per_pair(c);
    CAI_TRY(models_role(c, "overseer", c->round, a, &overseer));
    if (debate_used(c))
        debate_open(&b, c, false, task->chunk * principles + j, &overseer);
    else if (reason_used(c))
        reason_open(&b, c, "reason", task->chunk * principles + j, &overseer);
    else
        build_score(&b, c, "score", task->chunk * principles + j, &overseer);
    b.whole = true;
    for (size_t i = 0; i + 1 < n; i += 2) {
        CAI_AUTO(dialog) struct dialog d = {0};
        uint32_t pass = g[i]->k / 2;
        if (!keep[i])
            continue;
        CAI_TRY(data_dialog(c, g[i]->item, a, &d));
        const char *what = cai_arena_printf(a, "label/principle-%u", pass);
        CAI_TRY(choice_ask(&b, c, draw_principle_distinct(c, DRAW_CHOICE, what, g[i]->item, j),
                           d.turns, d.n, g[i]->text, g[i + 1]->text, g[i]->item,
                           pass * principles + j, c->job->label.swap));
    }
    return build_flush(&b);
}

static int absorb_replies(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result, struct cai_arena *a) {
    const Cai__V1__Generated **g;
    size_t n;
    const char *model = task->generate->model->hash;
    CAI_TRY(result_order_generated(task, result, a, &g, &n));
    bool *keep = cai_arena_array(a, n + 1, sizeof *keep);
    for (size_t i = 0; i + 1 < n; i += 2) {
        const Cai__V1__Generated *x = g[i], *y = g[i + 1];
        uint32_t pass = x->k / 2;
        bool lost = x->finish == CAI__V1__FINISH__FINISH_TOO_LONG ||
                    y->finish == CAI__V1__FINISH__FINISH_TOO_LONG;
        const char *why = lost                               ? "too_long"
                          : strcmp(x->text, y->text) == 0    ? "identical"
                          : blank(x->text) || blank(y->text) ? "empty"
                                                             : NULL;
        keep[i] = !why;
        if (why) {
            CAI_TRY(put_dropped(c, x->item, pass, why));
            continue;
        }
        CAI_TRY(example_put(c, x->item, pass, "reply_a", x->text, NULL, model, NULL));
        CAI_TRY(example_put(c, x->item, pass, "reply_b", y->text, NULL, model, NULL));
    }
    for (uint32_t j = 0; j < per_pair(c); j++)
        CAI_TRY(ask_principle(c, task, g, n, keep, j, a));
    return 0;
}

/* What the label says of A, given the overseer's probability. "shuffled" is a control: a
 * coin decides which reply of the pair the label favours, so nothing can be learned. */
static double target(const struct stage_context *c, uint64_t item, uint32_t pair, double p) {
    const char *mode = c->job->label.mode;
    if (strcmp(mode, "hard") == 0)
        return p > 0.5 ? 1 : p < 0.5 ? 0 : 0.5;
    if (strcmp(mode, "cot") == 0) /* reasons leave it near 0 or 1 and uncalibrated */
        return fmin(fmax(p, c->job->label.clamp), 1 - c->job->label.clamp);
    if (strcmp(mode, "shuffled") != 0)
        return p;
    struct cai_key key = cai_key_make(c->job->seed, c->round, "label/shuffled", item, pair);
    return cai_rng_uniform(key, 0) < 0.5 ? p : 1 - p;
}

static int add_label(const struct stage_context *c, uint64_t item, uint32_t pair,
                     const struct choice *o, const char *model) {
    uint32_t principles = per_pair(c), pass = pair / principles;
    CAI_AUTO(mem) char *what = cai_format("label/principle-%u", pass);
    if (o->lost)
        return put_dropped(c, item, (pass + 1) << 16 | pair, "choice_too_long");
    struct store_label l = {
        .job = c->job_id, .round = c->round, .item = item, .k = pair,
        .principle = draw_principle_distinct(c, DRAW_CHOICE, what, item, pair % principles)->id,
        .revision = c->constitution->revision, .model = model, .source = "ai",
        .p = target(c, item, pair, o->p), .p_ab = o->p_ab, .p_ba = o->p_ba, .mass_ab = o->mass_ab, .mass_ba = o->mass_ba};
    CAI_TRY(held_out(c, item, &l.held_out));
    return store_label_add(c->store, &l);
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Scored **s;
    size_t n, step = c->job->label.swap ? 2 : 1;
    if (strcmp(task->phase, "gate") == 0 || strcmp(task->phase, "gate-direct") == 0 ||
        strcmp(task->phase, "gate-cot") == 0)
        return gate_absorb(c, task, result);
    if (strstr(task->phase, "debate-"))
        return debate_absorb(c, task, result, task->phase[0] == 'g',
                             task->phase[0] == 'g' || c->job->label.swap);
    if (strcmp(task->phase, "gate-cot-reason") == 0)
        return reason_absorb(c, task, result, "gate-cot", true);
    if (strcmp(task->phase, "gate-reason") == 0)
        return reason_absorb(c, task, result, "gate", true);
    if (strcmp(task->phase, "reason") == 0)
        return reason_absorb(c, task, result, "score", c->job->label.swap);
    if (strcmp(task->phase, "reply") == 0)
        return absorb_replies(c, task, result, &a);
    CAI_TRY(result_order_scored(task, result, &a, &s, &n));
    for (size_t i = 0; i + step <= n; i += step) {
        struct choice o = choice_read(s[i], step == 2 ? s[i + 1] : NULL);
        CAI_TRY(add_label(c, s[i]->item, s[i]->k / 2, &o, task->score->model->hash));
    }
    return 0;
}

/* ---- figures and gates ---------------------------------------------------------------------- */
struct tally {
    const struct stage_context *c;
    struct choice_figures f;
    double margin, entropy;
    struct by_principle {
        struct choice_figures f;
        double entropy;
    } *of; /* by the constitution's index */
};

static int count_label(void *context, const struct store_label *l) {
    struct tally *t = context;
    if (strcmp(l->source, "ai") != 0)
        return 0;
    struct choice o = {.p_ab = l->p_ab, .p_ba = l->p_ba, .mass_ab = l->mass_ab,
                       .mass_ba = l->mass_ba};
    choice_weigh(&o);
    choice_count(&t->f, &o, t->c->job->label.swap);
    t->margin += fabs(2 * l->p - 1);
    t->entropy += label_entropy(l->p);
    const struct principle *p = constitution_find(t->c->constitution, l->principle);
    if (p) {
        struct by_principle *of = &t->of[p - t->c->constitution->principles];
        choice_count(&of->f, &o, t->c->job->label.swap);
        of->entropy += label_entropy(l->p);
    }
    return 0;
}

static int count_dropped(const struct stage_context *c, struct cai_arena *a) {
    struct examples dropped;
    const char *const names[] = {"identical", "empty", "too_long", "choice_too_long"};
    double n[CAI_COUNT(names)] = {0};
    CAI_TRY(examples_load(c, c->round, "label", "dropped", a, &dropped));
    for (size_t i = 0; i < dropped.n; i++) {
        json_t *o = json_loads(dropped.at[i].detail, 0, NULL);
        for (size_t r = 0; r < CAI_COUNT(names); r++)
            n[r] += strcmp(json_string_value(json_object_get(o, "reason")), names[r]) == 0;
        json_decref(o);
    }
    CAI_TRY(rates_value(c, "identical", n[0]));
    CAI_TRY(rates_value(c, "empty", n[1]));
    return rates_value(c, "too_long", n[2] + n[3]);
}

/* What a principle's labels are like: one that leaves much doubt, or follows the order of the
 * replies, is worded badly or has nothing to say about these pairs. */
static int principle_figures(const struct stage_context *c, const struct tally *t,
                             struct cai_arena *a) {
    double drawn = 0;
    for (size_t i = 0; i < c->constitution->n_principles; i++) {
        const struct by_principle *of = &t->of[i];
        const char *id = c->constitution->principles[i].id;
        if (of->f.n == 0)
            continue;
        drawn++;
        CAI_TRY(rates_value(c, cai_arena_printf(a, "labels/%s", id), (double)of->f.n));
        CAI_TRY(rates_value(c, cai_arena_printf(a, "entropy/%s", id),
                            of->entropy / (double)of->f.n));
        CAI_TRY(rates_value(c, cai_arena_printf(a, "flipped/%s", id), choice_flipped(&of->f)));
    }
    return rates_value(c, "principles_drawn", drawn);
}

static int figures(const struct stage_context *c, struct tally *t) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    int64_t pairs, human;
    t->c = c;
    t->of = cai_arena_array(&a, c->constitution->n_principles + 1, sizeof *t->of);
    CAI_TRY(store_labels_each(c->store, c->job_id, c->round, count_label, t));
    CAI_TRY(store_examples_count(c->store, c->job_id, c->round, "label", "reply_a", &pairs));
    double people = 0;
    CAI_TRY(store_metric_get(c->store, c->job_id, c->round, "label", 0, "labels_human", &people));
    human = (int64_t)people;
    CAI_TRY(count_dropped(c, &a));
    CAI_TRY(rates_value(c, "pairs", (double)(pairs - human)));
    CAI_TRY(rates_value(c, "labels", (double)t->f.n));
    CAI_TRY(principle_figures(c, t, &a));
    CAI_TRY(rates_value(c, "option_mass", choice_mass(&t->f)));
    CAI_TRY(rates_value(c, "flipped", choice_flipped(&t->f)));
    CAI_TRY(rates_value(c, "entropy", t->f.n ? t->entropy / (double)t->f.n : 0));
    CAI_TRY(rates_value(c, "bias", t->f.n ? t->f.bias / (double)t->f.n : 0));
    return rates_value(c, "mean_margin", t->f.n ? t->margin / (double)t->f.n : 0);
}

static void wait_label(const struct stage_context *c, struct stage_verdict *ret, const char *what,
                       double seen, const char *rule, double limit) {
    ret->next = STAGE_WAIT;
    snprintf(ret->gate, sizeof ret->gate, "label");
    snprintf(ret->reason, sizeof ret->reason,
             "%s %.3g, while stages.label.%s is %.3g; read 'caictl samples %lld --stage label', then "
             "accept it with 'caictl resume %lld --accept label', or change the overseer or the "
             "frames of the constitution",
             what, seen, rule, limit, (long long)c->job_id, (long long)c->job_id);
}

/* Who accepted the overseer saw its option mass and flip rate: what the gate showed to be over
 * a limit is not asked again. */
static bool accepted_flips(const struct stage_context *c) {
    double flipped = 0;
    if (!stage_accepted(c, "overseer"))
        return false;
    for (uint32_t r = c->round; r > 0; r--)
        if (store_metric_get(c->store, c->job_id, r, "label", 0, "gate_flipped", &flipped) == 0)
            break;
    cai_error_clear();
    return flipped > c->job->label.max_flipped;
}

static int judge(const struct stage_context *c, struct stage_verdict *ret) {
    struct tally t = {0};
    const struct job_label *o = &c->job->label;
    double dropped = 0;
    CAI_TRY(figures(c, &t));
    if (reason_used(c))
        CAI_TRY(reason_figures(c, &dropped));
    if (debate_used(c))
        CAI_TRY(debate_figures(c, &dropped));
    ret->next = STAGE_DONE;
    if (stage_accepted(c, "label"))
        return 0;
    if (t.f.n > 0 && choice_mass(&t.f) < o->min_option_mass && !stage_accepted(c, "overseer"))
        wait_label(c, ret, "the two options together have a mean probability of",
                   choice_mass(&t.f), "min_option_mass", o->min_option_mass);
    else if (dropped > o->max_dropped)
        wait_label(c, ret, debate_used(c) ? "the share of debates that could not be read is"
                                          : "the share of reasons that could not be read is", dropped, "max_dropped",
                   o->max_dropped);
    else if (choice_flipped(&t.f) > o->max_flipped && !accepted_flips(c))
        wait_label(c, ret, "the share of choices that turned with the order is",
                   choice_flipped(&t.f), "max_flipped", o->max_flipped);
    return 0;
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    bool wait;
    size_t n;
    ret->next = STAGE_DONE;
    if (rates_known(c, "prompts"))
        return judge(c, ret);
    CAI_TRY(gate_judge(c, &wait, ret->reason, sizeof ret->reason));
    if (wait && !stage_accepted(c, "overseer")) {
        ret->next = STAGE_WAIT;
        snprintf(ret->gate, sizeof ret->gate, "overseer");
        return 0;
    }
    ret->reason[0] = 0;
    CAI_TRY(label_people(c, c->round * (size_t)c->job->label.pairs));
    CAI_TRY(plan_replies(c, &n));
    if (n == 0)
        return judge(c, ret);
    ret->next = STAGE_MORE;
    return 0;
}

const struct stage stage_label = {"label", "AI labels", false, enabled, plan, absorb, done};
