/* config: what is read, what defaults are filled in, and what is written is read again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"
#include <string.h>

static const char small[] =
    "{\"model_type\":\"llama\",\"vocab_size\":97,\"hidden_size\":32,\"intermediate_size\":56,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"max_position_embeddings\":64}";

static void defaults(void **state) {
    (void)state;
    struct hf_config c;
    assert_int_equal(hf_config_parse("x", small, strlen(small), &c), 0);
    assert_int_equal(c.num_kv_heads, 4);
    assert_int_equal(c.head_dim, 8);
    assert_true(c.rope_theta == 10000 && c.rms_norm_eps == 1e-6);
    assert_false(c.tie_word_embeddings || c.attention_bias || c.sequence_classification);
    assert_int_equal(c.bos_token_id, -1);
    assert_int_equal(c.eos_token_id, -1);
    assert_int_equal(c.num_eos, 0);
    assert_int_equal(c.dtype, HF_F32);
}

static void round_trip(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-config-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct hf_config c, d;
    assert_int_equal(hf_config_parse("x", small, strlen(small), &c), 0);
    c.sequence_classification = true;
    c.tie_word_embeddings = true;
    c.rope_theta = 123456.789;
    c.rms_norm_eps = 1e-5;
    c.num_kv_heads = 2;
    c.head_dim = 12;
    c.eos_ids[0] = c.eos_token_id = 5;
    c.eos_ids[1] = 7;
    c.num_eos = 2;
    c.pad_token_id = 3;
    c.dtype = HF_BF16;
    assert_int_equal(hf_config_save(dir, &c), 0);
    assert_int_equal(hf_config_load(dir, &d), 0);
    assert_string_equal(d.model_type, "llama");
    assert_true(d.sequence_classification && d.tie_word_embeddings);
    assert_true(d.rope_theta == c.rope_theta && d.rms_norm_eps == c.rms_norm_eps);
    assert_int_equal(d.head_dim, 12);
    assert_int_equal(d.num_kv_heads, 2);
    assert_int_equal(d.num_eos, 2);
    assert_int_equal(d.eos_ids[1], 7);
    assert_int_equal(d.pad_token_id, 3);
    assert_int_equal(d.bos_token_id, -1);
    assert_int_equal(d.dtype, HF_BF16);
    assert_int_equal(cai_dir_remove(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(defaults), cmocka_unit_test(round_trip)};
    return cmocka_run_group_tests_name("hf/config", tests, NULL, NULL);
}
