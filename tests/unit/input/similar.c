/* similar: near texts are one group, others are not, whatever the order; against a comparison of
 * every pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "input/similar.h"
#include <stdio.h>
#include <string.h>

static void near_and_far(void **state) {
    (void)state;
    static const char *const texts[] = {
        "How do I open a door that is locked without the key, please tell me what to take now?",
        "How do I bake bread without an oven at home?",
        "how do i open a door that is locked without the key please tell me what to take, now",
        "How do I open a door that is locked without the key, please tell me what to take today?",
        "How do I open a window that is stuck without the frame, kindly show me what to bring?",
        "", "?!", "日本の首都はどこですか", "日本の首都はどこですか。"};
    struct similar *s = similar_new(SIMILAR_THRESHOLD);
    for (size_t i = 0; i < CAI_COUNT(texts); i++)
        similar_add(s, texts[i], NULL);
    similar_group(s);
    static const size_t groups[] = {0, 1, 0, 0, 4, 5, 5, 7, 7};
    for (size_t i = 0; i < CAI_COUNT(texts); i++)
        assert_int_equal(similar_of(s, i), groups[i]);
    assert_true(similar_jaccard(s, 0, 2) == 1);
    assert_true(similar_jaccard(s, 0, 3) > 0.8 && similar_jaccard(s, 0, 3) < 1);
    assert_true(similar_jaccard(s, 0, 1) < 0.2);
    similar_free(s);
}

static void a_conversation_is_one_group(void **state) {
    (void)state;
    const struct input_turn x[] = {{"user", "Tell me of whales."},
                                   {"assistant", "They are large."},
                                   {"user", "And what is it that they like to eat in winter?"}};
    const struct input_turn y[] = {{"user", "tell me of WHALES"}};
    const struct input_turn z[] = {{"user", "Tell me of wheels."}};
    struct similar *s = similar_new(SIMILAR_THRESHOLD);
    similar_add_turns(s, z, 1);
    similar_add_turns(s, x, 3);
    similar_add_turns(s, y, 1);
    similar_group(s);
    assert_int_equal(similar_of(s, 0), 0);
    assert_int_equal(similar_of(s, 1), 1);
    assert_int_equal(similar_of(s, 2), 1);
    similar_free(s);
}

enum { TEXTS = 300, WORDS = 60 };

/* Texts of 60 words in families: a member has up to four words changed. */
static void make(size_t i, char out[WORDS * 8]) {
    size_t family = i % 60, at = 0;
    struct cai_key key = cai_key_make(1, 0, "test/family", family, 0);
    struct cai_key own = cai_key_make(1, 0, "test/own", i, 0);
    size_t changes = i < 60 ? 0 : cai_rng_below(own, 0, 5);
    for (size_t w = 0; w < WORDS; w++) {
        uint64_t word = cai_rng_below(key, w, 5000);
        for (size_t c = 0; c < changes; c++)
            if (cai_rng_below(own, 1 + c, WORDS) == w)
                word = 5000 + cai_rng_below(own, 10 + c, 5000);
        at += (size_t)snprintf(out + at, WORDS * 8 - at, "w%u ", (unsigned)word);
    }
}

static size_t root(const size_t *parent, size_t i) {
    while (parent[i] != i)
        i = parent[i];
    return i;
}

static void as_every_pair_compared(void **state) {
    (void)state;
    size_t parent[TEXTS], joined = 0;
    struct similar *s = similar_new(SIMILAR_THRESHOLD);
    for (size_t i = 0; i < TEXTS; i++) {
        char text[WORDS * 8];
        make(i, text);
        similar_add(s, text, NULL);
        parent[i] = i;
    }
    for (size_t i = 0; i < TEXTS; i++)
        for (size_t k = 0; k < i; k++)
            if (similar_jaccard(s, i, k) >= SIMILAR_THRESHOLD) {
                size_t a = root(parent, i), b = root(parent, k);
                parent[a > b ? a : b] = a > b ? b : a;
            }
    similar_group(s);
    for (size_t i = 0; i < TEXTS; i++) {
        assert_int_equal(similar_of(s, i), root(parent, i));
        joined += similar_of(s, i) != i;
    }
    assert_true(joined > 60 && joined < 240);
    similar_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(near_and_far),
                                       cmocka_unit_test(a_conversation_is_one_group),
                                       cmocka_unit_test(as_every_pair_compared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
