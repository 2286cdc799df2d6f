/* kernels_attend.h: what a row of attention needs between its products, forward and backward:
 * always fp32, whatever the products are in. Only for the kernels' own sources. */
#ifndef CAI_SHIM_KERNELS_ATTEND_H
#define CAI_SHIM_KERNELS_ATTEND_H

#include "shim/kernels_vec.h"

#include <math.h>

static inline int64_t padded(int64_t n) {
    return (n + NR - 1) / NR * NR;
}

/* The first position that a row which has `seen` behind it attends to. */
static inline int64_t first_seen(const struct kernel_attention *a, int64_t seen) {
    return a->window > 0 && seen > a->window ? seen - a->window : 0;
}

INLINE vf score(vf x, float scale, float softcap) {
    x = x * scale;
    return softcap == 0 ? x : vtanh(x * (1 / softcap)) * softcap;
}

/* Lanes of the vector at `at` that lie in [from, to). */
INLINE vi between(vi lanes, int64_t at, int64_t from, int64_t to) {
    int32_t low = (int32_t)(from <= at ? 0 : from - at < W ? from - at : W);
    int32_t high = (int32_t)(to - at < W ? (to > at ? to - at : 0) : W);
    return (lanes >= low) & (lanes < high);
}

/* s[0 … cols) = softmax(score(s)) over [from, seen), 0 elsewhere; returns the lse. */
static inline float softmax_row(const struct kernel_attention *a, float *s, int64_t from,
                                int64_t seen, int64_t cols) {
    int64_t vectors = (seen + W - 1) / W;
    vi lanes = lane_numbers();
    vf top = splat(-INFINITY), total = {0};
    for (int64_t i = 0; i < vectors; i++) {
        vi valid = between(lanes, i * W, from, seen);
        vf x = blend(valid, score(load(s + i * W), a->scale, a->softcap), splat(-INFINITY));
        store(s + i * W, x);
        top = vmax(x, top);
    }
    float max = max_lanes(top);
    for (int64_t i = 0; i < vectors; i++) {
        vi valid = between(lanes, i * W, from, seen);
        vf e = (vf)(valid & (vi)vexp(load(s + i * W) - max));
        store(s + i * W, e);
        total += e;
    }
    float sum = sum_lanes(total), inverse = 1 / sum;
    for (int64_t i = 0; i < vectors; i++)
        store(s + i * W, load(s + i * W) * inverse);
    for (int64_t i = vectors * W; i < cols; i++)
        s[i] = 0;
    return max + logf(sum);
}

static inline float dot(int64_t n, const float *a, const float *b) {
    vf sum = {0};
    int64_t i = 0;
    for (; i + W <= n; i += W)
        sum += load(a + i) * load(b + i);
    if (i < n)
        sum += load_part(a + i, n - i) * load_part(b + i, n - i);
    return sum_lanes(sum);
}

/* Scores and dP of one row become P and dS = P · (dP − delta) · scale, times what the cap
 * leaves of a change: 1 − tanh². */
static inline void grad_row(const struct kernel_attention *f, float *p, float *ds, int64_t from,
                            int64_t seen, int64_t cols, float lse, float delta) {
    vi lanes = lane_numbers();
    int64_t i = 0;
    for (; i < seen; i += W) {
        vi valid = between(lanes, i, from, seen);
        vf x = score(load(p + i), f->scale, f->softcap);
        vf e = (vf)(valid & (vi)vexp(x - lse)), slope = splat(f->scale);
        if (f->softcap != 0) {
            vf t = x * (1 / f->softcap);
            slope = slope * (1.0f - t * t);
        }
        store(p + i, e);
        store(ds + i, (vf)(valid & (vi)(e * (load(ds + i) - delta) * slope)));
    }
    for (; i < cols; i++)
        p[i] = ds[i] = 0;
}

#endif
