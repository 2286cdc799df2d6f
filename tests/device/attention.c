/* attention on a GPU: FlashAttention over packs, caches by lists and caches by tensors gives
 * what the processor's fp32 kernels give, as near as bfloat16 comes; plain products in fp32
 * come nearer. Windows, soft caps, groups of heads, several lengths. */
#include "common.h"

enum { T = 48, HQ = 4, HKV = 2, D = 16, SLOTS = 5, POSITIONS = 64, N = 3 };

static const int64_t starts[N + 1] = {0, 17, 18, T};
static const struct ct_attend ways[] = {{0.25, 0, 0}, {0.25, 0, 7}, {0.25, 2, 0}, {0.25, 2, 7}};

static float noise[4][T * HQ * D];

static int setup(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < T * HQ * D; i++)
            noise[k][i] = (float)cai_rng_normal(cai_key_make(5, 0, "noise", (uint64_t)k, 0),
                                                (uint64_t)i);
    return 0;
}

static ct_tensor *heads(ct_scope *s, int which, int64_t rows, int64_t n, enum ct_dtype dtype) {
    int64_t shape[3] = {rows, n, D};
    return ct_to(s, ct_from_host(s, CT_F32, shape, 3, noise[which]), dtype);
}

/* out and the gradients of Σ out · noise with respect to q, k, v. */
static void packed(enum ct_dtype dtype, struct ct_attend how, float *ret[4]) {
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *leaf[3], *seed = heads(s, 3, T, HQ, dtype);
    for (int i = 0; i < 3; i++)
        leaf[i] = ct_leaf(s, heads(s, i, T, i == 0 ? HQ : HKV, dtype));
    ct_tensor *out = ct_attention_packed(s, leaf[0], leaf[1], leaf[2], starts, N, how);
    must(ct_scope_status(s));
    must(ct_backward(s, &out, &seed, 1));
    ret[0] = read_all(out);
    for (int i = 0; i < 3; i++)
        ret[i + 1] = read_all(ct_grad(s, leaf[i]));
    ct_scope_close(s);
}

static void packs(enum ct_dtype dtype, double tolerance) {
    static const char *const names[] = {"out", "dq", "dk", "dv"};
    for (size_t w = 0; w < CAI_COUNT(ways); w++) {
        float *a[4], *b[4];
        use(the_processor);
        packed(CT_F32, ways[w], a);
        use(the_gpu);
        packed(dtype, ways[w], b);
        for (int i = 0; i < 4; i++) {
            int64_t n = T * D * (i < 2 ? HQ : HKV);
            assert_near(a[i], b[i], n, tolerance, names[i]);
            free(a[i]);
            free(b[i]);
        }
    }
}

static void packs_in_fp32(void **state) {
    (void)state;
    packs(CT_F32, 2e-4);
}

static void packs_in_bfloat16(void **state) {
    (void)state;
    packs(CT_BF16, 6e-2);
}

/* Three sequences of a cache, their first `past` positions there, are continued by the rows of
 * a pack; then each by one row, by lists (by_tensors = false) or tensors. */
static void cached(enum ct_dtype dtype, struct ct_attend how, bool by_tensors, float *ret[2]) {
    static const int64_t slots[N] = {3, 0, 2}, zero[N] = {0};
    int64_t shape[4] = {SLOTS, HKV, ct_cache_positions(POSITIONS), D}, lengths[N], row_slots[T],
            row_at[T];
    ct_scope *s = ct_scope_open();
    ct_tensor *k = ct_zeros(s, dtype, shape, 4), *v = ct_zeros(s, dtype, shape, 4);
    for (int i = 0; i < N; i++) {
        lengths[i] = starts[i + 1] - starts[i];
        for (int64_t t = starts[i]; t < starts[i + 1]; t++) {
            row_slots[t] = slots[i];
            row_at[t] = t - starts[i];
        }
    }
    must(ct_cache_write_keys(k, heads(s, 1, T, HKV, CT_F32), row_slots, row_at, T));
    must(ct_cache_write_values(v, heads(s, 2, T, HKV, CT_F32), row_slots, row_at, T));
    ct_tensor *q = heads(s, 0, T, HQ, CT_F32);
    ret[0] = read_all(ct_attention_prefill(s, q, k, v, slots, zero, starts, N, how));
    ct_tensor *one = heads(s, 3, N, HQ, CT_F32), *key = ct_narrow(s, q, 0, 0, N);
    key = ct_contiguous(s, ct_narrow(s, key, 1, 0, HKV)); /* [N, HKV, D] */
    ct_tensor *out;
    if (by_tensors) {
        ct_tensor *slot = ct_from_i64(s, slots, N), *at = ct_from_i64(s, lengths, N);
        must(ct_cache_write_at(k, key, slot, at));
        must(ct_cache_write_at(v, key, slot, at));
        out = ct_attention_decode_at(s, one, k, v, slot, at, how);
    } else {
        int64_t after[N];
        must(ct_cache_write_keys(k, key, slots, lengths, N));
        must(ct_cache_write_values(v, key, slots, lengths, N));
        for (int i = 0; i < N; i++)
            after[i] = lengths[i] + 1;
        out = ct_attention_decode(s, one, k, v, slots, after, N, how);
    }
    must(ct_scope_status(s));
    ret[1] = read_all(out);
    ct_scope_close(s);
}

static void caches(enum ct_dtype dtype, double tolerance) {
    for (size_t w = 0; w < CAI_COUNT(ways); w++)
        for (int by_tensors = 0; by_tensors < 2; by_tensors++) {
            float *a[2], *b[2];
            use(the_processor);
            cached(CT_F32, ways[w], false, a);
            use(the_gpu);
            cached(dtype, ways[w], by_tensors, b);
            assert_near(a[0], b[0], T * HQ * D, tolerance, "prefill");
            assert_near(a[1], b[1], N * HQ * D, tolerance, "decode");
            for (int i = 0; i < 2; i++) {
                free(a[i]);
                free(b[i]);
            }
        }
}

static void caches_in_fp32(void **state) {
    (void)state;
    caches(CT_F32, 2e-4);
}

static void caches_in_bfloat16(void **state) {
    (void)state;
    caches(CT_BF16, 4e-2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_in_fp32),
        cmocka_unit_test(packs_in_bfloat16),
        cmocka_unit_test(caches_in_fp32),
        cmocka_unit_test(caches_in_bfloat16),
    };
    int without = without_gpu();
    return without ? without : cmocka_run_group_tests(tests, setup, NULL);
}
