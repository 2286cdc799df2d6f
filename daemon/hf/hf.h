/* hf.h: Hugging Face folders without libtorch: config.json, tokenizer.json,
 * safetensors, chat format. Everything read here is untrusted; every refusal names
 * the file and what was expected. Used by caid, caictl, workers and fuzzers. */
#ifndef CAI_HF_HF_H
#define CAI_HF_HF_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- config.json ---------------------------------------------------------------- */
enum hf_dtype { HF_F32, HF_BF16, HF_F16, HF_F64, HF_I64, HF_I32, HF_I16, HF_I8, HF_U8, HF_BOOL };

enum hf_activation { HF_SILU, HF_GELU, HF_GELU_TANH };
enum hf_rope_kind { HF_ROPE_DEFAULT, HF_ROPE_LINEAR, HF_ROPE_DYNAMIC, HF_ROPE_LLAMA3, HF_ROPE_YARN,
                    HF_ROPE_LONGROPE };
enum { HF_MAX_LAYERS = 1024, HF_ROPE_FACTORS = 256 };
enum { HF_LAYER_SLIDES = 1, HF_LAYER_NO_ROPE = 2 };

/* Scaled rotary positions; what a kind does not use is 0. */
struct hf_rope {
    enum hf_rope_kind kind;
    double factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow, mscale,
        mscale_all_dim, attention_factor; /* attention_factor 0: by the kind's formula */
    bool no_truncate;
    int64_t original_positions; /* that the base was trained with; 0: not said */
    int n_factors;              /* of each list: half of what turns of a head */
    double long_factor[HF_ROPE_FACTORS], short_factor[HF_ROPE_FACTORS];
};

/* Zero in a field means what Llama does. What belongs to the family as such stands in the
 * table of hf/family.h. */
struct hf_config {
    char model_type[32];          /* one of hf_family_list(); others are refused by name */
    bool sequence_classification; /* architectures[0] ends in ForSequenceClassification */
    int64_t vocab_size, hidden_size, intermediate_size, num_layers, num_heads, num_kv_heads,
        head_dim;
    int64_t max_positions;        /* that it takes; with dynamic RoPE more than trained */
    double rms_norm_eps;          /* of every norm, LayerNorm included */
    double rope_theta;
    double rope_local_theta;      /* of sliding layers, Gemma 3 */
    double partial_rotary;        /* share of a head that turns; 0 is 1 */
    struct hf_rope rope;
    enum hf_activation activation;
    bool tie_word_embeddings, attention_bias, mlp_bias;
    bool sequential_residual;     /* GPT-NeoX with use_parallel_residual false */
    bool unscaled_attention, layer_scaled_attention; /* GPT-2: no 1/√Dh; also 1/(layer + 1) */
    double query_scalar;          /* attention is scaled by its ^-½; 0: the head's width */
    double attention_softcap, logit_softcap; /* 0: none */
    int64_t sliding_window;       /* of layers with HF_LAYER_SLIDES */
    uint8_t layers[HF_MAX_LAYERS];
    int64_t bos_token_id, eos_token_id, pad_token_id; /* -1 when absent */
    int64_t eos_ids[8]; /* all of them, when config.json lists several; eos_token_id is the first */
    int num_eos;        /* 0 when absent; a writer that sets eos_token_id alone may leave it 0 */
    enum hf_dtype dtype; /* torch_dtype or dtype: what the weights were saved in */
};

/* Of a model's folder; of a PEFT adapter's, that of its base (see adapter.h). */
int hf_config_load(const char *dir, struct hf_config *ret);
int hf_config_parse(const char *path, const char *json, size_t len, struct hf_config *ret);
/* Writes config.json (and generation_config.json) that transformers 4.57 opens. */
int hf_config_save(const char *dir, const struct hf_config *c);

/* ---- safetensors ------------------------------------------------------------------ */
struct hf_tensor {
    const char *name;
    enum hf_dtype dtype;
    int ndim;
    int64_t shape[8];
    const void *data; /* into the mapping; may be unaligned */
    size_t bytes;
};

struct hf_weights;
/* Maps model.safetensors, or the shards of model.safetensors.index.json. Strict: no
 * holes, overlaps, duplicates, overflow, paths out of the folder. */
int hf_weights_open(const char *dir, struct hf_weights **ret);
int hf_weights_open_file(const char *path, struct hf_weights **ret);
void hf_weights_close(struct hf_weights *w);
size_t hf_weights_count(const struct hf_weights *w);
const struct hf_tensor *hf_weights_at(const struct hf_weights *w, size_t i);
const struct hf_tensor *hf_weights_find(const struct hf_weights *w, const char *name);
/* What the (first) file says of itself; NULL when nothing. Lives as long as w. */
const char *hf_weights_metadata(const struct hf_weights *w, const char *key);
/* n elements of a floating tensor (F32, BF16, F16) from element `at` on. */
void hf_tensor_floats(const struct hf_tensor *t, int64_t at, float *out, int64_t n);
/* A tensor's bytes when it is its turn to be written, for the writer to free. */
typedef int (*hf_fetch)(void *context, const struct hf_tensor *t, void **ret);
/* Durable write (base/file.h); metadata is a list of name, value, …, NULL or NULL. */
int hf_weights_save(const char *path, const struct hf_tensor *tensors, size_t n,
                    const char *const *metadata);
/* The same; a tensor without data is fetched, so that one at a time is in memory. */
int hf_weights_save_fetched(const char *path, const struct hf_tensor *tensors, size_t n,
                            const char *const *metadata, hf_fetch fetch, void *context);
/* What transformers 4 calls max_shard_size: "5GB". */
#define HF_SHARD_BYTES ((size_t)5000000000)
/* model.safetensors; when larger than `limit` bytes model-00001-of-0000N.safetensors … with
 * model.safetensors.index.json, as transformers names them: split in the order given, a
 * tensor larger than the limit alone. What an earlier save left in the folder goes. */
int hf_weights_save_folder(const char *dir, const struct hf_tensor *tensors, size_t n,
                           size_t limit, hf_fetch fetch, void *context);
size_t hf_dtype_size(enum hf_dtype t);

/* ---- tokenizer.json ------------------------------------------------------------------ */
struct hf_ids {
    int32_t *data;
    size_t n, cap;
};
void hf_ids_push(struct hf_ids *ids, int32_t id);
void hf_ids_free(struct hf_ids *ids);

struct hf_tokenizer;
int hf_tokenizer_load(const char *dir, struct hf_tokenizer **ret);
void hf_tokenizer_free(struct hf_tokenizer *t);
/* Appends the ids of `text`. special: add what the post-processor adds (BOS …), and
 * recognise special tokens written in the text; without it text is only ever text, so
 * that what a user writes never becomes a special token (added tokens that the
 * tokenizer does not call special, such as runs of spaces, are still found).
 * Thread-safe on one tokenizer. */
int hf_tokenizer_encode(const struct hf_tokenizer *t, const char *text, size_t len, bool special,
                        struct hf_ids *ret);
/* Special tokens written in the text are recognised, and nothing is put around it: what
 * `tokenizers` does without add_special_tokens. For text of a known origin only. */
int hf_tokenizer_encode_written(const struct hf_tokenizer *t, const char *text, size_t len,
                                struct hf_ids *ret);
/* Appends the text of ids; bytes that are not UTF-8 become U+FFFD at the end. */
int hf_tokenizer_decode(const struct hf_tokenizer *t, const int32_t *ids, size_t n,
                        bool skip_special, struct cai_buf *ret);
/* The raw bytes one id stands for (no replacement), for streaming and stop strings. */
int hf_tokenizer_piece(const struct hf_tokenizer *t, int32_t id, struct cai_buf *ret);
/* Text as ids come: what a push appends is final and whole characters; with what the end
 * appends it is the text that hf_tokenizer_decode makes of all of them. */
struct hf_stream;
struct hf_stream *hf_stream_new(const struct hf_tokenizer *t, bool skip_special);
int hf_stream_push(struct hf_stream *s, int32_t id, struct cai_buf *ret);
int hf_stream_end(struct hf_stream *s, struct cai_buf *ret);
void hf_stream_free(struct hf_stream *s);
int32_t hf_tokenizer_id(const struct hf_tokenizer *t, const char *token); /* -1 if absent */
int64_t hf_tokenizer_size(const struct hf_tokenizer *t);                  /* highest id + 1 */
bool hf_tokenizer_is_special(const struct hf_tokenizer *t, int32_t id);
const char *hf_tokenizer_hash(const struct hf_tokenizer *t); /* SHA-256 of the file */

/* ---- chat format ------------------------------------------------------------------------ */
struct hf_message {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
    uint32_t drop; /* 0 = never dropped; else messages with the highest rank go first */
};

struct hf_chat;
/* The checkpoint's own template (chat_template.jinja or tokenizer_config.json), run by
 * the real Jinja2 in a short separate process; without one the plain form
 *     "\n\nHuman: …" "\n\nAssistant: …", opened by BOS when the tokenizer has one
 * and closed by EOS after an assistant's turn. The template's own errors come through. What
 * it makes is reproduced, a system message that it leaves out included, and what it makes of
 * the parts of a message around a word that it looks for ("<think>…</think>"). One that
 * otherwise leaves out or repeats what a user or an assistant said is refused. */
int hf_chat_load(const char *dir, const struct hf_tokenizer *t, struct hf_chat **ret);
void hf_chat_free(struct hf_chat *c);
bool hf_chat_is_plain(const struct hf_chat *c);
/* ids of the messages; with `generate`, followed by the opening of an assistant turn.
 * `prefix`, if any, is the beginning of that turn's text. starts[i], if given, gets the
 * index of the first id that belongs to message i's text and ends[i] one past its last
 * (end-of-turn marker included for assistant messages, since a model must learn it). */
int hf_chat_encode(const struct hf_chat *c, const struct hf_message *messages, size_t n,
                   bool generate, const char *prefix, struct hf_ids *ret, size_t *starts,
                   size_t *ends);
/* The same as text, for people and tests. */
int hf_chat_render(const struct hf_chat *c, const struct hf_message *messages, size_t n,
                   bool generate, const char *prefix, struct cai_buf *ret);
/* A generated reply's text past what the format puts between its opening and a text (in the plain form
 * a space, which the first token carries); within `text`. */
const char *hf_chat_past_lead(const struct hf_chat *c, const char *text);
/* The text of a reply that was generated: up to the end id, without special tokens and
 * without what the format puts before the text (in the plain form a space). */
int hf_chat_reply(const struct hf_chat *c, const int32_t *ids, size_t n, struct cai_buf *ret);
/* The date that a template may ask for; pinned, never the clock: 26 July 2024 unless set. */
void hf_chat_set_date(struct hf_chat *c, int64_t seconds_since_1970);
/* The id that ends an assistant turn (may differ from config.json's eos). */
int32_t hf_chat_end_id(const struct hf_chat *c);
/* As hf_chat_encode, but drops messages by rank until at most `limit` ids remain.
 * *ret_dropped counts them; CAI_ELIMIT if nothing more may be dropped. */
int hf_chat_fit(const struct hf_chat *c, const struct hf_message *messages, size_t n,
                const char *prefix, size_t limit, struct hf_ids *ret, size_t *ret_dropped);

/* Copies tokenizer.json, tokenizer_config.json, special_tokens_map.json,
 * chat_template.jinja and generation_config.json byte for byte, those that exist. */
int hf_copy_tokenizer(const char *from_dir, const char *to_dir);
/* SHA-256 over every file of the folder that a model is made of: the model hash of
 * provenance. Of an adapter, its base's is part of it, and where that lies is not; a base
 * that is not the one it was trained over is refused. */
int hf_model_hash(const char *dir, char ret_hex[65]);
/* MANIFEST.json: {"format": 1, "files": [{"name", "bytes", "sha256"}]}, sorted by name, of every
 * file in the folder. */
int hf_manifest_write(const char *dir);
/* Hashes every file again and calls back with each that differs, is missing or came later; what
 * f returns below 0 ends it. manifest_hash: of MANIFEST.json itself, "" = not known. CAI_ENOTFOUND
 * without a manifest. */
int hf_manifest_check(const char *dir, const char *manifest_hash,
                      int (*f)(void *c, const char *name, const char *what), void *c);
/* A digest of which files hold the folder's weights, and of when they were last changed: equal
 * as long as nothing touched them. Reads none of them. Not of an adapter's folder. */
int hf_weights_stamp(const char *dir, char ret_hex[65]);
/* Whether a worker could load the folder, by its headers: configuration, the tensors that it
 * asks for, tokenizer; with_template: also runs the chat template once. */
int hf_check(const char *dir, bool with_template);
/* Whether the folder's model writes text: CAI_EINPUT for one with a scalar head. */
int hf_check_writes(const char *dir);
/* Whether a score head can be put on the folder's model (see hf_family.scalar_class); if not,
 * the message ends with `remedy`, what to do about it. */
int hf_check_scores(const char *dir, const char *remedy);

#endif
