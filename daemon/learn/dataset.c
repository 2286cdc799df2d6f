/* dataset.c: see dataset.h. */
#include "learn/dataset.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES_MAX = 1024 };
static const size_t FILE_MAX = (size_t)4 << 30;

/* Where we are, for messages, and what rows are made with. */
struct reading {
    const char *path;
    size_t line;
    enum dataset_kind kind;
    const struct hf_chat *chat;
    int64_t limit;
};

static int bad(const struct reading *r, const char *what) {
    return cai_fail(CAI_EINPUT, "%s:%zu: %s", r->path, r->line, what);
}

/* ---- encoding --------------------------------------------------------------------- */

int dataset_encode(const struct hf_chat *chat, const struct hf_message *messages, size_t n,
                   struct hf_ids *ret, int64_t *ret_from) {
    if (n == 0)
        return cai_fail(CAI_EINPUT, "a conversation without messages");
    size_t *at = cai_realloc(NULL, n * 2, sizeof *at);
    int rc = hf_chat_encode(chat, messages, n, false, NULL, ret, at, at + n);
    if (rc == 0 && (at[2 * n - 1] > ret->n || at[n - 1] > at[2 * n - 1]))
        rc = cai_fail(CAI_EINTERNAL, "the chat format gave no span for the last message");
    if (rc == 0) {
        ret->n = at[2 * n - 1];
        if (ret_from != NULL)
            *ret_from = (int64_t)at[n - 1];
    }
    free(at);
    return rc;
}

/* Encodes messages, `reply` as an assistant's turn after them when given, into seq. */
static int encode(const struct reading *r, struct hf_message *messages, size_t n,
                  const char *reply, struct dataset_seq *seq) {
    struct hf_ids ids = {0};
    int rc;
    if (r->kind == DATASET_PPO) {
        rc = hf_chat_encode(r->chat, messages, n, true, NULL, &ids, NULL, NULL);
        seq->from = (int64_t)ids.n;
    } else {
        if (reply != NULL)
            messages[n++] = (struct hf_message){"assistant", reply, 0};
        rc = dataset_encode(r->chat, messages, n, &ids, &seq->from);
    }
    if (rc < 0) {
        hf_ids_free(&ids);
        return cai_fail_in("%s:%zu", r->path, r->line);
    }
    seq->ids = ids.data;
    seq->n = (int64_t)ids.n;
    return 0;
}

/* ---- one line ---------------------------------------------------------------------- */

/* messages has room for one more than MESSAGES_MAX, for a reply. */
static int read_messages(const struct reading *r, const json_t *o, struct hf_message *messages,
                         size_t *ret_n) {
    const json_t *list = json_object_get(o, "messages");
    size_t n = json_array_size(list);
    if (n == 0 || n > MESSAGES_MAX)
        return bad(r, "\"messages\" must be a list of 1 to 1,024 messages");
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        const char *text = json_string_value(json_object_get(m, "text"));
        if (role == NULL || text == NULL)
            return bad(r, "a message must be {\"role\": …, \"text\": …}, both strings");
        messages[i] = (struct hf_message){role, text, 0};
    }
    *ret_n = n;
    const char *last = messages[n - 1].role;
    if (r->kind == DATASET_SFT && strcmp(last, "assistant") != 0)
        return bad(r, "the last message must be the assistant's: it is what is learned");
    bool reply = r->kind == DATASET_PM || r->kind == DATASET_PPO || r->kind == DATASET_DPO;
    if (reply && strcmp(last, "user") != 0)
        return bad(r, "the last message must be the user's: the reply comes after it");
    return 0;
}

static int read_share(const struct reading *r, const json_t *o, const char *name, double *ret) {
    const json_t *v = json_object_get(o, name);
    *ret = json_number_value(v);
    if (!json_is_number(v) || !(*ret >= 0 && *ret <= 1))
        return cai_fail(CAI_EINPUT, "%s:%zu: \"%s\" must be a number from 0 to 1", r->path,
                        r->line, name);
    return 0;
}

static int read_split(const struct reading *r, const json_t *o, bool needed,
                      struct dataset_row *row) {
    const char *s = json_string_value(json_object_get(o, "split"));
    row->has_split = s != NULL;
    row->held_out = s != NULL && strcmp(s, "held_out") == 0;
    if ((s == NULL && needed) || (s != NULL && !row->held_out && strcmp(s, "train") != 0))
        return bad(r, "\"split\" must be \"train\" or \"held_out\"");
    return 0;
}

static int read_kind(const struct reading *r, const json_t *o, struct dataset_row *row) {
    const char *s = json_string_value(json_object_get(o, "kind"));
    row->helpful = s != NULL && strcmp(s, "helpful") == 0;
    if (s == NULL || (!row->helpful && strcmp(s, "harmful") != 0))
        return bad(r, "\"kind\" must be \"harmful\" or \"helpful\"");
    const json_t *broke = json_object_get(o, "broke");
    row->broke = cai_alloc((json_array_size(broke) + 1) * sizeof *row->broke);
    for (size_t i = 0; i < json_array_size(broke); i++) {
        const char *id = json_string_value(json_array_get(broke, i));
        if (id == NULL)
            return bad(r, "\"broke\" must be a list of strings");
        row->broke[row->n_broke++] = cai_strdup(id);
    }
    row->messages = json_dumps(json_object_get(o, "messages"), JSON_COMPACT);
    CAI_CHECK(row->messages != NULL);
    return 0;
}

static int read_pair(const struct reading *r, const json_t *o, struct hf_message *messages,
                     size_t n, struct dataset_row *row) {
    const char *a = json_string_value(json_object_get(o, "a"));
    const char *b = json_string_value(json_object_get(o, "b"));
    if (a == NULL || b == NULL)
        return bad(r, "\"a\" and \"b\" must be the two replies, as strings");
    CAI_TRY(read_share(r, o, "p", &row->target));
    CAI_TRY(read_split(r, o, true, row));
    CAI_TRY(encode(r, messages, n, a, &row->seq[0]));
    return encode(r, messages, n, b, &row->seq[1]);
}

static int read_weight(const struct reading *r, const json_t *o, struct dataset_row *row) {
    const json_t *w = json_object_get(o, "weight");
    row->weight = w != NULL ? json_number_value(w) : 1;
    if ((w != NULL && !json_is_number(w)) || !(row->weight > 0 && row->weight <= 1e6))
        return bad(r, "\"weight\" must be a number above 0");
    return 0;
}

static int read_object(const struct reading *r, const json_t *o, struct dataset_row *row) {
    const json_t *item = json_object_get(o, "item");
    if (!json_is_integer(item) || json_integer_value(item) < 0)
        return bad(r, "\"item\" must be a whole number, 0 or more");
    row->item = (uint64_t)json_integer_value(item);
    struct hf_message *messages = cai_realloc(NULL, MESSAGES_MAX + 1, sizeof *messages);
    size_t n = 0;
    int rc = read_messages(r, o, messages, &n);
    if (rc == 0 && (r->kind == DATASET_PM || r->kind == DATASET_DPO)) {
        rc = read_pair(r, o, messages, n, row);
        free(messages);
        return rc;
    }
    if (rc == 0 && r->kind == DATASET_SFT)
        rc = read_weight(r, o, row);
    if (rc == 0 && r->kind == DATASET_CLASSIFIER)
        rc = read_share(r, o, "label", &row->target);
    if (rc == 0 && r->kind == DATASET_CLASSIFIER)
        rc = read_split(r, o, false, row);
    if (rc == 0 && r->kind == DATASET_PPO)
        rc = read_kind(r, o, row);
    if (rc == 0)
        rc = encode(r, messages, n, NULL, &row->seq[0]);
    free(messages);
    return rc;
}

static void row_free(struct dataset_row *row) {
    free(row->seq[0].ids);
    free(row->seq[1].ids);
    free(row->messages);
    for (size_t i = 0; i < row->n_broke; i++)
        free(row->broke[i]);
    free(row->broke);
}

/* ---- the file ------------------------------------------------------------------------ */

static bool fits(const struct reading *r, const struct dataset_row *row) {
    for (int i = 0; i < 2; i++) {
        if (row->seq[i].n > r->limit)
            return false;
        if (row->seq[i].ids != NULL && (r->kind == DATASET_SFT || r->kind == DATASET_DPO) &&
            (row->seq[i].from < 1 || row->seq[i].from >= row->seq[i].n))
            return false;
    }
    return true;
}

static int read_line(const struct reading *r, const char *line, size_t len, struct dataset *d,
                     size_t *cap) {
    json_error_t e;
    json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(o)) {
        json_decref(o);
        return cai_fail(CAI_EINPUT, "%s:%zu:%d: not a JSON object: %s", r->path, r->line,
                        e.column, e.text);
    }
    struct dataset_row row = {.weight = 1};
    int rc = read_object(r, o, &row);
    json_decref(o);
    if (rc < 0 || !fits(r, &row)) {
        row_free(&row);
        d->skipped += rc == 0;
        return rc;
    }
    if (d->n == *cap) {
        *cap = *cap > 0 ? *cap * 2 : 256;
        d->rows = cai_realloc(d->rows, *cap, sizeof *d->rows);
    }
    d->rows[d->n++] = row;
    return 0;
}

static int read_lines(struct reading *r, const struct cai_buf *text, struct dataset *ret) {
    size_t cap = 0;
    for (size_t at = 0; at < text->len;) {
        const char *line = text->data + at;
        const char *end = memchr(line, '\n', text->len - at);
        size_t len = end != NULL ? (size_t)(end - line) : text->len - at;
        r->line++;
        at += len + 1;
        if (len > 0)
            CAI_TRY(read_line(r, line, len, ret, &cap));
    }
    if (ret->n == 0)
        return cai_fail(CAI_EINPUT, "%s: no usable row (%zu of %zu are longer than %lld ids)",
                        r->path, ret->skipped, r->line, (long long)r->limit);
    return 0;
}

int dataset_load(const char *path, const char *hash, enum dataset_kind kind,
                 const struct hf_chat *chat, int64_t limit, struct dataset *ret) {
    CAI_AUTO(buf) struct cai_buf text = {.max = FILE_MAX};
    char found[CAI_SHA256_HEX];
    *ret = (struct dataset){0};
    CAI_TRY(cai_file_read(path, FILE_MAX, &text));
    cai_sha256(text.data, text.len, found);
    if (hash != NULL && hash[0] != '\0' && strcmp(hash, found) != 0)
        return cai_fail(CAI_EINPUT, "%s: its SHA-256 is %s, the task names %s", path, found, hash);
    struct reading r = {.path = path, .kind = kind, .chat = chat, .limit = limit};
    int rc = read_lines(&r, &text, ret);
    if (rc < 0)
        dataset_free(ret);
    return rc;
}

void dataset_free(struct dataset *d) {
    for (size_t i = 0; i < d->n; i++)
        row_free(&d->rows[i]);
    free(d->rows);
    *d = (struct dataset){0};
}
