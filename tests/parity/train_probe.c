/* train_probe: losses and whole training tasks behind JSON Lines, so that parity tests in
 * Python can ask.
 *     train_probe < requests > answers
 * {"op":"loss","name":NAME, …arrays} → numbers; see do_loss
 * {"op":"rows","model":DIR,"dataset":FILE,"kind":"sft"|"pm"|"dpo"}
 *        → {"rows":[{"seq":[{"ids","from"}…],"target","weight"}…]}
 * {"op":"train","kind","init","reference"?,"pm"?,"dataset","options":{…},"output":DIR}
 *        → {"reports":[{NAME: value}…],"metrics":{…}}; "seed" may be given
 * {"op":"order","name":"sft"|"pm","seed","n","epochs"} → {"order":[…]}: rows by number, in the
 *        order in which a run of that seed takes them
 * {"op":"ppo", as train, "updates":N} → {"rollouts":[…],"updates":[…]}: the first step's
 *        replies with every number of theirs, then N updates on all of them; with "target",
 *        kind "red", also {"attacks":[{"number","prompt"?,"reply"?,"raw"}…]}
 * Failures answer {"error"}. Not installed. */
#include "probe_lines.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "learn/loss.h"
#include "learn/ppo.h"
#include "learn/train.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- arrays -------------------------------------------------------------------------- */

struct array {
    double x[256];
    size_t n;
};

static struct array array(const json_t *q, const char *name)
{
    struct array a = {0};
    const json_t *list = json_object_get(q, name);
    CAI_CHECK(json_array_size(list) <= 256);
    for (; a.n < json_array_size(list); a.n++)
        a.x[a.n] = json_number_value(json_array_get(list, a.n));
    return a;
}

static double number(const json_t *q, const char *name)
{
    return json_number_value(json_object_get(q, name));
}

static json_t *list(const double *x, size_t n)
{
    json_t *o = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(o, json_real(x[i]));
    return o;
}

/* ---- losses -------------------------------------------------------------------------- */

static struct loss_clip clip_of(const json_t *q)
{
    return (struct loss_clip){number(q, "low"), number(q, "high"), number(q, "dual")};
}

static void answer_loss(json_t *a, double loss, const double *grad, size_t n)
{
    json_object_set_new(a, "loss", json_real(loss));
    json_object_set_new(a, "grad", list(grad, n));
}

static void loss_of_policy(const json_t *q, const char *name, json_t *a)
{
    struct array lp = array(q, "logprob"), old = array(q, "old"), adv = array(q, "advantage");
    double grad[256] = {0}, loss;
    if (!strcmp(name, "ppo"))
        loss = loss_ppo(lp.x, old.x, adv.x, NULL, lp.n, clip_of(q), grad, NULL);
    else if (!strcmp(name, "sequence"))
        loss = loss_ppo_sequence(lp.x, old.x, lp.n, adv.x[0], clip_of(q), grad, NULL);
    else if (!strcmp(name, "value"))
        loss = loss_value(lp.x, old.x, adv.x, NULL, lp.n, number(q, "low"), grad);
    else
        loss = loss_kl_penalty(lp.x, old.x, lp.n, number(q, "coef"), grad);
    answer_loss(a, loss, grad, lp.n);
}

static void loss_of_pairs(const json_t *q, const char *name, json_t *a)
{
    struct array x = array(q, "a"), y = array(q, "b"), p = array(q, "p");
    struct array rx = array(q, "ref_a"), ry = array(q, "ref_b");
    double grad[512] = {0}, loss = 0;
    for (size_t i = 0; i < x.n; i++)
        if (!strcmp(name, "dpo"))
            loss += loss_dpo(x.x[i], y.x[i], rx.x[i], ry.x[i], p.x[i], number(q, "beta"),
                             &grad[i], &grad[x.n + i]);
        else if (!strcmp(name, "bce"))
            loss += loss_bce(x.x[i], p.x[i], &grad[i]);
        else
            loss += loss_bradley_terry(x.x[i], y.x[i], p.x[i], number(q, "margin"),
                                       number(q, "centre"), &grad[i], &grad[x.n + i]);
    answer_loss(a, loss, grad, 2 * x.n);
}

static void advantages(const json_t *q, const char *name, json_t *a)
{
    struct array r = array(q, "reward"), v = array(q, "value"), g = array(q, "group");
    double out[256], returns[256];
    uint64_t group[256];
    for (size_t i = 0; i < g.n; i++)
        group[i] = (uint64_t)g.x[i];
    if (!strcmp(name, "gae")) {
        loss_gae(r.x, v.x, NULL, r.n, number(q, "gamma"), number(q, "lambda"), out, returns);
        json_object_set_new(a, "returns", list(returns, r.n));
    } else if (!strcmp(name, "rloo")) {
        loss_rloo_baseline(group, r.x, r.n, out);
    } else if (!strcmp(name, "grpo")) {
        loss_group_advantage(group, r.x, r.n, number(q, "scale") > 0, out);
    } else {
        uint8_t mask[256];
        for (size_t i = 0; i < r.n; i++)
            mask[i] = v.x[i] != 0;
        memcpy(out, r.x, r.n * sizeof(*out));
        loss_whiten(out, mask, r.n, number(q, "shift") > 0);
    }
    json_object_set_new(a, "out", list(out, r.n));
}

static int do_loss(const json_t *q, json_t *a)
{
    const char *name = json_string_value(json_object_get(q, "name"));
    if (json_object_get(q, "logprob"))
        loss_of_policy(q, name, a);
    else if (json_object_get(q, "a"))
        loss_of_pairs(q, name, a);
    else
        advantages(q, name, a);
    return 0;
}

/* ---- rows ---------------------------------------------------------------------------- */

static json_t *ids_of(const int32_t *ids, int64_t n)
{
    json_t *o = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(o, json_integer(ids[i]));
    return o;
}

static int do_rows(const json_t *q, json_t *a)
{
    const char *kind = json_string_value(json_object_get(q, "kind"));
    const char *dir = json_string_value(json_object_get(q, "model"));
    enum dataset_kind k = !strcmp(kind, "sft") ? DATASET_SFT
                          : !strcmp(kind, "pm") ? DATASET_PM : DATASET_DPO;
    struct hf_tokenizer *tokenizer;
    struct hf_chat *chat;
    struct dataset d;
    CAI_TRY(hf_tokenizer_load(dir, &tokenizer));
    CAI_TRY(hf_chat_load(dir, tokenizer, &chat));
    CAI_TRY(dataset_load(json_string_value(json_object_get(q, "dataset")), "", k, chat, 1024, &d));
    json_t *rows = json_array();
    for (size_t i = 0; i < d.n; i++) {
        json_t *seq = json_array();
        for (int s = 0; s < (k == DATASET_SFT ? 1 : 2); s++)
            json_array_append_new(seq, json_pack("{s:o, s:I}", "ids",
                                                 ids_of(d.rows[i].seq[s].ids, d.rows[i].seq[s].n),
                                                 "from", (json_int_t)d.rows[i].seq[s].from));
        json_array_append_new(rows, json_pack("{s:o, s:f, s:f}", "seq", seq, "target",
                                              d.rows[i].target, "weight", d.rows[i].weight));
    }
    json_object_set_new(a, "rows", rows);
    dataset_free(&d);
    hf_chat_free(chat);
    hf_tokenizer_free(tokenizer);
    return 0;
}

/* ---- tasks ---------------------------------------------------------------------------- */

struct wire {
    Cai__V1__Train train;
    Cai__V1__Model init, reference, pm, target, *pms[1];
    Cai__V1__Dataset dataset, mix;
    char *options, *states;
};

static char *text(const json_t *q, const char *name)
{
    return (char *)(uintptr_t)json_string_value(json_object_get(q, name));
}

static void wire_open(struct wire *w, const json_t *q)
{
    cai__v1__train__init(&w->train);
    cai__v1__model__init(&w->init);
    cai__v1__model__init(&w->reference);
    cai__v1__model__init(&w->pm);
    cai__v1__model__init(&w->target);
    cai__v1__dataset__init(&w->dataset);
    w->options = json_dumps(json_object_get(q, "options"), JSON_COMPACT);
    w->states = cai_format("%s/states", text(q, "output"));
    w->init.path = text(q, "init");
    w->reference.path = text(q, "reference");
    w->pm.path = text(q, "pm");
    w->pms[0] = &w->pm;
    w->target.path = text(q, "target");
    w->train.target = w->target.path ? &w->target : NULL;
    w->dataset.path = text(q, "dataset");
    cai__v1__dataset__init(&w->mix);
    w->mix.path = text(q, "mix");
    w->train.mix = w->mix.path ? &w->mix : NULL;
    w->train.kind = text(q, "kind");
    w->train.init = &w->init;
    w->train.reference = w->reference.path ? &w->reference : NULL;
    w->train.n_pm = w->pm.path ? 1 : 0;
    w->train.pm = w->pms;
    w->train.dataset = &w->dataset;
    w->train.options = w->options;
    w->train.output = text(q, "output");
    w->train.checkpoints = w->states;
}

static void take_report(void *context, Cai__V1__Report *r)
{
    json_t *o = json_object();
    for (size_t i = 0; i < r->n_metrics; i++)
        json_object_set_new(o, r->metrics[i]->name, json_real(r->metrics[i]->value));
    json_array_append_new(context, o);
}

static uint64_t seed_of(const json_t *q)
{
    const json_t *seed = json_object_get(q, "seed");
    return seed ? (uint64_t)json_integer_value(seed) : 3;
}

/* As learn/supervise.c orders the first member's rows. */
static int do_order(const json_t *q, json_t *a)
{
    size_t n = (size_t)json_integer_value(json_object_get(q, "n"));
    uint32_t epochs = (uint32_t)json_integer_value(json_object_get(q, "epochs"));
    CAI_AUTO(mem) char *stage = cai_format("%s/order", text(q, "name"));
    CAI_AUTO(mem) uint32_t *order = cai_realloc(NULL, n + 1, sizeof(*order));
    json_t *all = json_array();
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        cai_rng_permutation(cai_key_make(seed_of(q), 1, stage, 0, epoch), n, order);
        for (size_t i = 0; i < n; i++)
            json_array_append_new(all, json_integer(order[i]));
    }
    json_object_set_new(a, "order", all);
    return 0;
}

static int do_train(const json_t *q, json_t *a)
{
    struct wire w;
    json_t *reports = json_array(), *metrics = json_object();
    struct learn_host host = {.context = reports, .report = take_report};
    Cai__V1__Trained *t;
    wire_open(&w, q);
    struct learn_task task = {.train = &w.train, .seed = seed_of(q), .round = 1, .host = &host};
    json_object_set_new(a, "reports", reports);
    json_object_set_new(a, "metrics", metrics);
    int rc = learn_train(&task, &t);
    if (rc == 0) {
        for (size_t i = 0; i < t->n_metrics; i++)
            json_object_set_new(metrics, t->metrics[i]->name, json_real(t->metrics[i]->value));
        cai__v1__trained__free_unpacked(t, NULL);
    }
    free(w.options);
    free(w.states);
    return rc;
}

/* ---- ppo ------------------------------------------------------------------------------- */

static json_t *rollout_json(const struct ppo *p, const struct ppo_batch *b, size_t i)
{
    const struct rollout *r = &b->rollouts->r[i];
    size_t at = b->row_of[i], n = (size_t)(r->n - r->n_prompt);
    json_t *o = json_pack("{s:o, s:I, s:b, s:f, s:f, s:I, s:b}", "ids", ids_of(r->ids, r->n),
                          "n_prompt", (json_int_t)r->n_prompt, "ended", r->ended, "raw",
                          p->models.n_pm ? b->raw[i * p->models.n_pm] : 0.0, "score", b->score[i], "group",
                          (json_int_t)b->group[i], "used", b->used[i]);
    const char *const names[] = {"old", "reference", "value", "reward", "advantage", "returns"};
    const double *const rows[] = {b->old, b->reference, b->value, b->reward, b->advantage,
                                  b->returns};
    for (size_t k = 0; k < CAI_COUNT(names); k++)
        json_object_set_new(o, names[k], list(rows[k] + at, n));
    return o;
}

static int update(struct ppo *p, struct ppo_batch *b, int64_t times, json_t *ret)
{
    CAI_AUTO(mem) uint32_t *bins = cai_realloc(NULL, b->p.n_bins, sizeof(*bins));
    bool moved = false;
    for (size_t i = 0; i < b->p.n_bins; i++)
        bins[i] = (uint32_t)i;
    for (int64_t i = 0; i < times; i++) {
        struct ppo_update_stats s = {0};
        CAI_TRY(ppo_minibatch(p, b, bins, &moved, &s));
        json_array_append_new(ret, json_pack("{s:f, s:f, s:f, s:f, s:f}", "policy_loss",
                                             s.policy_loss / s.share, "value_loss",
                                             s.value_loss / s.rows, "grad_norm", s.grad_norm,
                                             "value_grad_norm", s.value_grad_norm, "ptx_loss",
                                             s.ptx_loss));
    }
    return 0;
}

static void take_seen(void *context, const struct red_seen *s)
{
    json_array_append_new(context, json_pack("{s:I, s:s*, s:s*, s:f}", "number",
                                             (json_int_t)s->number, "prompt", s->prompt, "reply",
                                             s->reply, "raw", s->raw));
}

/* What the target said, as "attacks". */
static int score_red(struct ppo *p, const struct ppo_batch *b, json_t *a)
{
    json_t *seen = json_array();
    json_object_set_new(a, "attacks", seen);
    red_observe(p->red, take_seen, seen);
    return red_score(p->red, b->rollouts, b->score);
}

static int one_batch(struct ppo *p, const json_t *q, json_t *a)
{
    struct sampler_of_rollouts s = {p->task, &p->prompts, p->engine, &p->o};
    struct rollouts r;
    struct ppo_batch b;
    json_t *all = json_array(), *updates = json_array();
    json_object_set_new(a, "rollouts", all);
    json_object_set_new(a, "updates", updates);
    CAI_TRY(rollouts_sample(&s, 0, &r));
    int rc = ppo_batch_new(&r, &p->o, 1, &b);
    if (rc == 0)
        rc = ppo_batch_evaluate(&b, &p->models, p->task, &p->o);
    if (rc == 0 && p->red)
        rc = score_red(p, &b, a);
    if (rc == 0)
        rc = ppo_batch_advantages(&b, &p->models, &p->o, 0, p->kl_coef);
    for (size_t i = 0; i < r.n && rc == 0; i++)
        json_array_append_new(all, rollout_json(p, &b, i));
    if (rc == 0)
        rc = update(p, &b, json_integer_value(json_object_get(q, "updates")), updates);
    json_object_set_new(a, "norm", json_pack("[f, f]", p->models.value_mean,
                                             p->models.value_std));
    ppo_batch_free(&b);
    rollouts_free(&r);
    return rc;
}

static int do_ppo(const json_t *q, json_t *a)
{
    struct wire w;
    struct ppo *p = NULL;
    wire_open(&w, q);
    struct learn_task task = {.train = &w.train, .seed = 3, .round = 1};
    int rc = ppo_open(&task, &p);
    if (rc == 0)
        rc = one_batch(p, q, a);
    ppo_close(p);
    free(w.options);
    free(w.states);
    return rc;
}

static int answer(const json_t *q, json_t *a)
{
    static const struct {
        const char *op;
        int (*run)(const json_t *q, json_t *a);
    } ops[] = {{"loss", do_loss}, {"rows", do_rows}, {"order", do_order}, {"train", do_train},
             {"ppo", do_ppo}};
    const char *op = json_string_value(json_object_get(q, "op"));
    for (size_t i = 0; op && i < CAI_COUNT(ops); i++)
        if (!strcmp(op, ops[i].op))
            return ops[i].run(q, a);
    return cai_fail(CAI_EINPUT, "unknown op");
}

int main(void)
{
    if (ct_init(1) < 0)
        return 1;
    answer_lines(answer, JSON_COMPACT | JSON_REAL_PRECISION(17));
    return 0;
}
