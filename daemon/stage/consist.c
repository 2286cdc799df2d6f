/* consist.c: self-consistency (Huang et al. 2022): several worked ways to the answer of each
 * question are sampled from the present policy; the answer that most of them give is taken for
 * right, and the ways to it become rows for sft (consist_rows.c), which trains in the same round.
 * Of the labelled part a share teaches (consist_teach.c): ways to it that come to the known answer
 * become rows. In the first of several rounds these are all that is learned, since a step that the
 * model knows wrong by heart wins votes until an answer has corrected it; then they stand beside
 * votes. The rest measures, and is not trained on but in the last round, whose policy is not
 * measured here any more. Nothing here trains.
 *
 * Phases: path. Rows of data.questions with "reply" are shown, those with an "answer" are the
 * labelled part, all others are the questions, the same in every round.
 * Examples: path (k = which; {"answer", "cut"}), vote (text = the answer; {"share", "votes",
 *   "paths", "tie", "labelled", "right"}), teach (text = the known answer; {"right", "paths"}).
 * Metrics: questions, labelled, unread (share of paths without an answer), ties; share (mean share
 *   of votes over the questions), labelled_share, accuracy (of the vote, labelled; _low _high _n),
 *   path_accuracy (of one path); threshold, kept_questions, kept_share; bin_count, bin_share,
 *   bin_accuracy, bin_fit by step (tenths of the share); from the second round on share_rise and
 *   accuracy_rise (_low _high), stopped; where labels teach: teaching, taught, taught_ways.
 * "labelled" is said of what measures: what is set apart to teach is neither that nor a question.
 *
 * A vote is kept where its share reaches the threshold, which isotonic regression on the labelled
 * part gives anew in each round: training on votes raises their share though they are no better.
 * That is the test that stops the stage: since votes were learned the share rose and accuracy is
 * not shown to have; or accuracy is shown to have fallen. */
#include "stage/consist.h"

#include "base/error.h"
#include "stage/answer.h"
#include "stage/build.h"
#include "stage/paired.h"
#include "stage/phrase.h"
#include "stage/rates.h"
#include "stage/table.h"
#include "stage/vote.h"
#include <math.h>
#include <string.h>

enum {
    LEAST = 10, /* labelled votes at or above a threshold */
    BINS = 10
};
#define NONE 2.0 /* a threshold that no share reaches */

static bool enabled(const struct job_spec *job) { return job->consist.enabled; }

/* ---- plan --------------------------------------------------------------------------------- */
static const json_t *answer_of(const struct dialog *d) { return json_object_get(d->row, "answer"); }

/* The labelled part, and a counted draw of the others. */
static int choose(const struct stage_context *c, struct cai_arena *a, struct items *ret) {
    struct items all, open = {0};
    CAI_TRY(data_pool(c, JOB_DATA_QUESTIONS, a, &all));
    *ret = (struct items){cai_arena_array(a, all.n + 1, sizeof *ret->at), 0};
    open.at = cai_arena_array(a, all.n + 1, sizeof *open.at);
    for (size_t i = 0; i < all.n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, all.at[i], a, &d));
        if (json_object_get(d.row, "reply"))
            continue;
        if (answer_of(&d))
            ret->at[ret->n++] = all.at[i];
        else
            open.at[open.n++] = all.at[i];
    }
    items_take(c, 0, "consist/questions", (size_t)c->job->consist.questions, &open);
    memcpy(ret->at + ret->n, open.at, open.n * sizeof *open.at);
    ret->n += open.n;
    items_sort(ret);
    return 0;
}

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    CAI_AUTO(answer) struct answer_rule *rule = NULL;
    struct items items;
    struct worked worked;
    struct model_ref policy;
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    CAI_TRY(answer_rule_new(c->job->consist.answer, &rule)); /* before hours of sampling */
    CAI_TRY(choose(c, &a, &items));
    CAI_TRY(consist_worked(c, &a, &worked));
    CAI_TRY(models_role(c, "generator", c->round, &a, &policy));
    bool shots = worked.n > 0 && c->job->consist.shots > 0;
    build_generate(&b, c, "path", 0, &policy, &c->job->consist.sampling);
    for (size_t i = 0; i < items.n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        struct asked_question q;
        CAI_TRY(data_dialog(c, items.at[i], &a, &d));
        consist_ask(c, &worked, &d, items.at[i], 0, false, shots ? NULL : c->job->consist.ask, &a,
                    &q);
        CAI_TRY(build_generate_turns(&b, items.at[i], 0, (uint32_t)c->job->consist.paths, q.turns,
                                     q.n));
    }
    return build_flush(&b);
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(answer) struct answer_rule *rule = NULL;
    CAI_AUTO(buf) struct cai_buf answer = {0};
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    CAI_TRY(answer_rule_new(c->job->consist.answer, &rule));
    for (size_t i = 0; i < n; i++) {
        bool cut = g[i]->finish == CAI__V1__FINISH__FINISH_LENGTH;
        if (g[i]->finish == CAI__V1__FINISH__FINISH_TOO_LONG)
            continue;
        cai_buf_clear(&answer);
        if (!cut) /* half a way has no end */
            answer_read(rule, g[i]->text, &answer);
        const char *read = answer.len ? answer.data : NULL;
        CAI_TRY(example_put(c, g[i]->item, g[i]->k, "path", g[i]->text, NULL,
                            task->generate->model->hash,
                            json_pack("{s:s*, s:b}", "answer", read, "cut", cut)));
    }
    return 0;
}

/* ---- votes -------------------------------------------------------------------------------- */
struct poll { /* one question's vote */
    uint64_t item;
    struct vote v;
    double share;
    size_t unread, right_ways;
    bool labelled, right, teaches; /* labelled: it measures */
    const char *known;             /* the answer, where it is; NULL */
};
struct polls {
    struct poll *at; /* in item order */
    size_t n, cap;
};

struct counting {
    const struct stage_context *c;
    struct cai_arena *arena;
    struct polls *polls;
    struct items teaching;
    const char **answers; /* of the present item, by path */
    size_t n;
    uint64_t item;
};

static int known_answer(const struct counting *o, struct cai_buf *ret) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(o->c, o->item, &a, &d));
    const json_t *answer = answer_of(&d);
    if (!answer)
        return 0;
    CAI_AUTO(mem) char *number = json_dumps(answer, JSON_ENCODE_ANY);
    const char *text = json_is_string(answer) ? json_string_value(answer) : number;
    answer_normal(text, strlen(text), ret);
    return 1;
}

static int close_item(struct counting *o) {
    CAI_AUTO(buf) struct cai_buf known = {0};
    struct polls *p = o->polls;
    if (o->n == 0)
        return 0;
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 256;
        struct poll *grown = cai_arena_array(o->arena, cap, sizeof *grown);
        if (p->n)
            memcpy(grown, p->at, p->n * sizeof *grown);
        p->at = grown;
        p->cap = cap;
    }
    struct poll q = {.item = o->item, .v = vote_count(o->answers, o->n)};
    int labelled = known_answer(o, &known);
    CAI_TRY(labelled);
    q.share = vote_share(&q.v);
    if (labelled > 0)
        q.known = cai_arena_strdup(o->arena, known.len ? known.data : "");
    bool set_apart = labelled > 0 && items_have(&o->teaching, o->item);
    q.labelled = labelled > 0 && !set_apart;
    q.teaches = set_apart || (labelled > 0 && consist_all_teach(o->c));
    q.right = q.labelled && q.v.answer && known.len && strcmp(q.v.answer, known.data) == 0;
    for (size_t k = 0; k < o->n; k++) {
        q.unread += !o->answers[k];
        q.right_ways += o->answers[k] && known.len && strcmp(o->answers[k], known.data) == 0;
    }
    p->at[p->n++] = q;
    o->n = 0;
    return 0;
}

static int take_path(void *context, const struct store_example *e) {
    struct counting *o = context;
    if (e->item != o->item)
        CAI_TRY(close_item(o));
    o->item = e->item;
    json_t *detail = json_loads(e->detail, 0, NULL);
    const char *answer = json_string_value(json_object_get(detail, "answer"));
    CAI_CHECK(o->n < (size_t)o->c->job->consist.paths);
    o->answers[o->n++] = answer ? cai_arena_strdup(o->arena, answer) : NULL;
    json_decref(detail);
    return 0;
}

static int count_votes(const struct stage_context *c, struct cai_arena *a, struct polls *ret) {
    struct counting o = {.c = c, .arena = a, .polls = ret};
    *ret = (struct polls){0};
    o.answers = cai_arena_array(a, (size_t)c->job->consist.paths, sizeof *o.answers);
    CAI_TRY(consist_teaching(c, a, &o.teaching));
    CAI_TRY(store_examples_each(c->store, c->job_id, c->round, c->stage, "path", take_path, &o));
    return close_item(&o);
}

static int put_votes(const struct stage_context *c, const struct polls *p) {
    for (size_t i = 0; i < p->n; i++) {
        const struct poll *q = &p->at[i];
        bool votes = !q->known || q->labelled;
        if (q->teaches)
            CAI_TRY(example_put(c, q->item, 0, "teach", q->known, NULL, "",
                                json_pack("{s:I, s:I}", "right", (json_int_t)q->right_ways,
                                          "paths", (json_int_t)q->v.paths)));
        if (votes && q->v.answer)
            CAI_TRY(example_put(c, q->item, 0, "vote", q->v.answer, NULL, "",
                                json_pack("{s:f, s:I, s:I, s:b, s:b, s:b}", "share", q->share,
                                          "votes", (json_int_t)q->v.votes, "paths",
                                          (json_int_t)q->v.paths, "tie", q->v.tie, "labelled",
                                          q->labelled, "right", q->right)));
    }
    return 0;
}

/* ---- calibration -------------------------------------------------------------------------- */
struct labelled { /* votes of the labelled part, in item order; in the arena */
    double *share, *fit;
    bool *right;
    size_t n, hits;
    bool votes_wait;  /* this round learns known answers alone */
    double threshold; /* of the shares whose votes are kept; NONE */
};

static double threshold_of(const struct stage_context *c, const struct labelled *l) {
    double wanted = c->job->consist.accuracy, t;
    if (l->votes_wait)
        return NONE;
    if (wanted <= 0 || l->n == 0)
        return 0;
    t = vote_threshold(l->share, l->fit, l->n, wanted, l->n < LEAST ? l->n : LEAST);
    return isfinite(t) ? t : NONE;
}

static void labelled_of(const struct stage_context *c, const struct polls *p, struct cai_arena *a,
                        struct labelled *ret) {
    *ret = (struct labelled){.share = cai_arena_array(a, p->n + 1, sizeof *ret->share),
                             .fit = cai_arena_array(a, p->n + 1, sizeof *ret->fit),
                             .right = cai_arena_array(a, p->n + 1, sizeof *ret->right)};
    for (size_t i = 0; i < p->n; i++) {
        bool teaches = p->at[i].teaches && p->at[i].right_ways > 0;
        ret->votes_wait = ret->votes_wait || (consist_labels_first(c->job, c->round) && teaches);
        if (!p->at[i].labelled)
            continue;
        ret->share[ret->n] = p->at[i].share;
        ret->right[ret->n++] = p->at[i].right;
        ret->hits += p->at[i].right;
    }
    vote_isotonic(ret->share, ret->right, ret->n, ret->fit);
    ret->threshold = threshold_of(c, ret);
}

static int put_bins(const struct stage_context *c, const struct labelled *l) {
    double count[BINS] = {0}, share[BINS] = {0}, right[BINS] = {0}, fit[BINS] = {0};
    for (size_t i = 0; i < l->n; i++) {
        size_t b = (size_t)(l->share[i] * BINS);
        b = b < BINS ? b : BINS - 1;
        count[b]++;
        share[b] += l->share[i];
        right[b] += l->right[i];
        fit[b] += l->fit[i];
    }
    for (size_t b = 0; b < BINS; b++) {
        const struct {
            const char *name;
            double value;
        } rows[] = {{"bin_count", count[b]}, {"bin_share", share[b] / count[b]},
                    {"bin_accuracy", right[b] / count[b]}, {"bin_fit", fit[b] / count[b]}};
        for (size_t k = 0; k < CAI_COUNT(rows) && count[b] > 0; k++)
            CAI_TRY(store_metric_add(c->store, c->job_id, c->round, c->stage, b, rows[k].name,
                                     rows[k].value));
    }
    return 0;
}

/* What known answers give to learn from; nothing is said where none teaches. */
static int put_taught(const struct stage_context *c, const struct polls *p) {
    double teaching = 0, taught = 0, ways = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct poll *q = &p->at[i];
        teaching += q->teaches;
        taught += q->teaches && q->right_ways;
        ways += q->teaches ? (double)q->right_ways : 0;
    }
    if (teaching == 0)
        return 0;
    CAI_TRY(rates_value(c, "teaching", teaching));
    CAI_TRY(rates_value(c, "taught", taught));
    return rates_value(c, "taught_ways", ways);
}

static int put_figures(const struct stage_context *c, const struct polls *p,
                       const struct labelled *l) {
    double t = l->threshold, share = 0, labelled_share = 0, unread = 0, paths = 0, ties = 0;
    double open = 0, kept = 0, right_paths = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct poll *q = &p->at[i];
        unread += (double)q->unread;
        paths += (double)q->v.paths;
        ties += q->v.tie;
        if (q->known && !q->labelled)
            continue;
        *(q->labelled ? &labelled_share : &share) += q->share;
        open += !q->labelled;
        kept += !q->labelled && q->v.answer && q->share >= t;
        right_paths += q->labelled ? (double)q->right_ways / (double)q->v.paths : 0;
    }
    double n = (double)l->n;
    const struct {
        const char *name;
        double value;
        bool known;
    } rows[] = {{"labelled", n, true},
                {"unread", unread / paths, paths > 0},
                {"ties", ties / (double)p->n, p->n > 0},
                {"share", share / open, open > 0},
                {"labelled_share", labelled_share / n, n > 0},
                {"path_accuracy", right_paths / n, n > 0},
                {"threshold", t, true},
                {"kept_questions", kept, true},
                {"kept_share", kept / open, open > 0},
                {"questions", open, true}};
    for (size_t i = 0; i < CAI_COUNT(rows); i++)
        if (rows[i].known)
            CAI_TRY(rates_value(c, rows[i].name, rows[i].value));
    if (l->n)
        CAI_TRY(rates_metric(c, c->round, c->stage, "accuracy", l->hits, l->n));
    CAI_TRY(put_taught(c, p));
    return put_bins(c, l);
}

/* ---- when to stop -------------------------------------------------------------------------- */
/* Since the round before: the share of votes, over all questions of both; accuracy, over labelled
 * ones ("worse" of struct paired: right only now). */
struct since {
    struct vote_change share;
    struct paired right;
    double right_low, right_high;
    bool of_votes; /* that round learned some */
};

static int compare(const struct stage_context *c, const struct polls *now, struct cai_arena *a,
                   struct since *ret) {
    struct examples before;
    double *d = cai_arena_array(a, now->n + 1, sizeof *d);
    size_t n = 0;
    *ret = (struct since){0};
    CAI_TRY(examples_load(c, c->round - 1, c->stage, "vote", a, &before));
    for (size_t i = 0; i < now->n; i++) {
        const struct poll *q = &now->at[i];
        const struct store_example *b = examples_find(&before, q->item, 0);
        bool was = b && example_flag(b, "right");
        if (b && q->v.answer)
            d[n++] = q->share - example_number(b, "share", 0);
        if (!q->labelled)
            continue;
        ret->right.n++;
        ret->right.both += was && q->right;
        ret->right.worse += q->right && !was;
        ret->right.better += was && !q->right;
    }
    struct paired fall = ret->right;
    fall.worse = ret->right.better;
    fall.better = ret->right.worse;
    ret->share = vote_rise(d, n, c->job->consist.confidence);
    ret->right_low = paired_rise_low(&ret->right, c->job->consist.confidence);
    ret->right_high = -paired_rise_low(&fall, c->job->consist.confidence);
    double kept = 0;
    CAI_TRY(store_metric_get(c->store, c->job_id, c->round - 1, c->stage, 0, "kept_questions", &kept));
    ret->of_votes = kept > 0;
    return 0;
}

static int put_since(const struct stage_context *c, const struct since *s) {
    double rise = paired_after(&s->right) - paired_before(&s->right);
    const struct {
        const char *name;
        double value;
    } rows[] = {{"share_rise", s->share.mean},    {"share_rise_low", s->share.low},
                {"share_rise_high", s->share.high}, {"accuracy_rise", rise},
                {"accuracy_rise_low", s->right_low}, {"accuracy_rise_high", s->right_high}};
    for (size_t i = 0; i < CAI_COUNT(rows); i++)
        if (isfinite(rows[i].value))
            CAI_TRY(rates_value(c, rows[i].name, rows[i].value));
    return 0;
}

static void wait_for(const struct stage_context *c, struct stage_verdict *ret, const char *why) {
    long long id = (long long)c->job_id;
    unsigned good = c->round > 1 ? c->round - 2 : 0;
    char back[96] = "";
    if (c->round > 1)
        snprintf(back, sizeof back, "'caictl rollback %lld --to %u' for what was before, or ", id,
                 good);
    ret->next = STAGE_WAIT;
    snprintf(ret->gate, sizeof ret->gate, "consist-%u", c->round);
    snprintf(ret->reason, sizeof ret->reason,
             "self-consistency stops: %s; read 'caictl samples %lld --stage consist', then %s"
             "'caictl resume %lld --accept consist-%u' to go on",
             why, id, back, id, c->round);
}

static void judge(const struct stage_context *c, const struct labelled *l, const struct since *s,
                  struct stage_verdict *ret) {
    char why[320];
    double low, high;
    bool fell = s && s->right.n && s->right_high < 0;
    bool surer = s && s->of_votes && s->share.low > 0;
    bool stuck = surer && s->right.n && s->right_low <= 0;
    if (fell || stuck) {
        snprintf(why, sizeof why,
                 "since the last round votes agree %s (share of the vote %+.1f points, at least "
                 "%+.1f), and %s (%+.1f points, %+.1f to %+.1f, of %zu labelled questions)",
                 s->share.mean > 0 ? "more" : "less", 100 * s->share.mean, 100 * s->share.low,
                 fell ? "are right less often" : "are not shown to be right more often",
                 100 * (paired_after(&s->right) - paired_before(&s->right)), 100 * s->right_low,
                 100 * s->right_high, s->right.n);
    } else if (l->threshold >= NONE && !l->votes_wait) {
        rates_wilson(l->hits, l->n, 0.95, &low, &high);
        snprintf(why, sizeof why,
                 "however many ways agree, votes are not right in %.0f %% "
                 "(stages.consist.accuracy), so none is kept: %.1f %% (%.1f to %.1f) of all %zu "
                 "labelled ones are right",
                 100 * c->job->consist.accuracy, 100 * (double)l->hits / (double)l->n, 100 * low,
                 100 * high, l->n);
    } else {
        return;
    }
    struct stage_verdict found = {0};
    wait_for(c, &found, why);
    if (!stage_accepted(c, found.gate))
        *ret = found;
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct polls polls;
    struct labelled l;
    struct since since = {0};
    ret->next = STAGE_DONE;
    CAI_TRY(count_votes(c, &a, &polls));
    labelled_of(c, &polls, &a, &l);
    bool again = c->round > 1;
    if (again)
        CAI_TRY(compare(c, &polls, &a, &since));
    if (!rates_known(c, "questions")) {
        CAI_TRY(put_votes(c, &polls));
        CAI_TRY(put_figures(c, &polls, &l));
        if (again)
            CAI_TRY(put_since(c, &since));
        if (l.n == 0)
            CAI_TRY(store_event_add(c->store, c->job_id, 4,
                                    "self-consistency has no labelled questions: no vote is left "
                                    "out, and nothing would show that it gets worse"));
    }
    if (c->job->consist.stop)
        judge(c, &l, again ? &since : NULL, ret);
    return rates_value(c, "stopped", ret->next == STAGE_WAIT);
}

const struct stage stage_consist = {"consist", "self-consistency", false, enabled,
                                    plan,      absorb,             done};
