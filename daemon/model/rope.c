/* rope.c: rotary positions (Su et al. 2021, "RoFormer"), halves as Hugging Face lays them,
 * and what scales them for longer texts: linear (Chen et al. 2023), dynamic NTK, Llama 3's
 * bands, YaRN (Peng et al. 2023), LongRoPE (Ding et al. 2024). Formulas as in transformers
 * 4.57.6, modeling_rope_utils. Not for: applying them (ct_rotary).
 *
 * Dynamic and LongRoPE turn by the length of the whole sequence: all its positions by the
 * same frequencies, which change when it grows past what the base was trained with. */
#include "model/internal.h"

#include "base/check.h"
#include <math.h>
#include <string.h>

/* Longer positions than this are computed when they are met, not kept. */
enum { TABLE_ROWS = 8192 };

struct rope {
    const struct hf_config *c;
    double theta;
    int64_t dim;           /* elements of a head that turn */
    int64_t positions;     /* that the model takes */
    bool varies;
    double scale;          /* of cos and sin */
    int64_t rows;
    ct_tensor *cos, *sin;  /* [rows, dim] */
};

/* Frequency and angle are rounded to fp32, as the reference does: at position 10,000 the
 * rounding of the frequency moves the angle by 6e-4. */
static float plain(double theta, int64_t i, int64_t dim)
{
    return (float)(1.0 / (double)(float)pow(theta, (double)(2 * i) / (double)dim));
}

static float llama3(const struct hf_rope *r, float frequency)
{
    double original = (double)r->original_positions, wave = 2 * M_PI / (double)frequency;
    if (wave < original / r->high_freq_factor)
        return frequency;
    if (wave > original / r->low_freq_factor)
        return (float)((double)frequency / r->factor);
    double smooth = (original / wave - r->low_freq_factor) /
                    (r->high_freq_factor - r->low_freq_factor);
    return (float)((1 - smooth) * (double)frequency / r->factor + smooth * (double)frequency);
}

static double original_of(const struct rope *r)
{
    const struct hf_rope *h = &r->c->rope;
    return (double)(h->original_positions ? h->original_positions : r->c->max_positions);
}

/* The pair that turns `rotations` times within the trained length. */
static double yarn_pair(const struct rope *r, double rotations)
{
    return (double)r->dim * log(original_of(r) / (rotations * 2 * M_PI)) / (2 * log(r->theta));
}

static float yarn(const struct rope *r, int64_t i)
{
    const struct hf_rope *h = &r->c->rope;
    double low = yarn_pair(r, h->beta_fast != 0 ? h->beta_fast : 32);
    double high = yarn_pair(r, h->beta_slow != 0 ? h->beta_slow : 1);
    if (!h->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low < 0 ? 0 : low;
    high = high > (double)(r->dim - 1) ? (double)(r->dim - 1) : high;
    if (low == high)
        high += 0.001;
    double ramp = ((double)i - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    double frequency = (double)plain(r->theta, i, r->dim);
    return (float)(frequency / h->factor * ramp + frequency * (1 - ramp));
}

/* Frequencies [dim / 2] of a sequence of `length`. */
static void frequencies(const struct rope *r, int64_t length, float *out)
{
    const struct hf_rope *h = &r->c->rope;
    double original = original_of(r), d = (double)r->dim, theta = r->theta;
    if (h->kind == HF_ROPE_DYNAMIC && (double)length > original)
        theta *= pow(h->factor * (double)length / original - (h->factor - 1), d / (d - 2));
    const double *stretch = (double)length > original ? h->long_factor : h->short_factor;
    for (int64_t i = 0; i < r->dim / 2; i++) {
        float f = plain(theta, i, r->dim);
        if (h->kind == HF_ROPE_LINEAR)
            f = (float)((double)f / h->factor);
        else if (h->kind == HF_ROPE_LLAMA3)
            f = llama3(h, f);
        else if (h->kind == HF_ROPE_YARN)
            f = yarn(r, i);
        else if (h->kind == HF_ROPE_LONGROPE)
            f = (float)(1.0 / (stretch[i] * pow(theta, (double)(2 * i) / d)));
        out[i] = f;
    }
}

static double yarn_scale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static double scale_of(const struct rope *r)
{
    const struct hf_rope *h = &r->c->rope;
    if (h->kind != HF_ROPE_YARN && h->kind != HF_ROPE_LONGROPE)
        return 1;
    if (h->attention_factor != 0)
        return h->attention_factor;
    if (h->kind == HF_ROPE_YARN) {
        if (h->mscale != 0 && h->mscale_all_dim != 0)
            return yarn_scale(h->factor, h->mscale) / yarn_scale(h->factor, h->mscale_all_dim);
        return yarn_scale(h->factor, 1);
    }
    double factor = h->original_positions
                        ? (double)r->c->max_positions / (double)h->original_positions : h->factor;
    return factor <= 1 ? 1 : sqrt(1 + log(factor) / log(original_of(r)));
}

/* One row of cos and sin [dim], each half repeated. */
static void fill_row(const struct rope *r, const float *frequency, int64_t position, float *cosine,
                     float *sine)
{
    int64_t half = r->dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float angle = (float)position * frequency[i];
        cosine[i] = cosine[half + i] = (float)(cos((double)angle) * r->scale);
        sine[i] = sine[half + i] = (float)(sin((double)angle) * r->scale);
    }
}

int64_t rope_class(const struct rope *r, int64_t length)
{
    if (!r || !r->varies || (double)length <= original_of(r))
        return 0;
    return r->c->rope.kind == HF_ROPE_DYNAMIC ? length : 1;
}

bool rope_varies(const struct rope *r)
{
    return r && r->varies;
}

/* Rows computed here: [t, dim]. */
static struct rope_rows computed(ct_scope *s, const struct rope *r, const int64_t *positions,
                                 const int64_t *lengths, int64_t t)
{
    int64_t shape[2] = {t, r->dim}, class = -1;
    size_t n = (size_t)(t * r->dim);
    CAI_AUTO(mem) float *cosine = cai_realloc(NULL, n, sizeof(*cosine));
    CAI_AUTO(mem) float *sine = cai_realloc(NULL, n, sizeof(*sine));
    CAI_AUTO(mem) float *frequency = cai_realloc(NULL, (size_t)r->dim, sizeof(*frequency));
    for (int64_t i = 0; i < t; i++) {
        int64_t own = rope_class(r, lengths[i]);
        if (own != class)
            frequencies(r, lengths[i], frequency);
        class = own;
        fill_row(r, frequency, positions[i], cosine + i * r->dim, sine + i * r->dim);
    }
    return (struct rope_rows){ct_from_host(s, CT_F32, shape, 2, cosine),
                              ct_from_host(s, CT_F32, shape, 2, sine)};
}

struct rope_rows rope_rows(ct_scope *s, const struct rope *r, const int64_t *positions,
                           const int64_t *lengths, int64_t t)
{
    bool kept = r && r->cos;
    if (!r)
        return (struct rope_rows){0};
    for (int64_t i = 0; kept && i < t; i++)
        kept = positions[i] < r->rows;
    if (!kept)
        return computed(s, r, positions, lengths, t);
    ct_tensor *at = ct_from_i64(s, positions, t);
    return (struct rope_rows){ct_index_select(s, r->cos, 0, at),
                              ct_index_select(s, r->sin, 0, at)};
}

struct rope_rows rope_rows_at(ct_scope *s, const struct rope *r, ct_tensor *positions)
{
    if (!r)
        return (struct rope_rows){0};
    return (struct rope_rows){ct_index_select(s, r->cos, 0, positions),
                              ct_index_select(s, r->sin, 0, positions)};
}

int64_t rope_kept(const struct rope *r)
{
    return r->cos ? r->rows : 0;
}

static int keep_tables(struct rope *r)
{
    r->rows = r->positions < TABLE_ROWS ? r->positions : TABLE_ROWS;
    CAI_AUTO(mem) int64_t *at = cai_realloc(NULL, (size_t)r->rows, sizeof(*at));
    for (int64_t i = 0; i < r->rows; i++)
        at[i] = i;
    ct_scope *s = ct_scope_open();
    struct rope_rows rows = computed(s, r, at, at, r->rows);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(rows.cos, &r->cos);
    if (rc == 0)
        rc = ct_keep(rows.sin, &r->sin);
    ct_scope_close(s);
    return rc;
}

int rope_new(const struct hf_config *config, bool local, struct rope **ret)
{
    static const struct hf_config unscaled;
    struct rope *r = cai_alloc(sizeof(*r));
    r->c = local ? &unscaled : config;
    r->theta = local ? config->rope_local_theta : config->rope_theta;
    r->dim = hf_rotary_dim(config);
    r->positions = config->max_positions;
    r->varies = !local && (config->rope.kind == HF_ROPE_DYNAMIC ||
                           config->rope.kind == HF_ROPE_LONGROPE);
    r->scale = scale_of(r);
    *ret = r;
    if (r->varies)
        return 0;
    int rc = keep_tables(r);
    if (rc < 0) {
        rope_free(r);
        *ret = NULL;
    }
    return rc;
}

void rope_free(struct rope *r)
{
    if (!r)
        return;
    ct_free(r->cos);
    ct_free(r->sin);
    free(r);
}
