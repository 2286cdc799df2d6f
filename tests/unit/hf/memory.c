/* memory: sizes by hand, how many sequences fit, and how sizes are said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "hf/memory.h"
#include <string.h>

#define SMALL                                                                                      \
    "{\"model_type\":\"llama\",\"vocab_size\":96,\"hidden_size\":32,\"intermediate_size\":64,"     \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"                 \
    "\"max_position_embeddings\":8192,\"tie_word_embeddings\":%s}"

static int setup(void **state) {
    char text[512];
    assert_int_equal(make_dir(state), 0);
    snprintf(text, sizeof text, SMALL, "false");
    put_text("apart", "config.json", text);
    snprintf(text, sizeof text, SMALL, "true");
    put_text("tied", "config.json", text);
    put_text("adapter", "adapter_config.json",
             "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":4,\"lora_alpha\":8,"
             "\"target_modules\":[\"q_proj\"],\"base_model_name_or_path\":\"../apart\"}");
    return 0;
}

static void footprint(const char *name, bool scalar, struct hf_footprint *ret) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    int rc = hf_memory_footprint(path, scalar, ret, NULL);
    if (rc < 0)
        print_error("%s\n", cai_error_text());
    assert_int_equal(rc, 0);
}

/* q and o 32 × 32, k and v 16 × 32, three of 64 × 32; a norm of 32 takes 128. */
enum { LAYER = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32 + 2 * 128, TOKENS = 96 * 32 };

static void weights_are_counted_with_their_padding(void **state) {
    (void)state;
    struct hf_footprint f;
    footprint("apart", false, &f);
    assert_int_equal(f.all, 2 * LAYER + 128 + 2 * TOKENS);
    assert_int_equal(f.trained, f.all);
    assert_int_equal(f.halved, f.all - TOKENS); /* the embedding is only looked up */
    footprint("tied", false, &f);
    assert_int_equal(f.all, 2 * LAYER + 128 + TOKENS);
    assert_int_equal(f.halved, f.all);
    footprint("tied", true, &f); /* a score head instead of the token head */
    assert_int_equal(f.all, 2 * LAYER + 128 + TOKENS + 128);
    assert_int_equal(f.halved, f.all - TOKENS);
}

static void an_adapter_trains_its_own(void **state) {
    (void)state;
    struct hf_footprint base, f;
    footprint("apart", false, &base);
    footprint("adapter", false, &f);
    assert_int_equal(f.trained, 2 * (4 * 32 + 32 * 4)); /* of two layers A and B */
    assert_int_equal(f.all, base.all + f.trained);
}

static void no_folder_is_said(void **state) {
    (void)state;
    struct hf_footprint f;
    assert_true(hf_memory_footprint("/nonexistent", false, &f, NULL) < 0);
    assert_non_null(strstr(cai_error_text(), "/nonexistent"));
}

static void as_many_sequences_as_fit(void **state) {
    (void)state;
    struct hf_config c = {.num_layers = 2, .num_kv_heads = 2, .head_dim = 8};
    /* Keys and values of 2 layers × 2 heads × 8; one more slot; positions in steps. */
    assert_int_equal(hf_memory_kv(&c, 3, 33), 2 * 2 * 2 * 8 * 4 * 4 * 64);
    assert_int_equal(hf_memory_slots(&c, 64, 8192), 64);
    assert_int_equal(hf_memory_slots(&c, 0, 8192), 1);
    c.num_kv_heads = 8;
    c.head_dim = 128;
    c.num_layers = 32; /* 262,144 bytes a position: 2 GiB are two slots of 4,096 */
    assert_int_equal(hf_memory_kv(&c, 1, 4096), (int64_t)2 << 30);
    assert_int_equal(hf_memory_slots(&c, 64, 4096), 1);
    assert_int_equal(hf_memory_slots(&c, 64, 1024), 7);
    assert_int_equal(hf_memory_slots(&c, 64, 100000), 1); /* one at least */
}

static void large_graphs_are_made_again(void **state) {
    (void)state;
    struct hf_config c = {.model_type = "llama", .num_layers = 4, .hidden_size = 64,
                          .intermediate_size = 128, .num_heads = 4, .num_kv_heads = 2,
                          .head_dim = 16, .vocab_size = 96};
    int64_t floats = 8 * 64 + 3 * 6 * 16 + 4 * 128;
    assert_int_equal(hf_memory_graphs(&c, 100), 4 * 100 * floats * 4);
    assert_false(hf_memory_recomputes(&c, 100, "auto"));
    assert_true(hf_memory_recomputes(&c, 100, "always"));
    c.num_layers = 1000;
    assert_true(hf_memory_graphs(&c, 4096) > hf_graphs_max);
    assert_true(hf_memory_recomputes(&c, 4096, "auto"));
    assert_false(hf_memory_recomputes(&c, 4096, "never"));
}

/* Per token two inputs of norms, queries and what attention gave, keys, values, gate and up, and
 * what the products read: in fp32 as much again of the norms' and the activation's results, in
 * bfloat16 copies of half the size, with one of what attention gave, and of the matrices; a plain
 * layer has values, what attention gave, gate and up in bfloat16 alone, one with biases in fp32
 * beside. */
static void graphs_are_counted(void **state) {
    (void)state;
    struct hf_config c = {.model_type = "llama", .num_layers = 4, .hidden_size = 64,
                          .intermediate_size = 128, .num_heads = 4, .num_kv_heads = 2,
                          .head_dim = 16, .vocab_size = 96};
    struct hf_training how = {.tokens = 1000, .scalar = true};
    int64_t kept = 2 * 64 + 2 * 64 + 2 * 32 + 2 * 128, inputs = 2 * 64 + 128;
    int64_t layer = 1000 * 4 * (kept + inputs), backward = 1000 * 4 * (64 + 3 * 128) + 4 * 64 * 128;
    assert_int_equal(hf_memory_batch(&c, &how), 4 * layer + 1000 * 4 * 64 + backward);
    how.normed = 1000; /* a copy in fp64 */
    assert_int_equal(hf_memory_batch(&c, &how), 4 * layer + 1000 * 4 * 64 + backward + 8000);
    how.normed = 0;
    how.recompute = true; /* one layer with all that it makes, and five inputs */
    int64_t scope = 1000 * 4 * (3 * 64 + 64 + 32);
    assert_int_equal(hf_memory_batch(&c, &how), layer + scope + 5 * 1000 * 4 * 64 + backward);
    how.half = true;
    int64_t matrices = 64 * (2 * 64 + 2 * 32) + 3 * 64 * 128;
    int64_t half = 1000 * (4 * kept + 2 * (2 * 64 + 64 + 128)) + 2 * matrices;
    int64_t plain = half - 1000 * ((4 - 2) * (2 * 128 + 32) + 4 * 64);
    backward += 1000 * 2 * 2 * 128 + 2 * 64 * 128 * 6 - 4 * 64 * 128;
    scope += 1000 * 4 * (2 * 64 + 128);
    assert_int_equal(hf_memory_batch(&c, &how), plain + scope + 5 * 1000 * 4 * 64 + backward);
    c.attention_bias = true;
    assert_int_equal(hf_memory_batch(&c, &how), half + scope + 5 * 1000 * 4 * 64 + backward);
}

/* All that a layer makes of a row, in floats: its input and the sums and products after it, queries
 * and keys before and after they are turned, values and what attention gave, the inner rows. */
static void calls_without_gradients_are_counted(void **state) {
    (void)state;
    struct hf_config c = {.model_type = "llama", .num_layers = 3, .hidden_size = 64,
                          .intermediate_size = 160, .num_heads = 4, .num_kv_heads = 2,
                          .head_dim = 16, .vocab_size = 100};
    int64_t floats = 7 * 64 + 3 * 64 + 3 * 32 + 3 * 160;
    assert_int_equal(hf_memory_feed(&c, 10), 10 * floats * 4);
    assert_int_equal(hf_memory_feed(&c, 0), 0);
}

static void sizes_are_said(void **state) {
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } cases[] = {{1234567890, "1.2 GB"}, {340000000, "0.3 GB"}, {35400000, "35 MB"},
                 {12345, "12 kB"},       {0, "0 kB"},           {123456789012345, "123456.8 GB"}};
    char text[48];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hf_memory_text(cases[i].bytes, text, 16);
        assert_string_equal(text, cases[i].text);
    }
    hf_memory_slots_text(64, 4096, text, sizeof text);
    assert_string_equal(text, "64 × 4,096");
    hf_memory_slots_text(1, 96, text, sizeof text);
    assert_string_equal(text, "1 × 96");
    hf_memory_slots_text(7, 1048576, text, sizeof text);
    assert_string_equal(text, "7 × 1,048,576");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_counted_with_their_padding),
        cmocka_unit_test(an_adapter_trains_its_own),
        cmocka_unit_test(no_folder_is_said),
        cmocka_unit_test(as_many_sequences_as_fit),
        cmocka_unit_test(large_graphs_are_made_again),
        cmocka_unit_test(graphs_are_counted),
        cmocka_unit_test(calls_without_gradients_are_counted),
        cmocka_unit_test(sizes_are_said),
    };
    return cmocka_run_group_tests(tests, setup, remove_dir);
}
