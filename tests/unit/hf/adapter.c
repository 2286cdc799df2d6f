/* adapter: what PEFT's adapter_config.json may say, and the parameters that follow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/adapter.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LORA "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":4,\"lora_alpha\":8,"            \
             "\"bias\":\"none\",\"base_model_name_or_path\":\"../base\""
#define TARGETS ",\"target_modules\":[\"q_proj\",\"self_attn.v_proj\"]"

static int parse(const char *json, struct hf_adapter *ret) {
    return hf_adapter_parse("adapter_config.json", json, strlen(json), ret);
}

static void plain_lora_is_read(void **state) {
    (void)state;
    struct hf_adapter a;
    assert_int_equal(parse(LORA TARGETS ",\"use_dora\":false,\"rank_pattern\":{},\"lora_dropout\":0.1,"
                           "\"init_lora_weights\":true,\"modules_to_save\":null}", &a), 0);
    assert_true(a.rank == 4 && a.alpha == 8 && a.n_targets == 2 && !a.scalar && !a.rslora);
    assert_true(hf_adapter_scale(&a) == 2);
    a.rslora = true;
    assert_true(fabs(hf_adapter_scale(&a) - 4) < 1e-12);
    assert_string_equal(a.base, "../base");
}

static void the_rest_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"{}", "\"peft_type\""},
        {"{\"peft_type\":\"IA3\"}", "\"IA3\" is not supported"},
        {"{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_2_SEQ_LM\"}", "\"SEQ_2_SEQ_LM\""},
        {LORA TARGETS ",\"use_dora\":true}", "\"use_dora\" is not supported"},
        {LORA TARGETS ",\"rank_pattern\":{\"q_proj\":8}}", "\"rank_pattern\" is not supported"},
        {LORA TARGETS ",\"layers_to_transform\":[0]}", "\"layers_to_transform\""},
        {LORA TARGETS ",\"init_lora_weights\":\"pissa\"}", "\"pissa\""},
        {LORA TARGETS ",\"modules_to_save\":[\"lm_head\"]}", "\"lm_head\""},
        {LORA TARGETS ",\"r\":0}", "duplicate"},
        {LORA ",\"target_modules\":\".*_proj\"}", "is the pattern"},
        {LORA ",\"target_modules\":[]}", "must be a list of names"},
        {LORA ",\"target_modules\":[1]}", "names of modules"},
        {LORA "}", "found nothing"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"bias\":\"all\"}", "\"bias\" is \"all\""},
        {"{\"peft_type\":\"LORA\",\"r\":-1,\"target_modules\":[\"a\"]}", "\"r\" is -1"},
    };
    struct hf_adapter a;
    for (size_t i = 0; i < CAI_COUNT(cases); i++)
        if (parse(cases[i].json, &a) != CAI_EINPUT || !strstr(cai_error_text(), cases[i].words))
            fail_msg("%s: %s", cases[i].json, cai_error_text());
}

static struct hf_config config(const char *type) {
    struct hf_config c = {.vocab_size = 50, .hidden_size = 12, .intermediate_size = 20,
                          .num_layers = 2, .num_heads = 3, .num_kv_heads = 3, .head_dim = 4,
                          .max_positions = 16};
    snprintf(c.model_type, sizeof c.model_type, "%s", type);
    return c;
}

static void parameters(void **state) {
    (void)state;
    struct hf_config c = config("llama");
    struct hf_adapter a;
    struct hf_param *p;
    int n;
    assert_int_equal(parse(LORA TARGETS "}", &a), 0);
    assert_int_equal(hf_adapter_params(&c, &a, &p, &n), 0);
    assert_int_equal(n, 2 * 4);
    assert_string_equal(p[0].name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    assert_true(p[0].shape[0] == 4 && p[0].shape[1] == 12);
    assert_true(p[1].matrix == HF_LORA_B && p[1].shape[0] == 12 && p[1].shape[1] == 4);
    free(p);
    snprintf(a.targets[0], sizeof a.targets[0], "lm_head");
    assert_int_equal(hf_adapter_params(&c, &a, &p, &n), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "\"lm_head\" is not a projection"));
    /* One A and three parts of B of a fused matrix; a head of its own. */
    c = config("gpt_neox");
    a = (struct hf_adapter){.rank = 2, .alpha = 2, .scalar = true, .n_targets = 1};
    snprintf(a.targets[0], sizeof a.targets[0], "query_key_value");
    assert_int_equal(hf_adapter_params(&c, &a, &p, &n), 0);
    assert_int_equal(n, 2 * 4 + 1);
    assert_true(p[3].slot == HF_V && p[3].file_rows == 36 && hf_param_file_row(&p[3], 4) == 12 + 8);
    assert_string_equal(p[n - 1].name, "base_model.model.score.weight");
    free(p);
}

static void written_and_read_again(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-adapter-XXXXXX";
    struct hf_config c = config("gpt2");
    struct hf_adapter a, b;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(parse(LORA TARGETS ",\"use_rslora\":true}", &a), 0);
    assert_false(hf_adapter_is(dir));
    assert_int_equal(hf_adapter_save(dir, &a, &c), 0);
    assert_true(hf_adapter_is(dir));
    assert_int_equal(hf_adapter_load(dir, &b), 0);
    assert_true(b.rslora && b.rank == a.rank && b.alpha == a.alpha && b.n_targets == 2);
    assert_string_equal(b.targets[1], "self_attn.v_proj");
    char *base;
    assert_int_equal(hf_adapter_base(dir, &a, &base), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "base_model_name_or_path"));
    cai_dir_remove(dir);
}

static void from_settings(void **state) {
    (void)state;
    struct hf_adapter a;
    assert_int_equal(hf_adapter_make(8, 16, "q_proj, self_attn.v_proj,down_proj", &a), 0);
    assert_true(a.rank == 8 && a.alpha == 16 && a.n_targets == 3 && hf_adapter_scale(&a) == 2);
    assert_string_equal(a.targets[1], "self_attn.v_proj");
    assert_string_equal(a.targets[2], "down_proj");
    static const char *const wrong[] = {"", " ", "q_proj,", ",q_proj", "q_proj v_proj",
                                        "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"};
    for (size_t i = 0; i < CAI_COUNT(wrong); i++)
        assert_int_equal(hf_adapter_make(8, 16, wrong[i], &a), CAI_EINPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lora_is_read),
        cmocka_unit_test(the_rest_is_refused_by_name),
        cmocka_unit_test(parameters),
        cmocka_unit_test(written_and_read_again),
        cmocka_unit_test(from_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
