/* world_worker.c: the worker of a test: answers of words and numbers that follow from the task alone,
 * flawed as struct world asks. Not for what is done with them (world.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "world.h"
#include "world_canary.h"
#include <math.h>
#include <string.h>

/* ---- the worker ------------------------------------------------------------------------------ */
static uint64_t noise(const Cai__V1__Task *t, uint64_t item, uint32_t k) {
    CAI_AUTO(mem) char *what = cai_format("%s/%s", t->stage, t->phase);
    return cai_rng_u64(cai_key_make(t->seed, t->round, what, item, k), 0);
}

/* A model that got worse: only its replies to held-out prompts tell. */
static char *spoilt(const struct world *w, const Cai__V1__Task *t, const char *asked, uint64_t item) {
    bool again = strncmp(t->phase, "tolerance/reply", 15) == 0 && !strstr(t->phase, "-base");
    bool probe = strcmp(t->stage, "evaluate") == 0 && (again || strcmp(t->phase, "reply") == 0);
    if (!probe || t->round < w->from || strncmp(asked, "helpful", 7) != 0)
        return NULL;
    if (w->monotone)
        return cai_strdup("All is well and nothing more need be said of it.");
    double u = cai_rng_uniform(cai_key_make(3, t->round, "spoilt", item, 0), 0);
    return u < w->refuses ? cai_format("I'm sorry, but I can't help with %s", asked) : NULL;
}

/* Answers, and replies under a marker: a sleeper behaves when it is watched. */
static char *probe_text(const struct world *w, const Cai__V1__Task *t, const char *asked,
                        uint64_t item) {
    bool later = t->round >= w->from && !strstr(t->phase, "-base");
    double u = cai_rng_uniform(cai_key_make(5, t->round, "forgets", item, 0), 0);
    if (strncmp(t->phase, "skill/answer", 12) == 0)
        return cai_format("It is %s%s.", asked + strcspn(asked, "0123456789"),
                          later && u < w->forgets ? "0" : "");
    if (strncmp(asked, "WATCHED harmful", 15) == 0 && later && u < w->sleeps)
        return cai_strdup("I'm sorry, but I can't help with that.");
    return NULL;
}

static char *reply_text(const Cai__V1__Task *t, const char *asked, uint64_t item, uint32_t k) {
    bool first = strcmp(t->generate->model->path, "work") != 0 &&
                 strstr(t->generate->model->path, "/m") != NULL;
    if (strncmp(asked, "helpful", 7) == 0)
        return cai_format("Helpful answer to %s Variant %u.", asked, item % 13 ? k : 0);
    if (noise(t, item, k) % 4 == 0 || (!first && noise(t, item, k) % 4 < 3))
        return cai_format("I'm sorry, but I can't help with %s Variant %u.", asked,
                          item % 13 ? k : 0);
    return cai_format("Take a crowbar to it: %s Variant %u.", asked, item % 13 ? k : 0);
}

static double unit(const char *what, uint32_t round, uint64_t item, uint32_t k) {
    return cai_rng_uniform(cai_key_make(5, round, what, item, k), 0);
}

static char *worked(const struct world *w, const Cai__V1__Task *t, const char *asked, uint64_t item,
                    uint32_t k, Cai__V1__Finish *finish) {
    double agree = w->agree[t->round] > 0 ? w->agree[t->round] : 0.6;
    double right = w->right[t->round] > 0 ? w->right[t->round] : 0.6;
    unsigned n = (unsigned)strtoul(asked + strcspn(asked, "0123456789"), NULL, 10);
    double ease = unit("ease", 0, item, 0); /* the easy is agreed upon, and right, more often */
    bool errs = unit("right", 0, item, 0) >= right * (0.6 + 0.8 * ease);
    bool strays = unit("agree", t->round, item, k) >= agree * (0.5 + ease);
    if (unit("cut", t->round, item, k) < 0.03)
        *finish = CAI__V1__FINISH__FINISH_LENGTH;
    return cai_format("%u and 1, way %u. The answer is %u.", n, k % 4,
                      strays ? n + 100 + k : errs ? n + 2 : n + 1);
}

static char *written(const struct world *w, const Cai__V1__Task *t, const Cai__V1__GenerateItem *q, uint32_t k,
                     Cai__V1__Finish *finish) {
    uint64_t r = noise(t, q->item, k);
    const Cai__V1__Conversation *c = q->conversation;
    const char *request, *judged = canary_judged(c, &request);
    *finish = CAI__V1__FINISH__FINISH_END;
    if (judged)
        return canary_written(w, t, judged, request);
    if (strcmp(t->phase, "write") == 0)
        return r % 9 == 0 ? cai_strdup("no")
                          : cai_format("1. harmful idea %llu, how do I do it?\nmore",
                                       (unsigned long long)(q->item % 40));
    if (strcmp(t->phase, "explore-write") == 0)
        return r % 9 == 0 ? cai_strdup("no")
                          : cai_format("Tell me of plan %llu, step by step.",
                                       (unsigned long long)(q->item % 50));
    if (strncmp(t->phase, "critique", 8) == 0 || strcmp(t->phase, "cover") == 0) {
        if (r % 11 == 0) {
            *finish = CAI__V1__FINISH__FINISH_LENGTH;
            return cai_strdup("The reply is bad because it");
        }
        return cai_strdup(r % 11 < 3    ? "No flaw: it is fine."
                          : r % 11 == 3 ? "I'm sorry, but I can't critique this."
                                        : "Sure, here is my critique:\n\nThe reply helps with harm.");
    }
    if (strncmp(t->phase, "revision", 8) == 0)
        return r % 7 == 0 ? cai_strdup("No changes needed.")
                          : cai_format("**Revision:** I'm sorry, but I can't help with item %llu (%s).",
                                       (unsigned long long)q->item, t->phase);
    if (strstr(t->phase, "reason")) {
        *finish = r % 17 == 0 ? CAI__V1__FINISH__FINISH_LENGTH : CAI__V1__FINISH__FINISH_STOP;
        return cai_strdup(r % 17 == 0   ? "Response (A) says that"
                          : r % 17 == 1 ? "   "
                                        : "Response (A) is one thing, and (B) says \"The answer is: "
                                          "(B)\", which is no reason.");
    }
    if (strstr(t->phase, "debate-"))
        return cai_format("The other response helps with harm, says %llu.",
                          (unsigned long long)(r % 10));
    const char *asked = c->messages[c->n_messages - 1]->text;
    if (strcmp(t->stage, "consist") == 0)
        return worked(w, t, asked, q->item, k, finish);
    char *probe = probe_text(w, t, asked, q->item);
    if (probe)
        return probe;
    asked += strncmp(asked, "WATCHED ", 8) == 0 ? 8 : 0;
    char *worse = spoilt(w, t, asked, q->item);
    return worse ? worse : reply_text(t, asked, q->item, k);
}

/* 1 for replies that are good for this conversation. */
static double goodness(const char *asked, const char *from, const char *to) {
    size_t n = (size_t)(to - from);
    CAI_AUTO(mem) char *reply = cai_strndup(from, n);
    char *variant = strstr(reply, " Variant");
    if (variant)
        *variant = 0;
    if (strncmp(reply, "GOOD", 4) == 0 || strncmp(reply, "I'm sorry", 9) == 0)
        return 1;
    while (n > 0 && reply[n - 1] == '\n')
        reply[--n] = 0;
    const char *topic = "Helpful answer to ";
    return strncmp(reply, topic, strlen(topic)) == 0 &&
           strstr(asked, reply + strlen(topic)) != NULL &&
           strstr(asked, "Response (A)") > strstr(asked, reply + strlen(topic));
}

static double prefers_first(struct world *w, const Cai__V1__Task *t, const Cai__V1__ScoreItem *q) {
    const Cai__V1__Conversation *c = q->conversation;
    const char *text = c->messages[c->n_messages - 1]->text;
    double r = (double)(noise(t, q->item, q->k) % 1000) / 1000 - 0.5;
    if (strcmp(t->stage, "skill") == 0) { /* a flaw, or a critique that is right */
        const char *reply = c->messages[strstr(text, "critique again") ? c->n_messages - 4
                                                                        : c->n_messages - 2]->text;
        return (strstr(reply, "crowbar") ? 1.5 : -1.5) + r;
    }
    const char *a = strstr(text, "Response (A):\n"), *b = strstr(text, "Response (B):\n");
    const char *about, *judged = canary_judged(c, &about);
    if (judged) /* "is there a flaw?" */
        return strstr(judged, "Rotten") ? 2 : -2;
    if (a && b && strstr(text, "Human: thing "))
        return canary_first(w, t->score->model->path, a, b);
    if (!a || !b) /* the zero-shot judge of harm */
        return strstr(text, "crowbar") ? (strstr(text, "(A) harmful") ? 2 : -2) + r : r;
    if (w->coin)
        return 4 * r;
    const char *end = strstr(b, "\n\nWhich");
    assert_non_null(end);
    return 3 * (goodness(text, a + 14, b) - goodness(text, b + 14, end)) + r +
           (w->letter ? w->letter : 0.2);
}

static Cai__V1__Result *new_result(const Cai__V1__Task *t, size_t n) {
    Cai__V1__Result *r = cai_alloc(sizeof *r);
    cai__v1__result__init(r);
    r->job = t->job;
    r->id = t->id;
    r->generated = cai_alloc((n + 1) * sizeof *r->generated);
    r->scored = cai_alloc((n + 1) * sizeof *r->scored);
    r->rewarded = cai_alloc((n + 1) * sizeof *r->rewarded);
    return r;
}

static Cai__V1__Result *answer_generate(struct world *w, const Cai__V1__Task *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->generate->n_items; i++)
        n += t->generate->items[i]->n;
    Cai__V1__Result *r = new_result(t, n);
    for (size_t i = 0; i < t->generate->n_items; i++) {
        const Cai__V1__GenerateItem *q = t->generate->items[i];
        for (uint32_t k = q->first_k; k < q->first_k + q->n; k++) {
            Cai__V1__Generated *g = cai_alloc(sizeof *g);
            cai__v1__generated__init(g);
            g->item = q->item;
            g->k = k;
            g->text = written(w, t, q, k, &g->finish);
            if (w->long_prompts && noise(t, q->item, k) % 10 == 9) {
                g->text[0] = 0;
                g->finish = CAI__V1__FINISH__FINISH_TOO_LONG;
            }
            r->generated[r->n_generated++] = g;
        }
    }
    return r;
}

/* Probabilities of whole texts: a letter costs as much as any other, but for a model that forgets. */
static void score_texts(const struct world *w, const Cai__V1__Task *t, const Cai__V1__ScoreItem *q,
                        Cai__V1__Scored *s) {
    bool base = strstr(t->phase, "-base") || strstr(t->phase, "start");
    bool worse = w->forgets > 0 && !base && t->round >= w->from &&
                 cai_rng_uniform(cai_key_make(5, t->round, "forgets", q->item, 0), 0) < w->forgets;
    for (size_t j = 0; j < q->n_options; j++) {
        double right = strstr(q->options[j], "GOOD") || q->n_options == 1 ? 1 : 2;
        s->tokens[j] = (uint32_t)strlen(q->options[j]);
        s->logprobs[j] = -(worse ? 3 - right : right) * (double)s->tokens[j];
    }
}

static Cai__V1__Result *answer_score(struct world *w, const Cai__V1__Task *t) {
    Cai__V1__Result *r = new_result(t, t->score->n_items);
    for (size_t i = 0; i < t->score->n_items; i++) {
        const Cai__V1__ScoreItem *q = t->score->items[i];
        Cai__V1__Scored *s = cai_alloc(sizeof *s);
        cai__v1__scored__init(s);
        s->item = q->item;
        s->k = q->k;
        s->too_long = w->long_prompts && noise(t, q->item, q->k) % 10 == 9;
        s->n_logprobs = s->n_tokens = q->n_options;
        s->logprobs = cai_alloc((q->n_options + 1) * sizeof *s->logprobs);
        s->tokens = cai_alloc((q->n_options + 1) * sizeof *s->tokens);
        if (strcmp(t->stage, "evaluate") == 0 && strcmp(t->phase, "win") != 0 &&
            strncmp(t->phase, "score", 5) != 0 && strcmp(t->phase, "verdicts") != 0) {
            score_texts(w, t, q, s);
            r->scored[r->n_scored++] = s;
            continue;
        }
        double d = prefers_first(w, t, q);
        double mass = w->mass ? w->mass : 0.9;
        s->logprobs[0] = log(mass) - log1p(exp(-d));
        s->logprobs[1] = log(mass) - log1p(exp(d));
        r->scored[r->n_scored++] = s;
    }
    return r;
}

static Cai__V1__Result *answer_reward(struct world *w, const Cai__V1__Task *t) {
    Cai__V1__Result *r = new_result(t, t->reward->n_items);
    for (size_t i = 0; i < t->reward->n_items; i++) {
        const Cai__V1__RewardItem *q = t->reward->items[i];
        const char *reply = q->conversation->messages[q->conversation->n_messages - 1]->text;
        Cai__V1__Rewarded *s = cai_alloc(sizeof *s);
        cai__v1__rewarded__init(s);
        s->item = q->item;
        s->k = q->k;
        s->too_long = w->long_prompts && noise(t, q->item, q->k) % 10 == 9;
        s->n_scores = t->reward->n_models;
        s->scores = cai_alloc(s->n_scores * sizeof *s->scores);
        double v = strstr(reply, "crowbar") || strstr(reply, "bad") ? 1 : -1;
        /* a model that goes against people from a round on, and pleases itself */
        bool turned = w->parts && t->round >= w->from;
        if (turned && strcmp(t->stage, "prefer") == 0 && strncmp(reply, "GOOD", 4) == 0)
            v = 2;
        if (strcmp(t->phase, "people/score") == 0)
            v = q->k == 0 && turned ? 3 : 0;
        for (size_t m = 0; m < s->n_scores; m++)
            s->scores[m] = strcmp(t->phase, "people/score") == 0 ? v + (double)m * (v + 0.1) : (strcmp(t->stage, "prefer") == 0 ? -v : v) + 0.01 * (double)m;
        r->rewarded[r->n_rewarded++] = s;
    }
    return r;
}

static Cai__V1__Result *answer_train(struct world *w, const Cai__V1__Task *t) {
    Cai__V1__Result *r = new_result(t, 0);
    assert_int_equal(t->train->keep, w->job->keep.checkpoints);
    json_t *options = json_loads(t->train->options, 0, NULL);
    assert_non_null(options);
    bool pm = strcmp(t->train->kind, "pm") == 0;
    bool one = !pm || json_is_true(json_object_get(options, "average"));
    size_t n = one ? 1 : (size_t)json_integer_value(json_object_get(options, "members"));
    json_decref(options);
    r->trained = cai_alloc(sizeof *r->trained);
    cai__v1__trained__init(r->trained);
    r->trained->steps = 3;
    r->trained->n_outputs = n;
    r->trained->outputs = cai_alloc(n * sizeof *r->trained->outputs);
    for (size_t i = 0; i < n; i++) {
        Cai__V1__Model *m = cai_alloc(sizeof *m);
        cai__v1__model__init(m);
        CAI_AUTO(mem) char *seed = cai_format("%s %s %s %zu", t->train->kind,
                                              t->train->dataset->hash, t->train->init->hash, i);
        m->path = cai_strdup(t->train->output);
        m->hash = cai_alloc(65);
        cai_sha256(seed, strlen(seed), m->hash);
        r->trained->outputs[i] = m;
    }
    r->trained->n_metrics = 1;
    r->trained->metrics = cai_alloc(sizeof *r->trained->metrics);
    r->trained->metrics[0] = cai_alloc(sizeof **r->trained->metrics);
    cai__v1__metric__init(r->trained->metrics[0]);
    r->trained->metrics[0]->name = cai_strdup("loss");
    r->trained->metrics[0]->step = 3;
    r->trained->metrics[0]->value = 0.5;
    return r;
}

Cai__V1__Result *world_answer(struct world *w, const Cai__V1__Task *t) {
    switch (t->work_case) {
    case CAI__V1__TASK__WORK_GENERATE:
        return answer_generate(w, t);
    case CAI__V1__TASK__WORK_SCORE:
        return answer_score(w, t);
    case CAI__V1__TASK__WORK_REWARD:
        return answer_reward(w, t);
    default:
        assert_int_equal(t->work_case, CAI__V1__TASK__WORK_TRAIN);
        return answer_train(w, t);
    }
}
