/* chat.c: messages to ids in a checkpoint's chat format. The form itself is chat_plain.c
 * or template.c; here is what they share: which files say what, special tokens only where
 * the format wrote them, what belongs to which message, and what is dropped to fit.
 *
 * Format and contents are tokenized together, as `apply_chat_template` does, because a
 * token may span both (" Sure" after "Assistant:"); special tokens are recognised in the
 * format's part alone, so that nothing a person writes becomes one. */
#include "hf/chat.h"
#include "hf/json.h"
#include "hf/template.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)16 << 20)

#define TEMPLATE_MAX_BYTES ((size_t)1 << 20)

struct hf_chat {
    struct hf_chat_model model;
    struct hf_template *template; /* NULL: the plain form */
};

/* ---- reading ---------------------------------------------------------------------- */

/* A token as tokenizer_config.json has it: a string or {"content": …}. */
static char *token_text(const json_t *config, const char *key) {
    const json_t *v = json_object_get(config, key);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    return json_is_string(v) ? cai_strdup(json_string_value(v)) : NULL;
}

static int load_if_there(const char *dir, const char *name, json_t **ret) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    return cai_file_exists(path) ? hf_json_load(path, CONFIG_MAX_BYTES, HF_JSON_BIG_INTS, ret) : 0;
}

static char *token_of_id(const struct hf_tokenizer *t, int64_t id) {
    struct hf_string s = hf_tokenizer_token(t, id >= 0 && id < HF_MAX_ID ? (int32_t)id : -1);
    return s.s ? cai_strndup(s.s, s.len) : NULL;
}

/* Special tokens by name, as a template sees them: tokenizer_config.json, or for older
 * folders special_tokens_map.json. */
static int load_context(const json_t *config, const char *dir, json_t *context) {
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    json_auto_t *map = NULL;
    if (!config)
        CAI_TRY(load_if_there(dir, "special_tokens_map.json", &map));
    for (size_t i = 0; i < CAI_COUNT(names); i++) {
        CAI_AUTO(mem) char *text = token_text(config ? config : map, names[i]);
        if (text)
            json_object_set_new(context, names[i], json_string(text));
    }
    return 0;
}

/* BOS and EOS by their names; without a name for EOS, by config.json's id. */
static int find_markers(const char *dir, const json_t *context, struct hf_chat_model *m) {
    m->bos = token_text(context, "bos_token");
    m->eos = token_text(context, "eos_token");
    CAI_AUTO(mem) char *config = cai_path_join(dir, "config.json");
    struct hf_config c;
    if (!m->eos && cai_file_exists(config)) {
        CAI_TRY(hf_config_load(dir, &c));
        m->eos = token_of_id(m->tokenizer, c.eos_token_id);
    }
    m->bos = m->bos ? m->bos : cai_strdup("");
    m->eos = m->eos ? m->eos : cai_strdup("");
    return 0;
}

static int check_marker(const char *dir, const struct hf_chat_model *m, const char *what,
                        const char *token) {
    int32_t id = token[0] ? hf_tokenizer_id(m->tokenizer, token) : 0;
    if (id >= 0)
        return 0;
    return cai_fail(CAI_EINPUT,
                    "%s/tokenizer_config.json: %s \"%.64s\" is not a token of "
                    "tokenizer.json",
                    dir, what, token);
}

/* "chat_template" of tokenizer_config.json: a string, or a list of named ones. */
static int named_template(const char *path, const json_t *v, const char **ret) {
    *ret = json_string_value(v);
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)v, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0)
            *ret = json_string_value(json_object_get(item, "template"));
    }
    if (*ret || !v || json_is_null(v))
        return 0;
    return cai_fail(CAI_EINPUT,
                    "%s: \"chat_template\" must be a string, or a list with one that is "
                    "named \"default\", found %s",
                    path, hf_json_kind(v));
}

static int load_template(const char *dir, const json_t *config, const json_t *context,
                         struct hf_chat *c) {
    CAI_AUTO(mem) char *file = cai_path_join(dir, "chat_template.jinja");
    CAI_AUTO(mem) char *inside = cai_path_join(dir, "tokenizer_config.json");
    CAI_AUTO(buf) struct cai_buf b = {0};
    const char *source = NULL;
    if (!cai_file_exists(file)) {
        CAI_TRY(named_template(inside, json_object_get(config, "chat_template"), &source));
        return source ? hf_template_new(inside, source, context, &c->model, &c->template) : 0;
    }
    CAI_TRY(cai_file_read(file, TEMPLATE_MAX_BYTES, &b));
    if (b.len && (cai_utf8_valid(b.data, b.len) != b.len || strlen(b.data) != b.len))
        return cai_fail(CAI_EINPUT, "%s is not UTF-8 text", file);
    return hf_template_new(file, b.data ? b.data : "", context, &c->model, &c->template);
}

static int load(const char *dir, struct hf_chat *c) {
    json_auto_t *config = NULL;
    json_auto_t *context = json_object();
    CAI_TRY(load_if_there(dir, "tokenizer_config.json", &config));
    CAI_TRY(load_context(config, dir, context));
    CAI_TRY(find_markers(dir, context, &c->model));
    CAI_TRY(check_marker(dir, &c->model, "bos_token", c->model.bos));
    CAI_TRY(check_marker(dir, &c->model, "eos_token", c->model.eos));
    c->model.eos_id = c->model.eos[0] ? hf_tokenizer_id(c->model.tokenizer, c->model.eos) : -1;
    return load_template(dir, config, context, c);
}

int hf_chat_load(const char *dir, const struct hf_tokenizer *t, struct hf_chat **ret) {
    struct hf_chat *c = cai_alloc(sizeof *c);
    c->model.tokenizer = t;
    int rc = load(dir, c);
    if (rc < 0) {
        hf_chat_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void hf_chat_free(struct hf_chat *c) {
    if (!c)
        return;
    hf_template_free(c->template);
    free(c->model.bos);
    free(c->model.eos);
    free(c);
}

bool hf_chat_is_plain(const struct hf_chat *c) {
    return !c->template;
}

int32_t hf_chat_end_id(const struct hf_chat *c) {
    return c->template ? hf_template_end_id(c->template) : c->model.eos_id;
}

void hf_chat_set_date(struct hf_chat *c, int64_t seconds) {
    if (c->template)
        hf_template_set_date(c->template, seconds);
}

/* ---- encoding --------------------------------------------------------------------- */

static int lay_out(const struct hf_chat *c, const struct hf_message *messages, size_t n,
                   bool generate, const char *prefix, struct hf_layout *l) {
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < CAI_COUNT(roles) && strcmp(messages[i].role, roles[k]) != 0)
            k++;
        if (k == CAI_COUNT(roles))
            return cai_fail(CAI_EINPUT,
                            "message %zu has the role \"%.32s\"; expected system, user "
                            "or assistant",
                            i, messages[i].role);
    }
    if (c->template)
        CAI_TRY(hf_template_layout(c->template, messages, n, generate, prefix, l));
    else
        hf_plain_layout(&c->model, messages, n, generate, prefix, l);
    return cai_buf_status(&l->text);
}

int hf_chat_render(const struct hf_chat *c, const struct hf_message *messages, size_t n,
                   bool generate, const char *prefix, struct cai_buf *ret) {
    CAI_AUTO(layout) struct hf_layout l = hf_layout_new(n);
    CAI_TRY(lay_out(c, messages, n, generate, prefix, &l));
    cai_buf_append(ret, l.text.data ? l.text.data : "", l.text.len);
    return cai_buf_status(ret);
}

/* The first id at or after `from` that ends past `offset`. */
static size_t first_past(const size_t *ends, size_t n, size_t from, size_t offset) {
    while (from < n && ends[from] <= offset)
        from++;
    return from;
}

static void find_turns(const struct hf_layout *l, const size_t *ends, size_t num_ids, size_t base,
                       size_t *ret_starts, size_t *ret_ends) {
    size_t at = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (i && l->turn[i].begin < l->turn[i - 1].begin)
            at = 0; /* a template may put a system message later */
        size_t start = first_past(ends, num_ids, at, l->turn[i].begin);
        size_t end = start;
        if (l->turn[i].end > l->turn[i].begin) {
            end = first_past(ends, num_ids, start, l->turn[i].end - 1);
            end += end < num_ids;
        }
        if (ret_starts)
            ret_starts[i] = base + start;
        if (ret_ends)
            ret_ends[i] = base + end;
        at = start;
    }
}

static int by_begin(const void *a, const void *b) {
    const struct hf_range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

int hf_chat_encode(const struct hf_chat *c, const struct hf_message *messages, size_t n,
                   bool generate, const char *prefix, struct hf_ids *ret, size_t *starts,
                   size_t *ends) {
    CAI_AUTO(layout) struct hf_layout l = hf_layout_new(n);
    CAI_TRY(lay_out(c, messages, n, generate, prefix, &l));
    size_t base = ret->n;
    CAI_AUTO(mem) size_t *offsets = NULL;
    qsort(l.content, l.num_content, sizeof *l.content, by_begin);
    CAI_TRY(hf_tokenizer_encode_marked(c->model.tokenizer, l.text.data ? l.text.data : "",
                                       l.text.len, l.content, l.num_content, ret, &offsets));
    find_turns(&l, offsets, ret->n - base, base, starts, ends);
    return 0;
}

const char *hf_chat_past_lead(const struct hf_chat *c, const char *text) {
    const char *lead = c->template ? hf_template_lead(c->template) : " ";
    size_t n = strlen(lead);
    return strncmp(text, lead, n) == 0 ? text + n : text;
}

int hf_chat_reply(const struct hf_chat *c, const int32_t *ids, size_t n, struct cai_buf *ret) {
    int32_t end = hf_chat_end_id(c);
    size_t used = 0;
    while (used < n && (end < 0 || ids[used] != end))
        used++;
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_TRY(hf_tokenizer_decode(c->model.tokenizer, ids, used, true, &text));
    if (text.len == 0)
        return 0;
    const char *past = hf_chat_past_lead(c, text.data);
    cai_buf_append(ret, past, text.len - (size_t)(past - text.data));
    return cai_buf_status(ret);
}

/* ---- fitting ---------------------------------------------------------------------- */

/* Takes out all messages of the highest rank; 0 when none may go. */
static size_t drop_highest(struct hf_message *messages, size_t *n) {
    uint32_t highest = 0;
    for (size_t i = 0; i < *n; i++)
        if (messages[i].drop > highest)
            highest = messages[i].drop;
    size_t kept = 0, before = *n;
    for (size_t i = 0; highest && i < before; i++)
        if (messages[i].drop != highest)
            messages[kept++] = messages[i];
    if (highest)
        *n = kept;
    return before - *n;
}

int hf_chat_fit(const struct hf_chat *c, const struct hf_message *messages, size_t n,
                const char *prefix, size_t limit, struct hf_ids *ret, size_t *ret_dropped) {
    CAI_AUTO(mem) struct hf_message *left = cai_alloc((n + 1) * sizeof *left);
    if (n)
        memcpy(left, messages, n * sizeof *left);
    size_t base = ret->n, dropped = 0;
    for (;;) {
        CAI_TRY(hf_chat_encode(c, left, n, true, prefix, ret, NULL, NULL));
        if (ret->n - base <= limit)
            break;
        size_t needed = ret->n - base, gone = drop_highest(left, &n);
        ret->n = base;
        if (!gone)
            return cai_fail(CAI_ELIMIT,
                            "the prompt needs %zu tokens, the limit is %zu, and nothing "
                            "more of it may be dropped (%zu messages were)",
                            needed, limit, dropped);
        dropped += gone;
    }
    if (ret_dropped)
        *ret_dropped = dropped;
    return 0;
}
