/* kernels_row.c: row operations of a transformer, one pass each. Not for sums over rows
 * (kernels_gemm.c). */
#include "shim/kernels_vec.h"

#include <math.h>

INLINE vf get(const float *p, int64_t i, int64_t n) {
    return n - i >= W ? load(p + i) : load_part(p + i, n - i);
}

INLINE void put(float *p, int64_t i, int64_t n, vf x) {
    if (n - i >= W)
        store(p + i, x);
    else
        store_part(p + i, x, n - i);
}

void KERNEL(kernel_rms_norm)(int64_t n, int64_t d, const float *x, const float *w, float eps,
                             float *y, float *r) {
    for (int64_t t = 0; t < n; t++, x += d, y += d) {
        vf square = {0};
        for (int64_t i = 0; i < d; i += W) {
            vf v = get(x, i, d);
            square += v * v;
        }
        r[t] = 1 / sqrtf(sum_lanes(square) / (float)d + eps);
        for (int64_t i = 0; i < d; i += W)
            put(y, i, d, get(x, i, d) * r[t] * get(w, i, d));
    }
}

/* y = x · r · w with r = (mean x² + eps)^-½: dx = r · (w · dy − x · r² · mean(w · dy · x)). */
void KERNEL(kernel_rms_norm_grad)(int64_t n, int64_t d, const float *x, const float *w,
                                  const float *r, const float *dy, float *dx, float *dw) {
    for (int64_t t = 0; t < n; t++, x += d, dy += d, dx += d) {
        vf product = {0};
        for (int64_t i = 0; i < d; i += W) {
            vf v = get(x, i, d), g = get(dy, i, d);
            product += v * g * get(w, i, d);
            put(dw, i, d, get(dw, i, d) + g * (v * r[t]));
        }
        float c = sum_lanes(product) / (float)d * r[t] * r[t];
        for (int64_t i = 0; i < d; i += W)
            put(dx, i, d, (get(dy, i, d) * get(w, i, d) - get(x, i, d) * c) * r[t]);
    }
}

void KERNEL(kernel_swiglu)(int64_t n, const float *gate, const float *up, float *y) {
    for (int64_t i = 0; i < n; i += W) {
        vf g = get(gate, i, n);
        put(y, i, n, g / (1.0f + vexp(-g)) * get(up, i, n));
    }
}

void KERNEL(kernel_swiglu_grad)(int64_t n, const float *gate, const float *up, const float *dy,
                                float *d_gate, float *d_up) {
    for (int64_t i = 0; i < n; i += W) {
        vf g = get(gate, i, n), grad = get(dy, i, n), sigmoid = 1.0f / (1.0f + vexp(-g));
        put(d_up, i, n, grad * g * sigmoid);
        put(d_gate, i, n, grad * get(up, i, n) * (sigmoid * (1.0f + g * (1.0f - sigmoid))));
    }
}

INLINE void rotate_head(int64_t half, const float *x, const float *cos, const float *sin, float *y,
                        bool back) {
    for (int64_t i = 0; i < half; i += W) {
        vf a = get(x, i, half), b = get(x + half, i, half);
        vf c1 = get(cos, i, half), c2 = get(cos + half, i, half);
        vf s1 = get(sin, i, half), s2 = get(sin + half, i, half);
        put(y, i, half, back ? a * c1 + b * s2 : a * c1 - b * s1);
        put(y + half, i, half, back ? b * c2 - a * s1 : b * c2 + a * s2);
    }
}

void KERNEL(kernel_rotary)(int64_t n, int64_t h, int64_t d, int64_t turned, const float *x,
                           int64_t x_row, const float *cos, const float *sin, float *y,
                           bool back) {
    for (int64_t t = 0; t < n; t++)
        for (int64_t j = 0; j < h; j++) {
            const float *from = x + t * x_row + j * d;
            float *to = y + (t * h + j) * d;
            rotate_head(turned / 2, from, cos + t * turned, sin + t * turned, to, back);
            if (turned < d)
                memcpy(to + turned, from + turned, (size_t)(d - turned) * sizeof(float));
        }
}

void KERNEL(kernel_add)(int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i += W)
        put(y, i, n, get(y, i, n) + get(x, i, n));
}

/* ---- log-probabilities ------------------------------------------------------------------- */

static float row_max(int64_t n, const float *x) {
    vf top = splat(-INFINITY);
    int64_t i = 0;
    for (; i + W <= n; i += W)
        top = vmax(load(x + i), top);
    float max = max_lanes(top);
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

void KERNEL(kernel_logprob)(const struct kernel_logprob *k, const float *logits, int64_t target,
                            float *lse, float *logprob, float *entropy, int64_t *argmax) {
    int64_t n = k->vocab;
    float scale = k->inverse_temperature, best = row_max(n, logits), max = best * scale;
    vf sum = {0}, weighted = {0};
    vi lanes = lane_numbers();
    for (int64_t i = 0; i < n; i += W) {
        vi valid = lanes < (int32_t)(n - i < W ? n - i : W);
        vf z = get(logits, i, n) * scale - max;
        vf e = (vf)(valid & (vi)vexp(z));
        sum += e;
        weighted += e * z;
    }
    float total = sum_lanes(sum), log_total = logf(total);
    *lse = max + log_total;
    *logprob = logits[target] * scale - max - log_total;
    if (entropy)
        *entropy = log_total - sum_lanes(weighted) / total;
    if (!argmax)
        return;
    *argmax = 0; /* of a row of NaN too */
    for (int64_t i = 0; i < n; i++)
        if (logits[i] == best) {
            *argmax = i;
            break;
        }
}

void KERNEL(kernel_logprob_grad)(const struct kernel_logprob *k, float *logits, int64_t target,
                                 float lse, float coefficient) {
    int64_t n = k->vocab;
    float scale = k->inverse_temperature;
    for (int64_t i = 0; i < n; i += W)
        put(logits, i, n, vexp(get(logits, i, n) * scale - lse) * -coefficient);
    logits[target] += coefficient;
}

float KERNEL(kernel_exp_sums)(int64_t n, const float *x, float inverse, float *weights,
                              double *sums) {
    float max = row_max(n, x);
    vi lanes = lane_numbers();
    for (int64_t b = 0; b < n; b += KERNEL_SUM) {
        int64_t end = b + KERNEL_SUM < n ? b + KERNEL_SUM : n;
        vf sum = {0};
        for (int64_t i = b; i < end; i += W) {
            vi valid = lanes < (int32_t)(n - i < W ? n - i : W);
            vf e = (vf)(valid & (vi)vexp((get(x, i, n) - max) * inverse));
            put(weights, i, n, e);
            sum += e;
        }
        sums[b / KERNEL_SUM] = (double)sum_lanes(sum);
    }
    return max;
}
