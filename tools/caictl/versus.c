/* versus.c: who won, and how sure that is. Not for: asking models (compare.c). */
#include "versus.h"
#include "base/error.h"
#include <math.h>
#include <stdlib.h>

static const double SHRUG = 0.1; /* within 0.5 ± this in both orders is no choice; as the stage label */
static const double Z = 1.959963984540054; /* of 95 % */

double bout_p(const struct bout *b) {
    return b->asked ? 0.5 * ((1 - b->p_ab) + b->p_ba) : 0.5;
}

static bool turned(const struct bout *b) {
    return b->asked && (b->p_ab - 0.5) * (b->p_ba - 0.5) > 0 &&
           fmax(fabs(b->p_ab - 0.5), fabs(b->p_ba - 0.5)) >= SHRUG;
}

double bout_won(const struct bout *b) {
    bool decided = b->asked && fmax(fabs(b->p_ab - 0.5), fabs(b->p_ba - 0.5)) >= SHRUG;
    if (!decided || turned(b))
        return 0.5;
    double p = bout_p(b);
    return p > 0.5 ? 1 : p < 0.5 ? 0 : 0.5;
}

struct cluster {
    size_t id;
    double residual;
};

static int by_id(const void *x, const void *y) {
    const struct cluster *a = x, *b = y;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Σ over conversations of (Σ residuals)²; counts them. */
static double squares(struct cluster *c, size_t n, size_t *ret_clusters) {
    double sum = 0;
    *ret_clusters = 0;
    qsort(c, n, sizeof *c, by_id);
    for (size_t i = 0; i < n;) {
        double own = 0;
        size_t id = c[i].id;
        for (; i < n && c[i].id == id; i++)
            own += c[i].residual;
        sum += own * own;
        ++*ret_clusters;
    }
    return sum;
}

static void interval(struct score *s, double sum) {
    double n = (double)s->n, g = (double)s->clusters, p = s->rate;
    double v = g > 1 ? g / (g - 1) * sum / (n * n) : 0;
    double m = v > 0 ? fmin(p * (1 - p) / v, n) : g; /* the effective number */
    double centre = (p + Z * Z / (2 * m)) / (1 + Z * Z / m);
    double half = Z / (1 + Z * Z / m) * sqrt(p * (1 - p) / m + Z * Z / (4 * m * m));
    s->low = fmax(0, centre - half);
    s->high = fmin(1, centre + half);
}

struct score versus_score(const struct bout *b, size_t n) {
    struct score s = {.high = 1};
    CAI_AUTO(mem) struct cluster *c = cai_alloc((n + 1) * sizeof *c);
    double sum = 0, mass = 0;
    size_t asked = 0;
    for (size_t i = 0; i < n; i++) {
        s.lost_bouts += b[i].lost;
        if (b[i].lost)
            continue;
        double w = bout_won(&b[i]);
        s.won += w == 1;
        s.even += w == 0.5;
        s.turned += turned(&b[i]);
        asked += b[i].asked;
        mass += b[i].asked ? 0.5 * (b[i].mass_ab + b[i].mass_ba) : 0;
        sum += w;
        c[s.n++] = (struct cluster){b[i].conversation, w};
    }
    s.mass = asked ? mass / (double)asked : 0;
    if (s.n == 0)
        return s;
    s.rate = sum / (double)s.n;
    for (size_t i = 0; i < s.n; i++)
        c[i].residual -= s.rate;
    double spread = squares(c, s.n, &s.clusters);
    interval(&s, spread);
    return s;
}

static const char *word_of(const struct bout *b) {
    double w = bout_won(b);
    return b->lost ? "too long" : w == 1 ? "B" : w == 0 ? "A" : "even";
}

json_t *versus_json(const struct bout *b, size_t n, const struct score *s, json_t *about) {
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_copy(b[i].row);
        json_object_set_new(row, "p", json_real(1 - bout_p(&b[i])));
        json_object_set_new(row, "better", json_string(word_of(&b[i])));
        json_array_append_new(rows, row);
    }
    json_object_set_new(about, "b_better", json_pack("{s:f, s:f, s:f, s:I}", "value", s->rate, "low",
                                                     s->low, "high", s->high, "n",
                                                     (json_int_t)s->n));
    json_object_set_new(about, "conversations", json_integer((json_int_t)s->clusters));
    json_object_set_new(about, "b_won", json_integer((json_int_t)s->won));
    json_object_set_new(about, "even", json_integer((json_int_t)s->even));
    json_object_set_new(about, "a_won", json_integer((json_int_t)(s->n - s->won - s->even)));
    json_object_set_new(about, "turned", json_integer((json_int_t)s->turned));
    json_object_set_new(about, "too_long", json_integer((json_int_t)s->lost_bouts));
    json_object_set_new(about, "option_mass", json_real(s->mass));
    json_object_set_new(about, "rows", rows);
    return about;
}
