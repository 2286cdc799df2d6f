/* hf_probe: the hf room behind JSON Lines, so that parity tests in Python can ask it.
 *     hf_probe DIR < requests > answers
 * {"op":"encode","text":…,"special":bool} → {"ids":[…]}; "written": true: hf_tokenizer_encode_written
 * {"op":"decode","ids":[…],"skip":bool}   → {"text":…}
 * {"op":"stream","ids":[…],"skip":bool}   → {"parts":[what each push and the end gave]}
 * {"op":"chat","messages":[{"role","content","drop"?}],"generate":bool,"prefix"?,"limit"?}
 *                                          → {"text","ids","starts","ends"} or with limit
 * {"ids","dropped"}
 * {"op":"save","to":DIR} → config, tokenizer and weights written there
 * {"op":"hash"} → {"hash"}
 * Failures answer {"error":…,"code":…}. Not installed. */
#include "hf/hf.h"
#include "base/error.h"
#include "base/file.h"
#include <jansson.h>
#include <string.h>

static const char *dir;
static struct hf_tokenizer *tokenizer;
static struct hf_chat *chat;

static json_t *ids_json(const int32_t *ids, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, json_integer(ids[i]));
    return a;
}

static json_t *sizes_json(const size_t *v, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, json_integer((json_int_t)v[i]));
    return a;
}

static int need_tokenizer(void) {
    return tokenizer ? 0 : hf_tokenizer_load(dir, &tokenizer);
}

static int encode(const json_t *q, json_t *a) {
    CAI_TRY(need_tokenizer());
    const char *text = json_string_value(json_object_get(q, "text"));
    size_t len = json_string_length(json_object_get(q, "text"));
    struct hf_ids ids = {0};
    int rc = json_is_true(json_object_get(q, "written"))
                 ? hf_tokenizer_encode_written(tokenizer, text, len, &ids)
                 : hf_tokenizer_encode(tokenizer, text, len,
                                       json_is_true(json_object_get(q, "special")), &ids);
    json_object_set_new(a, "ids", ids_json(ids.data, ids.n));
    hf_ids_free(&ids);
    return rc;
}

static int decode(const json_t *q, json_t *a) {
    CAI_TRY(need_tokenizer());
    struct hf_ids ids = {0};
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(q, "ids"), i, v)
        hf_ids_push(&ids, (int32_t)json_integer_value(v));
    CAI_AUTO(buf) struct cai_buf b = {0};
    int rc = hf_tokenizer_decode(tokenizer, ids.data, ids.n,
                                 json_is_true(json_object_get(q, "skip")), &b);
    json_object_set_new(a, "text", json_stringn(b.data ? b.data : "", b.len));
    hf_ids_free(&ids);
    return rc;
}

static void add_part(json_t *parts, struct cai_buf *b) {
    json_t *part = json_stringn(b->data ? b->data : "", b->len);
    json_array_append_new(parts, part ? part : json_string("not UTF-8"));
    cai_buf_clear(b);
}

static int stream(const json_t *q, json_t *a) {
    CAI_TRY(need_tokenizer());
    struct hf_stream *s = hf_stream_new(tokenizer, json_is_true(json_object_get(q, "skip")));
    CAI_AUTO(buf) struct cai_buf b = {0};
    json_t *parts = json_array(), *v;
    size_t i;
    int rc = 0;
    json_array_foreach(json_object_get(q, "ids"), i, v) {
        if (rc == 0)
            rc = hf_stream_push(s, (int32_t)json_integer_value(v), &b);
        add_part(parts, &b);
    }
    if (rc == 0)
        rc = hf_stream_end(s, &b);
    add_part(parts, &b);
    hf_stream_free(s);
    json_object_set_new(a, "parts", parts);
    return rc;
}

static int run_chat(const json_t *q, const struct hf_message *m, size_t n, json_t *a) {
    const char *prefix = json_string_value(json_object_get(q, "prefix"));
    bool generate = json_is_true(json_object_get(q, "generate"));
    const json_t *limit = json_object_get(q, "limit");
    struct hf_ids ids = {0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_AUTO(mem) size_t *starts = cai_alloc((n + 1) * sizeof *starts);
    CAI_AUTO(mem) size_t *ends = cai_alloc((n + 1) * sizeof *ends);
    size_t dropped = 0;
    int rc =
        limit ? hf_chat_fit(chat, m, n, prefix, (size_t)json_integer_value(limit), &ids, &dropped)
              : hf_chat_encode(chat, m, n, generate, prefix, &ids, starts, ends);
    if (rc == 0)
        rc = hf_chat_render(chat, m, n, generate, prefix, &text);
    if (rc == 0) {
        json_object_set_new(a, "ids", ids_json(ids.data, ids.n));
        json_object_set_new(a, "text", json_stringn(text.data ? text.data : "", text.len));
        json_object_set_new(a, "starts", sizes_json(starts, n));
        json_object_set_new(a, "ends", sizes_json(ends, n));
        json_object_set_new(a, "dropped", json_integer((json_int_t)dropped));
        json_object_set_new(a, "end_id", json_integer(hf_chat_end_id(chat)));
        json_object_set_new(a, "plain", json_boolean(hf_chat_is_plain(chat)));
    }
    hf_ids_free(&ids);
    return rc;
}

static int do_chat(const json_t *q, json_t *a) {
    CAI_TRY(need_tokenizer());
    if (!chat)
        CAI_TRY(hf_chat_load(dir, tokenizer, &chat));
    const json_t *list = json_object_get(q, "messages");
    size_t n = json_array_size(list), i;
    CAI_AUTO(mem) struct hf_message *m = cai_alloc((n + 1) * sizeof *m);
    json_t *v;
    json_array_foreach((json_t *)list, i, v) {
        m[i].role = json_string_value(json_object_get(v, "role"));
        m[i].text = json_string_value(json_object_get(v, "content"));
        m[i].drop = (uint32_t)json_integer_value(json_object_get(v, "drop"));
    }
    return run_chat(q, m, n, a);
}

static int do_save(const json_t *q) {
    const char *to = json_string_value(json_object_get(q, "to"));
    struct hf_config c;
    CAI_TRY(hf_config_load(dir, &c));
    CAI_TRY(hf_config_save(to, &c));
    CAI_TRY(hf_copy_tokenizer(dir, to));
    struct hf_weights *w;
    CAI_TRY(hf_weights_open(dir, &w));
    CAI_AUTO(mem) char *path = cai_path_join(to, "model.safetensors");
    size_t n = hf_weights_count(w);
    int rc = hf_weights_save(path, n ? hf_weights_at(w, 0) : NULL, n, NULL);
    hf_weights_close(w);
    return rc;
}

static int do_hash(json_t *a) {
    char hex[65];
    CAI_TRY(hf_model_hash(dir, hex));
    json_object_set_new(a, "hash", json_string(hex));
    return 0;
}

static int answer(const json_t *q, json_t *a) {
    const char *op = json_string_value(json_object_get(q, "op"));
    if (!op)
        return cai_fail(CAI_EINPUT, "no op");
    if (strcmp(op, "encode") == 0)
        return encode(q, a);
    if (strcmp(op, "decode") == 0)
        return decode(q, a);
    if (strcmp(op, "stream") == 0)
        return stream(q, a);
    if (strcmp(op, "chat") == 0)
        return do_chat(q, a);
    if (strcmp(op, "save") == 0)
        return do_save(q);
    return strcmp(op, "hash") == 0 ? do_hash(a) : cai_fail(CAI_EINPUT, "unknown op %s", op);
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    dir = argv[1];
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_auto_t *q = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        json_auto_t *a = json_object();
        int rc = answer(q, a);
        if (rc < 0) {
            json_object_clear(a);
            json_object_set_new(a, "error", json_string(cai_error_text()));
            json_object_set_new(a, "code", json_string(cai_code_name(rc)));
        }
        json_dumpf(a, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
    }
    free(line);
    hf_chat_free(chat);
    hf_tokenizer_free(tokenizer);
    return 0;
}
