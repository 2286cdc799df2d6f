/* rates.c: intervals, calibration, diversity. Not for deciding anything from them. */
#include "stage/rates.h"

#include "base/error.h"
#include <math.h>
#include <string.h>

double rates_quantile(double p) {
    CAI_CHECK(p > 0 && p < 1);
    double low = -40, high = 40;
    for (int i = 0; i < 200; i++) {
        double middle = 0.5 * (low + high);
        if (0.5 * erfc(-middle / sqrt(2)) < p)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

void rates_wilson(uint64_t hits, uint64_t n, double confidence, double *ret_low,
                  double *ret_high) {
    CAI_CHECK(hits <= n);
    *ret_low = 0;
    *ret_high = 1;
    if (n == 0)
        return;
    double z = rates_quantile(0.5 + confidence / 2), m = (double)n, p = (double)hits / m;
    double centre = (p + z * z / (2 * m)) / (1 + z * z / m);
    double half = z / (1 + z * z / m) * sqrt(p * (1 - p) / m + z * z / (4 * m * m));
    *ret_low = hits == 0 ? 0 : centre - half;
    *ret_high = hits == n ? 1 : centre + half;
}

bool rates_beat_chance(uint64_t hits, uint64_t n, double confidence, double *ret_low,
                       double *ret_high) {
    rates_wilson(hits, n, fmax(0, 2 * confidence - 1), ret_low, ret_high);
    return *ret_low > 0.5;
}

static int ascending(const void *x, const void *y) {
    const double *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

void rates_bootstrap(struct cai_key key, const double *value, size_t n, size_t resamples,
                     double confidence, double *ret_low, double *ret_high) {
    *ret_low = *ret_high = 0;
    if (n == 0)
        return;
    CAI_AUTO(mem) double *mean = cai_realloc(NULL, resamples, sizeof *mean);
    for (size_t r = 0; r < resamples; r++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += value[cai_rng_below(key, r * n + i, n)];
        mean[r] = sum / (double)n;
    }
    qsort(mean, resamples, sizeof *mean, ascending);
    double tail = (1 - confidence) / 2;
    size_t cut = (size_t)(tail * (double)resamples);
    *ret_low = mean[cut];
    *ret_high = mean[resamples - 1 - cut];
}

/* One step of Newton's method on the mean cross-entropy in b; the gradient's parts are kept. */
static double slope_step(const double *gap, const double *y, size_t n, double b, double *ret_bend,
                         double *ret_square) {
    double slope = 0;
    *ret_bend = *ret_square = 0;
    for (size_t i = 0; i < n; i++) {
        double p = 1 / (1 + exp(-b * gap[i])), g = (y[i] - p) * gap[i];
        slope += g;
        *ret_square += g * g;
        *ret_bend += p * (1 - p) * gap[i] * gap[i];
    }
    return *ret_bend > 0 ? slope / *ret_bend : 0;
}

void rates_slope(const double *gap, const double *y, size_t n, double *ret_slope,
                 double *ret_error) {
    double widest = 0, bend = 0, square = 0, b = 0;
    for (size_t i = 0; i < n; i++)
        widest = fmax(widest, fabs(gap[i]));
    *ret_slope = 0;
    *ret_error = INFINITY;
    if (widest == 0)
        return;
    /* At most one logit at a time, so that no step runs away; a few dozen end it at the root, or,
     * where the gaps part the labels without fault and there is none, far up the slope. */
    for (int i = 0; i < 64; i++)
        b += fmin(fmax(slope_step(gap, y, n, b, &bend, &square), -1 / widest), 1 / widest);
    slope_step(gap, y, n, b, &bend, &square);
    *ret_slope = b;
    *ret_error = bend > 0 ? sqrt(square) / bend : INFINITY;
}

double rates_ece(const double *p, const double *y, size_t n, size_t bins, double *ret_count,
                 double *ret_p, double *ret_y) {
    double ece = 0;
    for (size_t b = 0; b < bins; b++) {
        double count = 0, sp = 0, sy = 0;
        for (size_t i = 0; i < n; i++) {
            size_t at = (size_t)(p[i] * (double)bins);
            if ((at < bins ? at : bins - 1) != b)
                continue;
            count++;
            sp += p[i];
            sy += y[i];
        }
        if (count > 0)
            ece += fabs(sp - sy) / (double)n;
        if (ret_count)
            ret_count[b] = count;
        if (ret_p)
            ret_p[b] = count > 0 ? sp / count : 0;
        if (ret_y)
            ret_y[b] = count > 0 ? sy / count : 0;
    }
    return ece;
}

/* ---- self-BLEU ---------------------------------------------------------------------------- */
enum { ORDERS = 4 };
struct words {
    uint64_t *gram[ORDERS]; /* hashes of n-grams, sorted */
    size_t n;               /* words */
};

static uint64_t mix(uint64_t h, uint64_t x) {
    h ^= x + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
    return h * UINT64_C(0xff51afd7ed558ccd);
}

static int by_value(const void *x, const void *y) {
    const uint64_t *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

static struct words words_of(struct cai_arena *a, const char *text) {
    struct words w = {0};
    uint64_t *word = cai_arena_array(a, strlen(text) / 2 + 2, sizeof *word);
    for (const char *s = text; *s;) {
        s += strspn(s, " \t\r\n");
        size_t len = strcspn(s, " \t\r\n");
        uint64_t h = UINT64_C(0xcbf29ce484222325);
        for (size_t i = 0; i < len; i++)
            h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
        if (len)
            word[w.n++] = h;
        s += len;
    }
    for (size_t o = 0; o < ORDERS; o++) {
        size_t grams = w.n > o ? w.n - o : 0;
        w.gram[o] = cai_arena_array(a, grams + 1, sizeof **w.gram);
        for (size_t i = 0; i < grams; i++) {
            uint64_t h = o;
            for (size_t j = 0; j <= o; j++)
                h = mix(h, word[i + j]);
            w.gram[o][i] = h;
        }
        qsort(w.gram[o], grams, sizeof **w.gram, by_value);
    }
    return w;
}

static size_t count_of(const uint64_t *gram, size_t n, uint64_t x) {
    size_t low = 0, high = n, count = 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (gram[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    while (low < n && gram[low++] == x)
        count++;
    return count;
}

/* n-grams of w that some other text has, each counted at most as often as there. */
static double clipped(const struct words *all, size_t n, size_t self, size_t order) {
    const struct words *w = &all[self];
    size_t grams = w->n > order ? w->n - order : 0;
    double hits = 0;
    for (size_t i = 0; i < grams;) {
        size_t same = 1, most = 0;
        while (i + same < grams && w->gram[order][i + same] == w->gram[order][i])
            same++;
        for (size_t j = 0; j < n && most < same; j++)
            if (j != self && all[j].n > order) {
                size_t c = count_of(all[j].gram[order], all[j].n - order, w->gram[order][i]);
                most = c > most ? c : most;
            }
        hits += (double)(most < same ? most : same);
        i += same;
    }
    return hits;
}

static double bleu(const struct words *all, size_t n, size_t self) {
    double sum = 0;
    size_t len = all[self].n, closest = 0;
    if (len == 0)
        return 0;
    for (size_t o = 0; o < ORDERS; o++) {
        double hits = clipped(all, n, self, o), grams = len > o ? (double)(len - o) : 0;
        if (o == 0 && hits == 0)
            return 0;
        sum += log(o ? (hits + 1) / (grams + 1) : hits / grams);
    }
    for (size_t j = 0; j < n; j++) {
        size_t d = all[j].n > len ? all[j].n - len : len - all[j].n;
        size_t best = closest > len ? closest - len : len - closest;
        if (j != self && (closest == 0 || d < best || (d == best && all[j].n < closest)))
            closest = all[j].n;
    }
    double brevity = len > closest ? 0 : 1 - (double)closest / (double)len;
    return exp(sum / ORDERS + brevity);
}

double rates_self_bleu(const char *const *text, size_t n) {
    if (n < 2)
        return 0;
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct words *all = cai_arena_array(&a, n, sizeof *all);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        all[i] = words_of(&a, text[i]);
    for (size_t i = 0; i < n; i++)
        sum += bleu(all, n, i);
    return sum / (double)n;
}

/* All runs of `words` words in order, the caller's. */
static uint64_t *sorted_grams(const char *const *text, size_t n, size_t words, size_t *ret_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_CHECK(words >= 1 && words <= ORDERS);
    struct words *all = cai_arena_array(&a, n + 1, sizeof *all);
    size_t total = 0, filled = 0, order = words - 1;
    for (size_t i = 0; i < n; i++) {
        all[i] = words_of(&a, text[i]);
        total += all[i].n > order ? all[i].n - order : 0;
    }
    uint64_t *gram = cai_realloc(NULL, total + 1, sizeof *gram);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j + order < all[i].n; j++)
            gram[filled++] = all[i].gram[order][j];
    qsort(gram, total, sizeof *gram, by_value);
    *ret_n = total;
    return gram;
}

double rates_distinct(const char *const *text, size_t n, size_t words) {
    size_t total, distinct = 0;
    CAI_AUTO(mem) uint64_t *gram = sorted_grams(text, n, words, &total);
    for (size_t i = 0; i < total; i++)
        distinct += i == 0 || gram[i] != gram[i - 1];
    return total ? (double)distinct / (double)total : 1;
}

double rates_pair_entropy(const char *const *text, size_t n) {
    size_t total;
    double bits = 0;
    CAI_AUTO(mem) uint64_t *pair = sorted_grams(text, n, 2, &total);
    for (size_t i = 0, same; i < total; i += same) {
        for (same = 1; i + same < total && pair[i + same] == pair[i];)
            same++;
        double share = (double)same / (double)total;
        bits -= share * log2(share);
    }
    return bits;
}

double rates_distinct_pairs(const char *const *text, size_t n) { return rates_distinct(text, n, 2); }

int rates_value(const struct stage_context *c, const char *name, double value) {
    return store_metric_add(c->store, c->job_id, c->round, c->stage, 0, name, value);
}

bool rates_known(const struct stage_context *c, const char *name) {
    double value;
    bool known = store_metric_get(c->store, c->job_id, c->round, c->stage, 0, name, &value) == 0;
    cai_error_clear();
    return known;
}

int rates_metric(const struct stage_context *c, uint32_t round, const char *stage,
                 const char *name, uint64_t hits, uint64_t n) {
    double low, high;
    char full[128];
    rates_wilson(hits, n, 0.95, &low, &high);
    const struct {
        const char *suffix;
        double value;
    } rows[] = {{"_n", (double)n}, {"", n ? (double)hits / (double)n : 0}, {"_low", low},
                {"_high", high}};
    for (size_t i = 0; i < (n ? CAI_COUNT(rows) : 1); i++) { /* a rate of nothing is no rate */
        snprintf(full, sizeof full, "%s%s", name, rows[i].suffix);
        CAI_TRY(store_metric_add(c->store, c->job_id, round, stage, 0, full, rows[i].value));
    }
    return 0;
}
