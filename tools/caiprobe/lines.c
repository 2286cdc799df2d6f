/* lines.c: JSON Lines in and out, and what every command reads from a line. */
#include "base/check.h"
#include "probe.h"

#include <string.h>

enum { LINE_MAX_BYTES = 16 << 20 };

int get_ids(const json_t *array, struct hf_ids *ret)
{
    if (!json_is_array(array))
        return cai_fail(CAI_EINPUT, "\"ids\" must be a list of whole numbers");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
            return cai_fail(CAI_EINPUT, "\"ids\"[%zu] is not a token id", i);
        hf_ids_push(ret, (int32_t)id);
    }
    return 0;
}

int get_messages(const json_t *line, struct hf_message **ret, size_t *ret_n)
{
    const json_t *list = json_object_get(line, "messages");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return cai_fail(CAI_EINPUT, "\"messages\" must be a list of {\"role\", \"content\"}");
    size_t n = json_array_size(list);
    struct hf_message *out = cai_alloc(n * sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(list, i);
        const json_t *content = json_object_get(m, "content");
        out[i].role = json_string_value(json_object_get(m, "role"));
        out[i].text = json_string_value(content);
        bool whole = out[i].text && strlen(out[i].text) == json_string_length(content);
        if (!out[i].role || !whole) {
            bool given = out[i].role && out[i].text;
            free(out);
            return cai_fail(CAI_EINPUT, "\"messages\"[%zu] %s", i,
                            given ? "holds a NUL, which no chat format can carry"
                                  : "needs texts \"role\" and \"content\"");
        }
    }
    *ret = out;
    *ret_n = n;
    return 0;
}

int get_prompt(struct probe *p, const json_t *line, struct hf_ids *ret)
{
    if (json_object_get(line, "ids"))
        return get_ids(json_object_get(line, "ids"), ret);
    const json_t *text = json_object_get(line, "text");
    if (json_is_string(text)) {
        CAI_TRY(probe_tokenizer(p));
        return hf_tokenizer_encode(p->t, json_string_value(text), json_string_length(text), true,
                                   ret);
    }
    CAI_AUTO(mem) struct hf_message *messages = NULL;
    size_t n;
    CAI_TRY(get_messages(line, &messages, &n));
    CAI_TRY(probe_chat(p));
    const char *prefix = json_string_value(json_object_get(line, "prefix"));
    return hf_chat_encode(p->chat, messages, n, true, prefix, ret, NULL, NULL);
}

json_t *ids_json(const int32_t *ids, size_t n)
{
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_integer(ids[i]));
    return out;
}

json_t *text_json(const struct cai_buf *text)
{
    return json_stringn(text->data ? text->data : "", text->len);
}

void print_json(json_t *out)
{
    char *text = json_dumps(out, JSON_COMPACT | JSON_REAL_PRECISION(17));
    CAI_CHECK(text);
    puts(text);
    free(text);
    json_decref(out);
}

int each_line(struct probe *p, line_function f)
{
    CAI_AUTO(mem) char *text = NULL;
    size_t cap = 0;
    ssize_t len;
    for (size_t number = 1; (len = getline(&text, &cap, stdin)) >= 0; number++) {
        json_error_t error;
        if (len > LINE_MAX_BYTES) {
            cai_fail(CAI_ELIMIT, "longer than %d bytes", LINE_MAX_BYTES);
            return cai_fail_in("line %zu", number);
        }
        json_t *line = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                                  &error);
        int rc = line && json_is_object(line)
                     ? f(p, line)
                     : cai_fail(CAI_EINPUT, "not a JSON object: %s",
                                line ? "another kind of value" : error.text);
        json_decref(line);
        fflush(stdout);
        if (rc < 0)
            return cai_fail_in("line %zu", number);
    }
    return 0;
}
