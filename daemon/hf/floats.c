/* floats.c: numbers of a tensor as fp32, whatever the file has. Not for: which tensors there
 * are (weights.c), whether their values are good (model/load.c). */
#include "hf/hf.h"
#include "base/check.h"
#include <math.h>
#include <string.h>

static float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
    uint32_t bits;
    float f;
    if (exponent == 0) { /* zero or subnormal: fraction × 2⁻²⁴, exact in fp32 */
        f = ldexpf((float)fraction, -24);
        return sign ? -f : f;
    }
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    else
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The mapping may be unaligned, hence memcpy. */
void hf_tensor_floats(const struct hf_tensor *t, int64_t at, float *restrict out, int64_t n) {
    const unsigned char *restrict in =
        (const unsigned char *)t->data + (size_t)at * hf_dtype_size(t->dtype);
    if (t->dtype == HF_F32) {
        memcpy(out, in, (size_t)n * sizeof(float));
    } else if (t->dtype == HF_BF16) {
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, in + 2 * i, 2);
            uint32_t bits = (uint32_t)h << 16;
            memcpy(&out[i], &bits, sizeof bits);
        }
    } else {
        CAI_CHECK(t->dtype == HF_F16);
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, in + 2 * i, 2);
            out[i] = half_to_float(h);
        }
    }
}
