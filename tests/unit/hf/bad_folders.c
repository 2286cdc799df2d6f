/* Broken checkpoint folders, made here: each is refused within a second, by a message
 * that names the file and what was expected, with the code for bad input or a limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void put(const char *name, const void *data, size_t len) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    assert_int_equal(cai_file_write_atomic(path, data, len), 0);
}

static void take_away(const char *name) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    unlink(path);
}

/* What a refusal must be like. `file` and `words` must stand in the message. */
static void refused(int rc, clock_t began, const char *file, const char *words) {
    if (rc >= 0 || !strstr(cai_error_text(), file) || !strstr(cai_error_text(), words))
        fail_msg("expected a refusal of %s that says \"%s\", got %d: %s", file, words, rc,
                 cai_error_text());
    assert_true(rc == CAI_EINPUT || rc == CAI_ELIMIT);
    assert_true(clock() - began < CLOCKS_PER_SEC);
}

/* ---- safetensors ------------------------------------------------------------------ */

static void put_tensors(const char *name, const char *header, size_t data_len) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    uint64_t n = strlen(header);
    cai_buf_append(&b, &n, 8);
    cai_buf_puts(&b, header);
    for (size_t i = 0; i < data_len; i++)
        cai_buf_putc(&b, (char)i);
    put(name, b.data, b.len);
}

static void refuse_weights(const char *file, const char *words) {
    clock_t began = clock();
    struct hf_weights *w = NULL;
    int rc = hf_weights_open(dir, &w);
    refused(rc, began, file, words);
}

#define ONE(dtype, shape, offsets)                                                                 \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(a, b)                                                                                  \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" a "},"                             \
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" b "}}"

static void headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *words;
    } cases[] = {
        {ONE("F32", "[2]", "[0,8]"), 4, "out of range"},
        {ONE("F32", "[2]", "[0,8]"), 12, "the tensors end at byte 8"},
        {ONE("F32", "[3]", "[0,8]"), 8, "need 12"},
        {ONE("F32", "[2]", "[4,12]"), 12, "a hole"},
        {ONE("F32", "[2]", "[8,0]"), 8, "out of range"},
        {ONE("F32", "[2]", "[-8,0]"), 8, "must be [begin, end]"},
        {ONE("F32", "[-2]", "[0,8]"), 8, "size of 0 or more"},
        {ONE("F32", "[2.0]", "[0,8]"), 8, "size of 0 or more"},
        {ONE("F32", "[2]", "[0,8.0]"), 8, "must be [begin, end]"},
        {ONE("F32", "[2]", "[0]"), 8, "must be [begin, end]"},
        {ONE("F32", "2", "[0,8]"), 8, "shape must be a list"},
        {ONE("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "at most 8"},
        {ONE("F32", "[4611686018427387904,4]", "[0,0]"), 0, "overflows"},
        {ONE("F32", "[9223372036854775808]", "[0,0]"), 0, "not valid JSON"},
        {ONE("F8_E4M3", "[8]", "[0,8]"), 8, "dtype F8_E4M3 is not supported"},
        {ONE("f32", "[2]", "[0,8]"), 8, "expected F64"},
        {ONE("F32", "[2]", "[0,18446744073709551615]"), 8, "not valid JSON"},
        {TWO("[0,8]", "[4,12]"), 12, "overlap"},
        {TWO("[0,8]", "[0,8]"), 8, "overlap"},
        {TWO("[0,8]", "[12,20]"), 20, "a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]}}",
         8, "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, "exactly dtype, shape and data_offsets"},
        {"{\"a\":[1,2]}", 0, "exactly dtype, shape and data_offsets"},
        {"{\"__metadata__\":{\"x\":1}}", 0, "must be a string"},
        {"{\"__metadata__\":[]}", 0, "must be an object of strings"},
        {"[1]", 0, "must begin with '{'"},
        {" {}", 0, "must begin with '{'"},
        {"{\"a\":", 0, "not valid JSON"},
        {"{\"\xFF\":{}}", 0, "not valid JSON"},
        {"{} x", 0, "not valid JSON"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        put_tensors("model.safetensors", cases[i].header, cases[i].data);
        refuse_weights("model.safetensors", cases[i].words);
    }
    take_away("model.safetensors");
}

static void files(void **state) {
    (void)state;
    put("model.safetensors", "", 0);
    refuse_weights("model.safetensors", "at least 8");
    put("model.safetensors", "\x02\0\0\0", 4);
    refuse_weights("model.safetensors", "at least 8");
    put("model.safetensors", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
    refuse_weights("model.safetensors", "the limit is");
    put("model.safetensors", "\x64\0\0\0\0\0\0\0{}", 10);
    refuse_weights("model.safetensors", "truncated");
    put("model.safetensors", "\0\0\0\0\0\0\0\0", 8);
    refuse_weights("model.safetensors", "must begin with '{'");

    size_t huge = (size_t)9 << 20; /* really that long, not just claimed */
    char *spaces = cai_alloc(huge + 8);
    memset(spaces + 8, ' ', huge);
    memcpy(spaces, &(uint64_t){huge}, 8);
    spaces[8] = '{';
    put("model.safetensors", spaces, huge + 8);
    free(spaces);
    refuse_weights("model.safetensors", "the limit is 8388608");

    CAI_AUTO(buf) struct cai_buf deep = {0};
    for (int i = 0; i < 100000; i++)
        cai_buf_puts(&deep, "{\"a\":");
    put_tensors("model.safetensors", deep.data, 0);
    refuse_weights("model.safetensors", "not valid JSON");

    CAI_AUTO(buf) struct cai_buf many = {0};
    for (int i = 0; i < 50002; i++)
        cai_buf_printf(&many, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                       i ? "," : "{", i);
    cai_buf_putc(&many, '}');
    put_tensors("model.safetensors", many.data, 0);
    refuse_weights("model.safetensors", "the limit is 50000");
    take_away("model.safetensors");

    CAI_AUTO(mem) char *folder = cai_path_join(dir, "model.safetensors");
    assert_int_equal(mkdir(folder, 0700), 0);
    refuse_weights("model.safetensors", "not a regular file");
    assert_int_equal(rmdir(folder), 0);
    refuse_weights("model.safetensors", "is missing");
    put("pytorch_model.bin", "x", 1);
    refuse_weights("pytorch_model.bin", "never read");
    take_away("pytorch_model.bin");
}

static void indexes(void **state) {
    (void)state;
    static const struct {
        const char *index, *file, *words;
    } cases[] = {
        {"{}", "index.json", "\"weight_map\" must be an object"},
        {"{\"weight_map\":{}}", "index.json", "names 0 files"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "index.json", "plain name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "index.json", "plain name"},
        {"{\"weight_map\":{\"a\":\"sub/x.safetensors\"}}", "index.json", "plain name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "index.json", "plain name"},
        {"{\"weight_map\":{\"a\":\"x.bin\"}}", "index.json", "plain name"},
        {"{\"weight_map\":{\"a\":7}}", "index.json", "plain name"},
        {"{\"weight_map\":{\"a\":\"gone.safetensors\"}}", "gone.safetensors", "is missing"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"}}", "index.json",
         "tensor \"b\" is in x.safetensors, but it is not"},
        {"{\"weight_map\":{\"b\":\"x.safetensors\"}}", "index.json", "weight_map says nothing"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}", "index.json",
         "more than one shard"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"y.safetensors\"}}", "index.json",
         "duplicate"},
        {"{\"weight_map\":", "index.json", "not valid JSON"},
    };
    put_tensors("x.safetensors", ONE("F32", "[2]", "[0,8]"), 8);
    put_tensors("y.safetensors", ONE("F32", "[2]", "[0,8]"), 8);
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        put("model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        refuse_weights(cases[i].file, cases[i].words);
    }
    take_away("model.safetensors.index.json");
}

/* ---- config.json ------------------------------------------------------------------ */

#define SIZES                                                                                      \
    "\"vocab_size\":9,\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":1,"          \
    "\"max_position_embeddings\":8"
#define LLAMA "\"model_type\":\"llama\"," SIZES ",\"num_attention_heads\":2"

#define FAMILY(type) "\"model_type\":\"" type "\"," SIZES ",\"num_attention_heads\":2"

static void refuse_config(const char *json, size_t len, const char *words) {
    put("config.json", json, len);
    struct hf_config c;
    clock_t began = clock();
    int rc = hf_config_load(dir, &c);
    refused(rc, began, "config.json", words);
}

static void configs(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"", "not valid JSON"},
        {"[]", "a JSON object at the top"},
        {"{}", "\"model_type\" must be a string"},
        {"{\"model_type\":\"gpt_bigcode\"}", "\"gpt_bigcode\" is not supported"},
        {"{\"model_type\":\"llama\"}", "\"vocab_size\" must be an integer"},
        {"{\"model_type\":\"llama\"," SIZES "}", "\"num_attention_heads\" must be"},
        {"{" LLAMA ",\"vocab_size\":-1}", "duplicate"},
        {"{\"model_type\":\"llama\",\"vocab_size\":-1}", "\"vocab_size\" is -1"},
        {"{\"model_type\":\"llama\",\"vocab_size\":1e3}", "\"vocab_size\" must be an integer"},
        {"{\"model_type\":\"llama\",\"vocab_size\":99999999999999999999}", "not valid JSON"},
        {"{\"model_type\":\"llama\",\"vocab_size\":999999999}", "must be from 1 to"},
        {"{\"model_type\":\"llama\"," SIZES ",\"num_attention_heads\":3}", "not a multiple"},
        {"{\"model_type\":\"llama\"," SIZES ",\"num_attention_heads\":8}", "is odd"},
        {"{" LLAMA ",\"num_key_value_heads\":3}", "not a multiple"},
        {"{" LLAMA ",\"head_dim\":0}", "\"head_dim\" is 0"},
        {"{" LLAMA ",\"head_dim\":3}", "is odd"},
        {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"ntk\",\"factor\":4}}", "\"ntk\""},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", "needs \"factor\""},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4,\"alpha\":2}}",
         "\"alpha\""},
        {"{" LLAMA ",\"rope_scaling\":{\"factor\":4}}", "(none)"},
        {"{" LLAMA ",\"rope_scaling\":4}", "an object or null"},
        {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"llama3\"}}", "needs \"factor\""},
        {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"longrope\",\"long_factor\":[1]}}",
         "\"long_factor\""},
        {"{" LLAMA ",\"rope_parameters\":{\"full_attention\":{},\"sliding_attention\":{}}}",
         "Gemma 3"},
        {"{" LLAMA ",\"rope_theta\":-1}", "\"rope_theta\" is -1"},
        {"{" LLAMA ",\"rms_norm_eps\":\"small\"}", "\"rms_norm_eps\" must be a number"},
        {"{" LLAMA ",\"partial_rotary_factor\":0.3}", "which is odd"},
        {"{" LLAMA ",\"hidden_act\":\"relu\"}", "\"hidden_act\" is \"relu\""},
        {"{" LLAMA ",\"quantization_config\":{}}", "unquantized"},
        {"{" LLAMA ",\"sliding_window\":4}", "\"sliding_window\" changes the arithmetic"},
        {"{" LLAMA ",\"layer_types\":[\"sliding_attention\"]}", "full_attention only"},
        {"{" LLAMA ",\"auto_map\":{}}", "Python code"},
        {"{" LLAMA ",\"logit_scale\":2}", "\"logit_scale\" changes the arithmetic"},
        {"{" LLAMA ",\"num_local_experts\":8}", "\"num_local_experts\" changes the arithmetic"},
        {"{" LLAMA ",\"final_logit_softcapping\":30.0}", "\"final_logit_softcapping\" changes"},
        {"{" LLAMA ",\"no_rope_layers\":[1]}", "\"no_rope_layers\" changes the arithmetic"},
        {"{" FAMILY("mistral") ",\"num_key_value_heads\":2,\"layer_types\":[\"full_attention\"]}",
         "contradicts"},
        {"{" FAMILY("mistral") ",\"architectures\":[\"LlamaForCausalLM\"]}", "MistralForCausalLM"},
        {"{" FAMILY("qwen2") ",\"num_key_value_heads\":1,\"layer_types\":[\"sliding_attention\"]}",
         "\"sliding_window\" is not set"},
        {"{" FAMILY("qwen3") ",\"num_key_value_heads\":1,\"layer_types\":[]}", "a list of 1"},
        {"{" FAMILY("qwen3") ",\"num_key_value_heads\":1,\"layer_types\":[\"chunked_attention\"]}",
         "\"chunked_attention\""},
        {"{" FAMILY("gemma3_text") ",\"num_key_value_heads\":1,\"attn_logit_softcapping\":5}",
         "\"attn_logit_softcapping\" changes"},
        {"{" FAMILY(
             "gemma3_text") ",\"num_key_value_heads\":1,\"use_bidirectional_attention\":true}",
         "\"use_bidirectional_attention\" changes"},
        {"{" FAMILY("smollm3") ",\"num_key_value_heads\":1,\"no_rope_layers\":[\"a\"]}", "0 and 1"},
        {"{" FAMILY("phi3") ",\"rope_scaling\":{\"type\":\"su\",\"long_factor\":[1,0],"
                            "\"short_factor\":[1,1]}}",
         "\"long_factor\"[1]"},
        {"{" FAMILY("gpt2") "}", "\"n_embd\" must be an integer"},
        {"{" FAMILY("gpt2") ",\"add_cross_attention\":true}", "\"add_cross_attention\" changes"},
        {"{" FAMILY("gpt_neox") ",\"hidden_act\":\"relu\"}", "\"relu\""},
        {"{" LLAMA ",\"architectures\":[\"LlamaForTokenClassification\"]}", "is not supported"},
        {"{" LLAMA ",\"architectures\":[\"LlamaForSequenceClassification\"]}", "exactly one label"},
        {"{" LLAMA ",\"tie_word_embeddings\":1}", "must be true or false"},
        {"{" LLAMA ",\"eos_token_id\":9}", "but \"vocab_size\" is 9"},
        {"{" LLAMA ",\"eos_token_id\":[]}", "a list of 1 to"},
        {"{" LLAMA ",\"eos_token_id\":[1,-2]}", "ids from 0"},
        {"{" LLAMA ",\"torch_dtype\":\"int8\"}", "must be float32"},
        {"{" LLAMA ",\"note\":\"\xC3\x28\"}", "not valid JSON"},
        {"{" LLAMA ",\"rope_theta\":1e999}", "not valid JSON"},
        {"{" LLAMA ",\"rope_theta\":NaN}", "not valid JSON"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++)
        refuse_config(cases[i].json, strlen(cases[i].json), cases[i].words);
    CAI_AUTO(mem) char *brackets = cai_alloc(100001);
    memset(brackets, '[', 100000);
    refuse_config(brackets, 100000, "not valid JSON");
    CAI_AUTO(mem) char *big = cai_alloc((size_t)5 << 20);
    refuse_config(big, (size_t)5 << 20, "the limit is");
    take_away("config.json");
    struct hf_config c;
    clock_t began = clock();
    refused(hf_config_load(dir, &c), began, "config.json", "is missing");
    assert_int_equal(hf_config_load("/nonexistent/folder", &c), CAI_ENOTFOUND);
}

/* ---- tokenizer.json --------------------------------------------------------------- */

#define BPE(vocab, merges, more)                                                                   \
    "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges      \
    "}" more "}"
#define AB "{\"a\":0,\"b\":1,\"ab\":2}"

static void refuse_tokenizer(const char *json, size_t len, const char *words) {
    put("tokenizer.json", json, len);
    struct hf_tokenizer *t = NULL;
    clock_t began = clock();
    refused(hf_tokenizer_load(dir, &t), began, "tokenizer.json", words);
}

static void tokenizers(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"{}", "\"version\" must be \"1.0\""},
        {"{\"version\":\"2.0\"}", "found 2.0"},
        {"{\"version\":\"1.0\"}", "\"model\" must be an object"},
        {"{\"version\":\"1.0\",\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}",
         "Unigram is not supported"},
        {"{\"version\":\"1.0\",\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}",
         "WordPiece is not supported"},
        {"{\"version\":\"1.0\",\"model\":{\"type\":\"WordLevel\"}}", "WordLevel is not supported"},
        {BPE("[]", "[]", ""), "model.vocab must be an object"},
        {BPE("{}", "[]", ""), "model.vocab must be an object"},
        {BPE("{\"a\":-1}", "[]", ""), "an id must be"},
        {BPE("{\"a\":99999999}", "[]", ""), "an id must be"},
        {BPE("{\"a\":\"0\"}", "[]", ""), "an id must be"},
        {BPE("{\"a\":0,\"b\":0}", "[]", ""), "id 0 belongs to another token"},
        {BPE("{\"a\":0,\"a\":1}", "[]", ""), "duplicate"},
        {BPE(AB, "{}", ""), "model.merges must be a list"},
        {BPE(AB, "[\"a b c\"]", ""), "model.merges[0]"},
        {BPE(AB, "[\"ab\"]", ""), "model.merges[0]"},
        {BPE(AB, "[[\"a\"]]", ""), "model.merges[0]"},
        {BPE(AB, "[\"a b\",[\"a\",1]]", ""), "model.merges[1]"},
        {BPE(AB, "[\"a c\"]", ""), "must be in model.vocab"},
        {BPE(AB, "[\"b a\"]", ""), "must be in model.vocab"},
        {BPE(AB, "[\" ab\"]", ""), "must be in model.vocab"},
        {BPE(AB, "[]", ",\"pre_tokenizer\":{\"type\":\"Metaspace\"}"),
         "\"replacement\" must be a string"},
        {BPE(AB, "[]", ",\"pre_tokenizer\":{}"), "\"type\" must be a string"},
        {BPE(AB, "[]", ",\"pre_tokenizer\":[]"), "must be an object or null"},
        {BPE(AB, "[]",
             ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
             "\"pattern\":{\"Regex\":\"(\"}}"),
         "does not compile"},
        {BPE(AB, "[]",
             ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\","
             "\"pattern\":{\"Regex\":\"a\"}}"),
         "\"Odd\" is not known"},
        {BPE(AB, "[]", ",\"normalizer\":{\"type\":\"BertNormalizer\"}"),
         "\"BertNormalizer\" is not supported"},
        {BPE(AB, "[]", ",\"decoder\":{\"type\":\"WordPiece\"}"), "\"WordPiece\" is not supported"},
        {BPE(AB, "[]", ",\"post_processor\":{\"type\":\"BertProcessing\"}"),
         "BertProcessing: cls must be [token, id]"},
        {BPE(AB, "[]", ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}"),
         "no Sequence"},
        {BPE(AB, "[]",
             ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"special_tokens\":{},"
             "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]}"),
         "lacks the ids of \"<s>\""},
        {BPE(AB, "[]", ",\"added_tokens\":{}"), "added_tokens must be a list"},
        {BPE(AB, "[]", ",\"added_tokens\":[{\"content\":\"x\"}]"), "\"id\" must be an integer"},
        {BPE(AB, "[]", ",\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]"), "id 1 is \"b\""},
        {BPE(AB, "[]", ",\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]"), "gives it 0"},
        {BPE(AB, "[]",
             ",\"added_tokens\":[{\"id\":5,\"content\":\"x\"},{\"id\":5,\"content\":\"y\"}]"),
         "occurs twice"},
        {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":" AB
         ",\"merges\":[]}}",
         "must not be random"},
        {"{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":" AB
         ",\"merges\":[]}}",
         "unk_token"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++)
        refuse_tokenizer(cases[i].json, strlen(cases[i].json), cases[i].words);
    CAI_AUTO(buf) struct cai_buf nested = {0};
    for (int i = 0; i < 1000; i++)
        cai_buf_puts(&nested, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    CAI_AUTO(mem) char *json = cai_format("{\"version\":\"1.0\",\"pre_tokenizer\":%s", nested.data);
    refuse_tokenizer(json, strlen(json), "not valid JSON");
    take_away("tokenizer.json");
    struct hf_tokenizer *t;
    clock_t began = clock();
    refused(hf_tokenizer_load(dir, &t), began, "tokenizer.json", "is missing");
    put("tokenizer.model", "x", 1);
    refused(hf_tokenizer_load(dir, &t), began, "tokenizer.json", "SentencePiece");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers), cmocka_unit_test(files),      cmocka_unit_test(indexes),
        cmocka_unit_test(configs), cmocka_unit_test(tokenizers),
    };
    return cmocka_run_group_tests_name("hf/bad_folders", tests, make_dir, remove_dir);
}
