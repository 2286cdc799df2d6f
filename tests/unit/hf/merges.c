/* merges: scan and heap give what the plain definition gives: always the lowest rank,
 * the leftmost of equals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "hf/merges.h"
#include "hf/vocab.h"
#include <string.h>

#define SYMBOLS 4

/* Every pair of the first ids merges into a new id, in a random order of ranks. */
static void make(struct hf_merges *m, uint64_t seed) {
    struct cai_key key = cai_key_make(seed, 0, "test/merges", 0, 0);
    uint32_t perm[SYMBOLS * SYMBOLS * 4];
    cai_rng_permutation(key, CAI_COUNT(perm), perm);
    hf_merges_init(m, CAI_COUNT(perm));
    for (uint32_t i = 0; i < CAI_COUNT(perm); i++)
        if (cai_rng_below(key, i, 3))
            hf_merges_put(m, (int32_t)(i / (SYMBOLS * 2)), (int32_t)(i % (SYMBOLS * 2)), perm[i],
                          (int32_t)(SYMBOLS + i % SYMBOLS));
}

/* The definition, by a merge of two symbols at a time through the scan's own entry. */
static size_t slow(const struct hf_merges *m, int32_t *id, size_t n) {
    for (;;) {
        uint32_t best = HF_NO_RANK;
        size_t at = 0;
        int32_t merged = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t k = 0; k <= m->mask; k++) {
                const struct hf_merge *x = &m->slots[k];
                uint64_t pair = (uint64_t)(uint32_t)id[i] << 32 | (uint32_t)id[i + 1];
                if (x->rank < best && x->pair == pair) {
                    best = x->rank;
                    at = i;
                    merged = x->id;
                }
            }
        if (best == HF_NO_RANK)
            return n;
        id[at] = merged;
        memmove(&id[at + 1], &id[at + 2], (n - at - 2) * sizeof *id);
        n--;
    }
}

static void equals_the_definition(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct hf_merges m;
        struct hf_merge_work w = {0};
        make(&m, seed);
        size_t n = 1 + seed * 2; /* from a scan's lengths to a heap's */
        int32_t id[128];
        for (size_t i = 0; i < n; i++) {
            id[i] = (int32_t)cai_rng_below(cai_key_make(seed, 1, "test/merges", 0, 0), i, SYMBOLS);
            hf_merge_push(&w, id[i], 1);
        }
        hf_merge_all(&m, &w);
        size_t left = slow(&m, id, n), bytes = 0;
        assert_int_equal(w.n, left);
        for (size_t i = 0; i < left; i++) {
            assert_int_equal(w.symbols[i].id, id[i]);
            bytes += w.symbols[i].len;
        }
        assert_int_equal(bytes, n);
        hf_merge_work_free(&w);
        hf_merges_free(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_the_definition)};
    return cmocka_run_group_tests_name("hf/merges", tests, NULL, NULL);
}
