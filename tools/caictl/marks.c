/* marks.c: see marks.h. */
#include "marks.h"

#include "base/check.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double Z = 1.959963984540054; /* of 95 % */
enum { RESAMPLES = 2000 };

/* ---- one answer ----------------------------------------------------------------------------- */
void mark_set(struct mark *m, const double *logprobs, const double *tokens, size_t n) {
    m->logprobs = cai_realloc(NULL, n + 1, sizeof *m->logprobs);
    m->tokens = cai_realloc(NULL, n + 1, sizeof *m->tokens);
    m->chosen = m->chosen_each = 0;
    for (size_t i = 0; i < n; i++) {
        m->logprobs[i] = logprobs[i];
        m->tokens[i] = tokens[i] > 0 ? tokens[i] : 1;
        if (logprobs[i] > logprobs[m->chosen])
            m->chosen = i;
        if (logprobs[i] / m->tokens[i] > logprobs[m->chosen_each] / m->tokens[m->chosen_each])
            m->chosen_each = i;
    }
}

void mark_free(struct mark *m) {
    free(m->logprobs);
    free(m->tokens);
    *m = (struct mark){0};
}

/* ---- figures -------------------------------------------------------------------------------- */
struct share marks_share(size_t hits, size_t n) {
    struct share s = {.n = n, .hits = hits, .high = 1};
    if (n == 0)
        return s;
    double m = (double)n, p = (double)hits / m, centre = (p + Z * Z / (2 * m)) / (1 + Z * Z / m);
    double half = Z / (1 + Z * Z / m) * sqrt(p * (1 - p) / m + Z * Z / (4 * m * m));
    s.value = p;
    s.low = hits == 0 ? 0 : centre - half;
    s.high = hits == n ? 1 : centre + half;
    return s;
}

/* Two-sided: twice the smaller tail of a binomial with one half, at most 1. */
static double mcnemar(size_t x, size_t y) {
    size_t n = x + y, least = x < y ? x : y;
    double sum = 0;
    for (size_t k = 0; k <= least; k++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) -
                   (double)n * log(2));
    return fmin(1, 2 * sum);
}

struct marks_paired marks_compare(const bool *a, const bool *b, size_t n) {
    struct marks_paired o = {.n = n, .p = 1};
    for (size_t i = 0; i < n; i++) {
        o.both += a[i] && b[i];
        o.only_a += a[i] && !b[i];
        o.only_b += b[i] && !a[i];
    }
    if (n == 0)
        return o;
    double m = (double)n + 2, x = (double)o.only_b + 0.5, y = (double)o.only_a + 0.5;
    double middle = (x - y) / m, error = sqrt(fmax(0, x + y - (x - y) * (x - y) / m)) / m;
    o.difference = ((double)o.only_b - (double)o.only_a) / (double)n;
    o.low = fmax(-1, middle - Z * error);
    o.high = fmin(1, middle + Z * error);
    o.p = mcnemar(o.only_a, o.only_b);
    return o;
}

double marks_bits(const double *nats, const double *bytes, size_t n) {
    double sum = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        sum += nats[i];
        all += bytes[i];
    }
    return all > 0 ? sum / log(2) / all : 0;
}

static int ascending(const void *x, const void *y) {
    const double *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

void marks_bits_apart(const double *nats_a, const double *nats_b, const double *bytes, size_t n,
                      double *ret_low, double *ret_high) {
    struct cai_key key = cai_key_make(1, 0, "caictl/eval", 0, 0);
    CAI_AUTO(mem) double *found = cai_realloc(NULL, RESAMPLES, sizeof *found);
    *ret_low = *ret_high = 0;
    for (size_t r = 0; n && r < RESAMPLES; r++) {
        double apart = 0, all = 0;
        for (size_t i = 0; i < n; i++) {
            size_t at = cai_rng_below(key, r * n + i, n);
            apart += nats_b[at] - nats_a[at];
            all += bytes[at];
        }
        found[r] = all > 0 ? apart / log(2) / all : 0;
    }
    if (n == 0)
        return;
    qsort(found, RESAMPLES, sizeof *found, ascending);
    *ret_low = found[RESAMPLES / 40];
    *ret_high = found[RESAMPLES - 1 - RESAMPLES / 40];
}

/* ---- as JSON -------------------------------------------------------------------------------- */
static json_t *share_json(const struct share *s) {
    return json_pack("{s:f, s:f, s:f, s:I}", "value", s->value, "low", s->low, "high", s->high, "n",
                     (json_int_t)s->n);
}

static json_t *paired_json(const struct marks_paired *p) {
    return json_pack("{s:f, s:f, s:f, s:f, s:I, s:I, s:I}", "value", p->difference, "low", p->low,
                     "high", p->high, "p", p->p, "both", (json_int_t)p->both, "only_a",
                     (json_int_t)p->only_a, "only_b", (json_int_t)p->only_b);
}

/* Whether the option is a best one. */
static bool is_right(const struct evalset_item *q, size_t chosen) {
    return q->scores[chosen] >= q->scores[evalset_best(q)];
}

static size_t choices(const struct evalset *s, const struct mark *a, const struct mark *b,
                      bool each, bool *ret_a, bool *ret_b) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct evalset_item *q = &s->at[i];
        if (q->kind != EVALSET_CHOICE || !a[i].logprobs || (b && !b[i].logprobs))
            continue;
        ret_a[n] = is_right(q, each ? a[i].chosen_each : a[i].chosen);
        ret_b[n++] = b && is_right(q, each ? b[i].chosen_each : b[i].chosen);
    }
    return n;
}

static struct share share_of(const bool *right, size_t n) {
    size_t hits = 0;
    for (size_t i = 0; i < n; i++)
        hits += right[i];
    return marks_share(hits, n);
}

static void put_choice(json_t *o, const struct evalset *s, const struct mark *a,
                       const struct mark *b) {
    CAI_AUTO(mem) bool *x = cai_alloc(s->n + 1);
    CAI_AUTO(mem) bool *y = cai_alloc(s->n + 1);
    static const char *const names[] = {"choice", "choice_each"};
    for (int each = 0; each < 2; each++) {
        size_t n = choices(s, a, b, each, x, y);
        struct share p = share_of(x, n), q = share_of(y, n);
        struct marks_paired apart = marks_compare(x, y, n);
        if (n == 0)
            continue;
        json_t *r = json_pack("{s:o}", "a", share_json(&p));
        if (b) {
            json_object_set_new(r, "b", share_json(&q));
            json_object_set_new(r, "difference", paired_json(&apart));
        }
        json_object_set_new(o, names[each], r);
    }
}

static void put_bits(json_t *o, const struct evalset *s, const struct mark *a,
                     const struct mark *b, enum evalset_kind kind, const char *name) {
    CAI_AUTO(mem) double *x = cai_alloc((s->n + 1) * sizeof *x);
    CAI_AUTO(mem) double *y = cai_alloc((s->n + 1) * sizeof *y);
    CAI_AUTO(mem) double *bytes = cai_alloc((s->n + 1) * sizeof *bytes);
    double low, high;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->at[i].kind != kind || !a[i].logprobs || (b && !b[i].logprobs))
            continue;
        x[n] = -a[i].logprobs[0];
        y[n] = b ? -b[i].logprobs[0] : 0;
        bytes[n++] = kind == EVALSET_TEXT ? a[i].bytes : (double)strlen(s->at[i].options[0]);
    }
    if (n == 0)
        return;
    json_t *r = json_pack("{s:f, s:I}", "a", marks_bits(x, bytes, n), "n", (json_int_t)n);
    if (b) {
        marks_bits_apart(x, y, bytes, n, &low, &high);
        json_object_set_new(r, "b", json_real(marks_bits(y, bytes, n)));
        json_object_set_new(r, "difference",
                            json_pack("{s:f, s:f, s:f}", "value",
                                      marks_bits(y, bytes, n) - marks_bits(x, bytes, n), "low", low,
                                      "high", high));
    }
    json_object_set_new(o, name, r);
}

json_t *marks_json(const char *file, const struct evalset *s, const struct mark *a,
                   const struct mark *b) {
    size_t lost = 0;
    for (size_t i = 0; i < s->n; i++)
        lost += !a[i].logprobs || (b && !b[i].logprobs);
    json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "file", file, "items", (json_int_t)s->n, "bad",
                          (json_int_t)s->bad, "too_long", (json_int_t)lost);
    put_choice(o, s, a, b);
    put_bits(o, s, a, b, EVALSET_OPEN, "open");
    put_bits(o, s, a, b, EVALSET_TEXT, "texts");
    return o;
}

static json_t *answer_json(const struct evalset_item *q, const struct mark *m) {
    static const char *const kinds[] = {"choice", "open", "text"};
    json_t *logprobs = json_array(), *tokens = json_array();
    size_t n = q->kind == EVALSET_TEXT ? 1 : q->n;
    for (size_t i = 0; m->logprobs && i < n; i++) {
        json_array_append_new(logprobs, json_real(m->logprobs[i]));
        json_array_append_new(tokens, json_real(m->tokens[i]));
    }
    json_t *o = json_pack("{s:s, s:o, s:o}", "kind", kinds[q->kind], "logprobs", logprobs, "tokens",
                          tokens);
    if (q->kind == EVALSET_CHOICE && m->logprobs) {
        json_object_set_new(o, "chosen", json_integer((json_int_t)m->chosen));
        json_object_set_new(o, "right", json_boolean(is_right(q, m->chosen)));
        json_object_set_new(o, "chosen_each", json_integer((json_int_t)m->chosen_each));
        json_object_set_new(o, "right_each", json_boolean(is_right(q, m->chosen_each)));
    } else if (q->kind == EVALSET_TEXT && m->logprobs) {
        json_object_set_new(o, "bytes", json_real(m->bytes));
    }
    return o;
}

json_t *mark_row(const char *file, const struct evalset_item *q, const struct mark *a,
                 const struct mark *b) {
    json_t *options = json_array(), *scores = json_array();
    for (size_t i = 0; i < q->n; i++) {
        json_array_append_new(options, json_string(q->options[i]));
        json_array_append_new(scores, json_real(q->scores[i]));
    }
    json_t *o = json_pack("{s:s, s:I, s:s, s:o, s:o, s:o}", "file", file, "line",
                          (json_int_t)q->line, "text", q->text, "options", options, "scores", scores,
                          "a", answer_json(q, a));
    if (b)
        json_object_set_new(o, "b", answer_json(q, b));
    return o;
}
