/* folder.c: what is done with a checkpoint folder as a whole: copying the tokenizer's
 * files, and the model hash of provenance. Not for what the files mean. */
#include "hf/adapter.h"
#include "hf/json.h"
#include "base/error.h"
#include "base/file.h"
#include <string.h>

#define COPY_MAX_BYTES ((size_t)256 << 20)

int hf_copy_tokenizer(const char *from_dir, const char *to_dir) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "chat_template.jinja",
                                        "generation_config.json"};
    for (size_t i = 0; i < CAI_COUNT(names); i++) {
        CAI_AUTO(mem) char *from = cai_path_join(from_dir, names[i]);
        CAI_AUTO(mem) char *to = cai_path_join(to_dir, names[i]);
        if (!cai_file_exists(from))
            continue;
        CAI_AUTO(buf) struct cai_buf b = {0};
        CAI_TRY(cai_file_read(from, COPY_MAX_BYTES, &b));
        CAI_TRY(cai_file_write_atomic(to, b.data ? b.data : "", b.len));
    }
    return 0;
}

/* One line per file, "digest  name\n", in a fixed order: the hash of these lines names
 * the model, and each line can be checked with sha256sum. */
static int add_digest(const char *dir, const char *name, struct cai_buf *lines) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    if (!cai_file_exists(path))
        return 0;
    char hex[CAI_SHA256_HEX];
    CAI_TRY(cai_file_sha256(path, hex));
    cai_buf_printf(lines, "%s  %s\n", hex, name);
    return 0;
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_shards(const char *dir, const char *index_path, struct cai_buf *lines) {
    json_auto_t *index = NULL;
    CAI_TRY(hf_json_load(index_path, (size_t)32 << 20, HF_JSON_PLAIN, &index));
    json_t *map = json_object_get(index, "weight_map");
    CAI_AUTO(mem) const char **names = cai_alloc(json_object_size(map) * sizeof *names + 1);
    size_t n = 0;
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v) if (json_is_string(v)) names[n++] = json_string_value(v);
    qsort(names, n, sizeof *names, compare_strings);
    CAI_TRY(add_digest(dir, "model.safetensors.index.json", lines));
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i - 1], names[i]) != 0)
            CAI_TRY(add_digest(dir, names[i], lines));
    return 0;
}

/* The tokenizer, the chat format and what is copied along with them. */
static int add_texts(const char *dir, struct cai_buf *lines) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "chat_template.jinja", "special_tokens_map.json",
                                        "generation_config.json"};
    for (size_t i = 0; i < CAI_COUNT(names); i++)
        CAI_TRY(add_digest(dir, names[i], lines));
    return 0;
}

static int adapter_hash(const char *dir, char ret_hex[65]) {
    CAI_AUTO(buf) struct cai_buf lines = {0};
    CAI_AUTO(mem) char *base = NULL;
    struct hf_adapter a;
    char hex[CAI_SHA256_HEX];
    CAI_TRY(hf_adapter_load(dir, &a));
    CAI_TRY(hf_adapter_base(dir, &a, &base));
    if (hf_adapter_is(base))
        return cai_fail(CAI_EINPUT, "%s: its base %s is an adapter itself", dir, base);
    CAI_TRY(hf_model_hash(base, hex));
    cai_buf_printf(&lines, "%s  base\n", hex);
    CAI_TRY(add_digest(dir, "adapter_config.json", &lines));
    CAI_TRY(add_digest(dir, "adapter_model.safetensors", &lines));
    CAI_TRY(add_texts(dir, &lines));
    CAI_TRY(cai_buf_status(&lines));
    cai_sha256(lines.data, lines.len, ret_hex);
    return 0;
}

int hf_model_hash(const char *dir, char ret_hex[65]) {
    if (hf_adapter_is(dir))
        return adapter_hash(dir, ret_hex);
    CAI_AUTO(buf) struct cai_buf lines = {0};
    CAI_AUTO(mem) char *config = cai_path_join(dir, "config.json");
    CAI_AUTO(mem) char *index = cai_path_join(dir, "model.safetensors.index.json");
    CAI_AUTO(mem) char *single = cai_path_join(dir, "model.safetensors");
    struct hf_weights *w;
    CAI_TRY(hf_require_file(dir, config, "the model's configuration"));
    CAI_TRY(hf_weights_open(dir, &w)); /* a folder that cannot be read gets no hash */
    hf_weights_close(w);
    CAI_TRY(add_digest(dir, "config.json", &lines));
    if (cai_file_exists(single))
        CAI_TRY(add_digest(dir, "model.safetensors", &lines));
    else
        CAI_TRY(add_shards(dir, index, &lines));
    CAI_TRY(add_texts(dir, &lines));
    CAI_TRY(cai_buf_status(&lines));
    cai_sha256(lines.data, lines.len, ret_hex);
    return 0;
}
