/* folder.c: what is done with a checkpoint folder as a whole: copying the tokenizer's
 * files, and the model hash of provenance. Not for what the files mean. */
#include "hf/adapter.h"
#include "hf/json.h"
#include "base/error.h"
#include "base/file.h"
#include <string.h>
#include <sys/stat.h>

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

/* What is noted of one file of a folder: its digest, or who it is and since when. */
typedef int (*note)(const char *dir, const char *name, struct cai_buf *lines);

static int add_shards(const char *dir, const char *index_path, note add, struct cai_buf *lines) {
    json_auto_t *index = NULL;
    CAI_TRY(hf_json_load(index_path, (size_t)32 << 20, HF_JSON_PLAIN, &index));
    json_t *map = json_object_get(index, "weight_map");
    CAI_AUTO(mem) const char **names = cai_alloc(json_object_size(map) * sizeof *names + 1);
    size_t n = 0;
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v) if (json_is_string(v)) names[n++] = json_string_value(v);
    qsort(names, n, sizeof *names, compare_strings);
    CAI_TRY(add(dir, "model.safetensors.index.json", lines));
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i - 1], names[i]) != 0)
            CAI_TRY(add(dir, names[i], lines));
    return 0;
}

/* The configuration and the weights. */
static int add_model(const char *dir, note add, struct cai_buf *lines) {
    CAI_AUTO(mem) char *index = cai_path_join(dir, "model.safetensors.index.json");
    CAI_AUTO(mem) char *single = cai_path_join(dir, "model.safetensors");
    CAI_TRY(add(dir, "config.json", lines));
    return cai_file_exists(single) ? add(dir, "model.safetensors", lines)
                                   : add_shards(dir, index, add, lines);
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

/* The adapter's configuration without where its base lies: the base's hash stands for that. */
static int add_adapter_config(const char *dir, struct cai_buf *lines) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_config.json");
    json_auto_t *o = NULL;
    char hex[CAI_SHA256_HEX];
    CAI_TRY(hf_json_load(path, (size_t)4 << 20, HF_JSON_PLAIN, &o));
    json_object_del(o, "base_model_name_or_path");
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    CAI_CHECK(text);
    cai_sha256(text, strlen(text), hex);
    cai_buf_printf(lines, "%s  adapter_config.json without base_model_name_or_path\n", hex);
    return 0;
}

/* An adapter says which base it was trained over; on another it would compute nonsense. */
static int check_base(const char *dir, const char *base, const char *hex) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_model.safetensors");
    struct hf_weights *w;
    CAI_TRY(hf_weights_open_file(path, &w));
    const char *said = hf_weights_metadata(w, "base_sha256");
    int rc = said && strcmp(said, hex) != 0
                 ? cai_fail(CAI_EINPUT, "%s: its base %s has changed since the adapter was "
                            "trained: its content hashes to %.12s…, the adapter says %.12s…", dir,
                            base, hex, said)
                 : 0;
    hf_weights_close(w);
    return rc;
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
    CAI_TRY(check_base(dir, base, hex));
    cai_buf_printf(&lines, "%s  base\n", hex);
    CAI_TRY(add_adapter_config(dir, &lines));
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
    struct hf_weights *w;
    CAI_TRY(hf_require_file(dir, config, "the model's configuration"));
    CAI_TRY(hf_weights_open(dir, &w)); /* a folder that cannot be read gets no hash */
    hf_weights_close(w);
    CAI_TRY(add_model(dir, add_digest, &lines));
    CAI_TRY(add_texts(dir, &lines));
    CAI_TRY(cai_buf_status(&lines));
    cai_sha256(lines.data, lines.len, ret_hex);
    return 0;
}

static int add_identity(const char *dir, const char *name, struct cai_buf *lines) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    struct stat st;
    if (stat(path, &st) < 0)
        return cai_fail_errno("%s", path);
    cai_buf_printf(lines, "%llu %llu %lld %lld.%ld %lld.%ld  %s\n", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino, (long long)st.st_size,
                   (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                   (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec, name);
    return 0;
}

int hf_weights_stamp(const char *dir, char ret_hex[65]) {
    CAI_AUTO(buf) struct cai_buf lines = {0};
    CAI_TRY(add_model(dir, add_identity, &lines));
    CAI_TRY(cai_buf_status(&lines));
    cai_sha256(lines.data, lines.len, ret_hex);
    return 0;
}
