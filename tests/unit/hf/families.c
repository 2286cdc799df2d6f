/* families: config.json as the hub has it for a checkpoint of every family; what is read, and
 * that what is written again says the same. The arithmetic is checked in tests/parity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/family.h"
#include <stdlib.h>
#include <string.h>

#define SIZES(hidden, layers, heads, kv, inner, vocab, positions)                                  \
    "\"hidden_size\":" #hidden ",\"num_hidden_layers\":" #layers ",\"num_attention_heads\":" #heads  \
    ",\"num_key_value_heads\":" #kv ",\"intermediate_size\":" #inner ",\"vocab_size\":" #vocab       \
    ",\"max_position_embeddings\":" #positions
#define REST ",\"transformers_version\":\"4.57.6\",\"use_cache\":true,\"torch_dtype\":\"bfloat16\"," \
    "\"attention_dropout\":0.0,\"initializer_range\":0.02}"

static const char *const configs[] = {
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\"," /* SmolLM2-135M */
    SIZES(576, 30, 9, 3, 1536, 49152, 8192) ",\"hidden_act\":\"silu\",\"is_llama_config\":true,"
    "\"rope_interleaved\":false,\"rope_theta\":100000,\"rope_scaling\":null,\"pretraining_tp\":1,"
    "\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-05,\"bos_token_id\":0,\"eos_token_id\":0" REST,
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\"," /* Llama 3.2 1B */
    SIZES(2048, 16, 32, 8, 8192, 128256, 131072) ",\"hidden_act\":\"silu\",\"head_dim\":64,"
    "\"rope_theta\":500000.0,\"rope_scaling\":{\"factor\":32.0,\"high_freq_factor\":4.0,"
    "\"low_freq_factor\":1.0,\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"},"
    "\"tie_word_embeddings\":true,\"eos_token_id\":[128001,128008,128009]" REST,
    "{\"architectures\":[\"MistralForCausalLM\"],\"model_type\":\"mistral\"," /* 7B v0.1 */
    SIZES(4096, 32, 32, 8, 14336, 32000, 32768) ",\"sliding_window\":4096,\"rope_theta\":10000.0,"
    "\"hidden_act\":\"silu\",\"bos_token_id\":1,\"eos_token_id\":2" REST,
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\"," /* Qwen2.5 0.5B */
    SIZES(896, 24, 14, 2, 4864, 151936, 32768) ",\"sliding_window\":32768,\"max_window_layers\":21,"
    "\"use_sliding_window\":false,\"use_mrope\":false,\"rope_theta\":1000000.0,"
    "\"tie_word_embeddings\":true,\"hidden_act\":\"silu\"" REST,
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\"," /* Qwen3 0.6B */
    SIZES(1024, 28, 16, 8, 3072, 151936, 40960) ",\"head_dim\":128,\"attention_bias\":false,"
    "\"sliding_window\":null,\"use_sliding_window\":false,\"max_window_layers\":28,"
    "\"rope_theta\":1000000,\"tie_word_embeddings\":true,\"hidden_act\":\"silu\"" REST,
    "{\"architectures\":[\"SmolLM3ForCausalLM\"],\"model_type\":\"smollm3\"," /* SmolLM3 3B */
    SIZES(2048, 36, 16, 4, 11008, 128256, 65536) ",\"no_rope_layer_interval\":4,"
    "\"use_sliding_window\":false,\"sliding_window\":null,\"rope_theta\":5000000.0,\"mlp_bias\":false,"
    "\"hidden_act\":\"silu\",\"max_window_layers\":28" REST,
    "{\"architectures\":[\"Olmo2ForCausalLM\"],\"model_type\":\"olmo2\"," /* OLMo 2 1B */
    SIZES(2048, 16, 16, 16, 8192, 100352, 4096) ",\"hidden_act\":\"silu\",\"rope_theta\":500000,"
    "\"attention_bias\":false,\"rms_norm_eps\":1e-06,\"pad_token_id\":100277" REST,
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\"," /* Phi-4-mini */
    "\"auto_map\":{\"AutoConfig\":\"configuration_phi3.Phi3Config\"},"
    SIZES(32, 2, 2, 2, 64, 200064, 131072) ",\"partial_rotary_factor\":0.75,\"embd_pdrop\":0.0,"
    "\"original_max_position_embeddings\":4096,\"rope_scaling\":{\"type\":\"longrope\","
    "\"long_factor\":[1,1.1,1.2,1.3,1.4,1.5],\"short_factor\":[1,1,1,1,1,1.25]},"
    "\"sliding_window\":262144,\"tie_word_embeddings\":true,\"hidden_act\":\"silu\"" REST,
    "{\"architectures\":[\"Gemma2ForCausalLM\"],\"model_type\":\"gemma2\"," /* Gemma 2 2B */
    SIZES(2304, 26, 8, 4, 9216, 256000, 8192) ",\"head_dim\":256,\"hidden_act\":\"gelu_pytorch_tanh\","
    "\"hidden_activation\":\"gelu_pytorch_tanh\",\"query_pre_attn_scalar\":256,\"sliding_window\":4096,"
    "\"attn_logit_softcapping\":50.0,\"final_logit_softcapping\":30.0,\"cache_implementation\":"
    "\"hybrid\"" REST,
    "{\"architectures\":[\"Gemma3ForCausalLM\"],\"model_type\":\"gemma3_text\"," /* Gemma 3 1B */
    SIZES(1152, 26, 4, 1, 6912, 262144, 32768) ",\"head_dim\":256,\"sliding_window\":512,"
    "\"sliding_window_pattern\":6,\"rope_theta\":1000000,\"rope_local_base_freq\":10000,"
    "\"query_pre_attn_scalar\":256,\"attn_logit_softcapping\":null,\"final_logit_softcapping\":null,"
    "\"hidden_activation\":\"gelu_pytorch_tanh\",\"eos_token_id\":[1,106]" REST,
    "{\"architectures\":[\"GPT2LMHeadModel\"],\"model_type\":\"gpt2\"," /* GPT-2 124M */
    "\"activation_function\":\"gelu_new\",\"n_ctx\":1024,\"n_embd\":768,\"n_head\":12,\"n_layer\":12,"
    "\"n_positions\":1024,\"vocab_size\":50257,\"layer_norm_epsilon\":1e-05,\"embd_pdrop\":0.1,"
    "\"summary_type\":\"cls_index\",\"bos_token_id\":50256,\"eos_token_id\":50256}",
    "{\"architectures\":[\"GPTNeoXForCausalLM\"],\"model_type\":\"gpt_neox\"," /* Pythia 70M */
    "\"hidden_act\":\"gelu\",\"hidden_size\":512,\"intermediate_size\":2048,\"layer_norm_eps\":1e-05,"
    "\"max_position_embeddings\":2048,\"num_attention_heads\":8,\"num_hidden_layers\":6,"
    "\"rotary_emb_base\":10000,\"rotary_pct\":0.25,\"tie_word_embeddings\":false,"
    "\"use_parallel_residual\":true,\"vocab_size\":50304,\"torch_dtype\":\"float16\"}",
};
enum { SMOLLM2, LLAMA3, MISTRAL, QWEN2, QWEN3, SMOLLM3, OLMO2, PHI3, GEMMA2, GEMMA3, GPT2, NEOX, ALL };

static struct hf_config read_config(int i) {
    struct hf_config c;
    if (hf_config_parse("config.json", configs[i], strlen(configs[i]), &c) < 0)
        fail_msg("%d: %s", i, cai_error_text());
    return c;
}

static char *written(const struct hf_config *c) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "config.json");
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(hf_config_save(dir, c), 0);
    assert_int_equal(cai_file_read(path, 1 << 20, &b), 0);
    return cai_strdup(b.data);
}

static void what_is_written_says_the_same(void **state) {
    (void)state;
    for (int i = 0; i < ALL; i++) {
        struct hf_config c = read_config(i), d;
        CAI_AUTO(mem) char *once = written(&c);
        assert_int_equal(hf_config_load(dir, &d), 0);
        CAI_AUTO(mem) char *twice = written(&d);
        assert_string_equal(once, twice);
        assert_memory_equal(c.layers, d.layers, sizeof c.layers);
        assert_memory_equal(&c.rope, &d.rope, sizeof c.rope);
        assert_int_equal(c.max_positions, d.max_positions);
    }
}

/* OLMo 2 alone has no class of transformers for a score head, and none is made up for it. */
static void score_heads(void **state) {
    (void)state;
    for (int i = 0; i < ALL; i++) {
        struct hf_config c = read_config(i);
        struct hf_param *p = NULL;
        int n;
        bool none = strcmp(c.model_type, "olmo2") == 0;
        assert_int_equal(hf_params(&c, true, &p, &n), none ? CAI_EINPUT : 0);
        if (none)
            assert_non_null(strstr(cai_error_text(), "no class for a model of the OLMo 2 family"));
        else
            assert_int_equal(p[n - 1].slot, HF_SCORE);
        free(p);
    }
}

static int count(const struct hf_config *c, uint8_t flag) {
    int n = 0;
    for (int64_t i = 0; i < c->num_layers; i++)
        n += (c->layers[i] & flag) != 0;
    return n;
}

static void what_families_differ_in_is_read(void **state) {
    (void)state;
    struct hf_config c = read_config(LLAMA3);
    assert_true(c.rope.kind == HF_ROPE_LLAMA3 && c.rope.factor == 32 && c.num_eos == 3);
    c = read_config(MISTRAL);
    assert_true(c.sliding_window == 4096 && count(&c, HF_LAYER_SLIDES) == 32);
    c = read_config(QWEN2);
    assert_true(c.attention_bias && c.sliding_window == 0 && count(&c, HF_LAYER_SLIDES) == 0);
    c = read_config(QWEN3);
    assert_true(c.head_dim == 128 && !c.attention_bias);
    c = read_config(SMOLLM3);
    assert_int_equal(count(&c, HF_LAYER_NO_ROPE), 9);
    c = read_config(PHI3);
    assert_true(c.rope.kind == HF_ROPE_LONGROPE && c.rope.n_factors == 6);
    assert_true(hf_rotary_dim(&c) == 12 && c.rope.original_positions == 4096);
    c = read_config(GEMMA2);
    assert_true(c.attention_softcap == 50 && c.logit_softcap == 30 && c.tie_word_embeddings);
    assert_true(c.activation == HF_GELU_TANH && count(&c, HF_LAYER_SLIDES) == 13);
    c = read_config(GEMMA3);
    assert_true(c.rope_local_theta == 10000 && c.attention_softcap == 0);
    assert_int_equal(count(&c, HF_LAYER_SLIDES), 22);
    assert_int_equal(c.layers[5], 0);
    c = read_config(GPT2);
    assert_true(c.intermediate_size == 3072 && c.attention_bias && c.tie_word_embeddings);
    c = read_config(NEOX);
    assert_true(hf_rotary_dim(&c) == 16 && c.attention_bias && c.activation == HF_GELU);
}

static const struct hf_param *named(const struct hf_param *p, int n, const char *name, int skip) {
    for (int i = 0; i < n; i++)
        if (!strcmp(p[i].name, name) && skip-- == 0)
            return &p[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

/* Parts of a fused tensor: where each row lies, and the shape of the whole. */
static void parameters_lie_in_tensors(void **state) {
    (void)state;
    struct hf_config c = read_config(NEOX);
    struct hf_param *p;
    int64_t shape[2];
    int n;
    assert_int_equal(hf_params(&c, false, &p, &n), 0);
    const struct hf_param *k = named(p, n, "gpt_neox.layers.5.attention.query_key_value.weight", 1);
    assert_true(k->slot == HF_K && k->shape[0] == 512 && k->file_rows == 1536);
    assert_int_equal(hf_param_file_row(k, 0), 64);
    assert_int_equal(hf_param_file_row(k, 65), 192 + 64 + 1);
    free(p);
    c = read_config(GPT2);
    assert_int_equal(hf_params(&c, true, &p, &n), 0);
    const struct hf_param *v = named(p, n, "transformer.h.11.attn.c_attn.weight", 2);
    assert_true(v->slot == HF_V && v->transposed && hf_param_file_row(v, 3) == 1539);
    assert_int_equal(hf_param_file_shape(v, shape), 2);
    assert_true(shape[0] == 768 && shape[1] == 2304);
    assert_true(p[n - 1].slot == HF_SCORE && p[n - 1].shape[1] == 768);
    free(p);
    c = read_config(GEMMA3);
    assert_int_equal(hf_params(&c, false, &p, &n), 0);
    assert_int_equal(n, 26 * (7 + 4 + 2) + 2);
    free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_says_the_same),
        cmocka_unit_test(what_families_differ_in_is_read),
        cmocka_unit_test(score_heads),
        cmocka_unit_test(parameters_lie_in_tensors),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
