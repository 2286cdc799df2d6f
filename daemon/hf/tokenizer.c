/* tokenizer.c: tokenizer.json as a whole: reading it, and text to ids and back. The steps
 * are files of their own: added → normalizer → added → pretokenizer → bpe → post, and
 * decoder. Not for chat formats (chat.c). */
#include "hf/tokenizer.h"
#include "hf/bpe.h"
#include "hf/decoder.h"
#include "hf/json.h"
#include "hf/post.h"
#include "hf/pretokenizer.h"
#include "hf/unicode.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include <string.h>

#define TOKENIZER_MAX_BYTES ((size_t)128 << 20)
#define TEXT_MAX_BYTES ((size_t)64 << 20)

struct hf_tokenizer {
    struct hf_norm *norm;
    struct hf_added *added;
    struct hf_pre *pre;
    struct hf_bpe *bpe;
    struct hf_decoder *decoder;
    struct hf_post post;
    char hash[CAI_SHA256_HEX];
};

void hf_ids_push(struct hf_ids *ids, int32_t id) {
    if (ids->n == ids->cap) {
        ids->cap = ids->cap ? ids->cap * 2 : 64;
        ids->data = cai_realloc(ids->data, ids->cap, sizeof *ids->data);
    }
    ids->data[ids->n++] = id;
}

static void reserve(struct hf_ids *ids, size_t more) {
    if (ids->n + more <= ids->cap)
        return;
    ids->cap = ids->n + more;
    ids->data = cai_realloc(ids->data, ids->cap, sizeof *ids->data);
}

void hf_ids_free(struct hf_ids *ids) {
    free(ids->data);
    *ids = (struct hf_ids){0};
}

/* ---- reading ---------------------------------------------------------------------- */

static int check_kind(const char *path, const json_t *root, const json_t **ret_model) {
    const char *version = json_string_value(json_object_get(root, "version"));
    if (!version || strcmp(version, "1.0") != 0)
        return cai_fail(CAI_EINPUT, "%s: \"version\" must be \"1.0\", found %.32s", path,
                        version ? version : hf_json_kind(json_object_get(root, "version")));
    const json_t *model = json_object_get(root, "model");
    if (!json_is_object(model))
        return cai_fail(CAI_EINPUT, "%s: \"model\" must be an object, found %s", path,
                        hf_json_kind(model));
    const json_t *type = json_object_get(model, "type"); /* old files leave BPE's out */
    const char *name = type || !json_object_get(model, "merges") ? json_string_value(type) : "BPE";
    if (!name || strcmp(name, "BPE") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: model type %.32s is not supported; use a checkpoint with a "
                        "BPE tokenizer",
                        path, name ? name : hf_json_kind(type));
    *ret_model = model;
    return 0;
}

static int load_parts(const char *path, const json_t *root, struct hf_tokenizer *t) {
    const json_t *model = NULL;
    CAI_TRY(check_kind(path, root, &model));
    CAI_TRY(hf_norm_load(path, json_object_get(root, "normalizer"), &t->norm));
    CAI_TRY(hf_pre_load(path, json_object_get(root, "pre_tokenizer"), &t->pre));
    CAI_TRY(hf_decoder_load(path, json_object_get(root, "decoder"), &t->decoder));
    CAI_TRY(hf_post_load(path, json_object_get(root, "post_processor"), &t->post));
    CAI_TRY(hf_bpe_load(path, model, hf_pre_is_bytes(t->pre), &t->bpe));
    return hf_added_load(path, json_object_get(root, "added_tokens"), t->norm, hf_bpe_vocab(t->bpe),
                         &t->added);
}

int hf_tokenizer_parse(const char *path, const char *json, size_t len, struct hf_tokenizer **ret) {
    json_auto_t *root = NULL;
    CAI_TRY(hf_json_parse(path, json, len, HF_JSON_PLAIN, &root));
    struct hf_tokenizer *t = cai_alloc(sizeof *t);
    cai_sha256(json, len, t->hash);
    int rc = load_parts(path, root, t);
    if (rc < 0) {
        hf_tokenizer_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

int hf_tokenizer_load(const char *dir, struct hf_tokenizer **ret) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "tokenizer.json");
    CAI_AUTO(mem) char *model = cai_path_join(dir, "tokenizer.model");
    if (!cai_file_exists(path) && cai_file_exists(model))
        return cai_fail(CAI_EINPUT,
                        "%s is missing and a SentencePiece tokenizer.model is not read; "
                        "save the tokenizer with AutoTokenizer, which writes tokenizer.json",
                        path);
    CAI_TRY(hf_require_file(dir, path, "the tokenizer as `tokenizers` writes it"));
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(cai_file_read(path, TOKENIZER_MAX_BYTES, &b));
    return hf_tokenizer_parse(path, b.data ? b.data : "", b.len, ret);
}

void hf_tokenizer_free(struct hf_tokenizer *t) {
    if (!t)
        return;
    hf_added_free(t->added);
    hf_norm_free(t->norm);
    hf_pre_free(t->pre);
    hf_bpe_free(t->bpe);
    hf_decoder_free(t->decoder);
    hf_post_free(&t->post);
    free(t);
}

/* ---- encoding --------------------------------------------------------------------- */

/* Limits of ranges in a text and where they come to lie in its normal form. */
struct cuts {
    size_t *from, *to;
    size_t n;
};

static void cuts_free(struct cuts *c) {
    free(c->from);
    free(c->to);
}

struct encoding {
    const struct hf_tokenizer *t;
    struct hf_pre_run run;
    struct hf_sink sink;
    const struct hf_range *plain;
    size_t num_plain;
};

/* Ranges that reach into [begin, end), relative to begin. */
static struct hf_range *clip_ranges(const struct encoding *e, size_t begin, size_t end,
                                    size_t *ret_n) {
    struct hf_range *r = cai_alloc((e->num_plain + 1) * sizeof *r);
    size_t n = 0;
    for (size_t i = 0; i < e->num_plain; i++) {
        const struct hf_range *p = &e->plain[i];
        if (p->end <= begin || p->begin >= end)
            continue;
        r[n].begin = p->begin > begin ? p->begin - begin : 0;
        r[n++].end = (p->end < end ? p->end : end) - begin;
    }
    *ret_n = n;
    return r;
}

/* Text between raw added tokens, in its normal form: cut at the normalised ones. */
static int encode_normal(struct encoding *e, const char *text, size_t len,
                         const struct hf_range *plain, size_t num_plain, size_t at) {
    struct hf_added_scan scan = {.added = e->t->added,
                                 .text = text,
                                 .len = len,
                                 .normalized = true,
                                 .plain = plain,
                                 .num_plain = num_plain};
    const struct hf_added_token *token;
    size_t b, end;
    while (hf_added_next(&scan, &token, &b, &end)) {
        if (token)
            hf_sink_push(&e->sink, token->id, at + end);
        else
            CAI_TRY(hf_pre_encode(&e->run, text + b, end - b, (ptrdiff_t)(at + b)));
    }
    return 0;
}

static int map_cuts(const struct encoding *e, const char *text, size_t len, size_t normal_len,
                    const struct hf_range *r, size_t n, struct cuts *c) {
    c->from = cai_alloc((2 * n + 2) * sizeof *c->from);
    c->to = cai_alloc((2 * n + 2) * sizeof *c->to);
    c->n = 1;
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (size_t i = 0; i < 2 * n; i++) {
        size_t cut = i % 2 ? r[i / 2].end : r[i / 2].begin;
        if (cut <= c->from[c->n - 1] || cut >= len)
            continue;
        cai_buf_clear(&b);
        CAI_TRY(hf_norm_apply(e->t->norm, text, cut, &b));
        size_t to = b.len < normal_len ? b.len : normal_len;
        c->from[c->n] = cut;
        c->to[c->n] = to > c->to[c->n - 1] ? to : c->to[c->n - 1];
        c->n++;
    }
    c->from[c->n] = len;
    c->to[c->n] = normal_len;
    return 0;
}

static size_t cut_to(const struct cuts *c, size_t from) {
    size_t i = 0;
    while (i < c->n && c->from[i] < from)
        i++;
    return c->to[i];
}

/* Back from the normal form: exact at the cuts, in between at most the next cut. */
static size_t cut_from(const struct cuts *c, size_t to) {
    size_t i = 0;
    while (i < c->n && c->to[i + 1] <= to)
        i++;
    if (i == c->n)
        return c->from[i];
    size_t step = to - c->to[i], room = c->from[i + 1] - c->from[i];
    return c->from[i] + (step < room ? step : room - 1);
}

static int encode_changed(struct encoding *e, const char *text, size_t len, struct hf_range *plain,
                          size_t num_plain, size_t at) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(hf_norm_apply(e->t->norm, text, len, &b));
    const char *normal = b.data ? b.data : "";
    if (b.len == len && memcmp(normal, text, len) == 0)
        return encode_normal(e, text, len, plain, num_plain, at);
    struct cuts c = {0};
    int rc = map_cuts(e, text, len, b.len, plain, num_plain, &c);
    size_t first = e->sink.n;
    if (rc == 0) {
        for (size_t i = 0; i < num_plain; i++)
            plain[i] = (struct hf_range){cut_to(&c, plain[i].begin), cut_to(&c, plain[i].end)};
        rc = encode_normal(e, normal, b.len, plain, num_plain, 0);
    }
    for (size_t i = first; rc == 0 && i < e->sink.n; i++) /* n stays 0 when not wanted */
        e->sink.ends[i] = at + cut_from(&c, e->sink.ends[i]);
    cuts_free(&c);
    return rc;
}

static int encode_gap(struct encoding *e, const char *text, size_t begin, size_t end) {
    size_t n;
    CAI_AUTO(mem) struct hf_range *plain = clip_ranges(e, begin, end, &n);
    e->run.at_start = begin == 0;
    if (hf_norm_is_identity(e->t->norm))
        return encode_normal(e, text + begin, end - begin, plain, n, begin);
    return encode_changed(e, text + begin, end - begin, plain, n, begin);
}

static int encode_text(struct encoding *e, const char *text, size_t len) {
    struct hf_added_scan scan = {.added = e->t->added,
                                 .text = text,
                                 .len = len,
                                 .plain = e->plain,
                                 .num_plain = e->num_plain};
    const struct hf_added_token *token;
    size_t b, end;
    while (hf_added_next(&scan, &token, &b, &end)) {
        if (token)
            hf_sink_push(&e->sink, token->id, end);
        else
            CAI_TRY(encode_gap(e, text, b, end));
    }
    return 0;
}

static bool is_inside_character(const char *text, size_t len, size_t at) {
    return at < len && ((unsigned char)text[at] & 0xC0) == 0x80;
}

static int check_text(const char *text, size_t len, const struct hf_range *plain,
                      size_t num_plain) {
    if (len > TEXT_MAX_BYTES)
        return cai_fail(CAI_ELIMIT, "a text of %zu bytes to tokenize, the limit is %zu", len,
                        TEXT_MAX_BYTES);
    size_t bad = cai_utf8_valid(text, len);
    for (size_t i = 0; bad == len && i < num_plain; i++)
        if (is_inside_character(text, len, plain[i].begin))
            bad = plain[i].begin;
        else if (is_inside_character(text, len, plain[i].end))
            bad = plain[i].end;
    return bad == len ? 0
                      : cai_fail(CAI_EINPUT, "a text to tokenize is not UTF-8 at byte %zu", bad);
}

int hf_tokenizer_encode_marked(const struct hf_tokenizer *t, const char *text, size_t len,
                               const struct hf_range *plain, size_t num_plain, struct hf_ids *ret,
                               size_t **ret_ends) {
    CAI_TRY(check_text(text, len, plain, num_plain));
    struct encoding e = {.t = t, .plain = plain, .num_plain = num_plain};
    e.sink.ids = ret;
    e.sink.want_ends = ret_ends != NULL;
    e.run = (struct hf_pre_run){t->pre, t->bpe, hf_bpe_work_new(t->bpe), NULL, &e.sink, false};
    size_t before = ret->n;
    int rc = encode_text(&e, text, len);
    hf_bpe_work_free(t->bpe, e.run.work);
    hf_matcher_free(e.run.matcher);
    if (rc < 0) {
        ret->n = before;
        free(e.sink.ends);
        return rc;
    }
    if (ret_ends)
        *ret_ends = e.sink.ends;
    return 0;
}

int hf_tokenizer_encode_written(const struct hf_tokenizer *t, const char *text, size_t len,
                                struct hf_ids *ret) {
    return hf_tokenizer_encode_marked(t, text, len, NULL, 0, ret, NULL);
}

int hf_tokenizer_encode(const struct hf_tokenizer *t, const char *text, size_t len, bool special,
                        struct hf_ids *ret) {
    size_t before = ret->n;
    struct hf_range all = {0, len};
    reserve(ret, len / 3 + 64); /* near enough for most texts */
    for (size_t i = 0; special && i < t->post.before.n; i++)
        hf_ids_push(ret, t->post.before.data[i]);
    int rc = hf_tokenizer_encode_marked(t, text, len, &all, special ? 0 : 1, ret, NULL);
    if (rc < 0) {
        ret->n = before;
        return rc;
    }
    for (size_t i = 0; special && i < t->post.after.n; i++)
        hf_ids_push(ret, t->post.after.data[i]);
    return 0;
}

/* ---- decoding --------------------------------------------------------------------- */

struct hf_string hf_tokenizer_token(const struct hf_tokenizer *t, int32_t id) {
    const struct hf_vocab *of[] = {hf_added_vocab(t->added), hf_bpe_vocab(t->bpe)};
    for (size_t i = 0; i < CAI_COUNT(of); i++)
        if (id >= 0 && id < of[i]->num_ids && of[i]->by_id[id].s)
            return of[i]->by_id[id];
    return (struct hf_string){0};
}

int hf_tokenizer_decode(const struct hf_tokenizer *t, const int32_t *ids, size_t n,
                        bool skip_special, struct cai_buf *ret) {
    CAI_AUTO(mem) struct hf_string *tokens = cai_alloc((n + 1) * sizeof *tokens);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        struct hf_string s = hf_tokenizer_token(t, ids[i]);
        if (s.s && !(skip_special && hf_added_is_special(t->added, ids[i])))
            tokens[used++] = s;
    }
    CAI_AUTO(buf) struct cai_buf raw = {0};
    CAI_TRY(hf_decoder_apply(t->decoder, tokens, used, &raw));
    CAI_TRY(cai_buf_status(&raw));
    hf_utf8_lossy(raw.data ? raw.data : "", raw.len, ret);
    return cai_buf_status(ret);
}

const struct hf_decoder *hf_tokenizer_decoder(const struct hf_tokenizer *t) {
    return t->decoder;
}

int hf_tokenizer_piece(const struct hf_tokenizer *t, int32_t id, struct cai_buf *ret) {
    struct hf_string s = hf_tokenizer_token(t, id);
    if (!s.s)
        return cai_fail(CAI_ENOTFOUND, "the tokenizer has no token with id %d", id);
    hf_decoder_piece(t->decoder, &s, ret);
    return cai_buf_status(ret);
}

int32_t hf_tokenizer_id(const struct hf_tokenizer *t, const char *token) {
    int32_t id = hf_vocab_find(hf_added_vocab(t->added), token, strlen(token));
    return id >= 0 ? id : hf_vocab_find(hf_bpe_vocab(t->bpe), token, strlen(token));
}

int64_t hf_tokenizer_size(const struct hf_tokenizer *t) {
    int32_t a = hf_added_vocab(t->added)->num_ids, b = hf_bpe_vocab(t->bpe)->num_ids;
    return a > b ? a : b;
}

bool hf_tokenizer_is_special(const struct hf_tokenizer *t, int32_t id) {
    return hf_added_is_special(t->added, id);
}

/* Whether a special token may lie so that it shares bytes with `text`; a normalizer may have
 * made capitals small. */
static bool overlaps(const struct hf_string *special, const char *text, size_t len) {
    for (size_t end = 1; end < len + special->len; end++) { /* where it ends, from text's begin */
        size_t from = end > special->len ? end - special->len : 0, to = end < len ? end : len;
        if (strncasecmp(text + from, special->s + special->len - (end - from), to - from) == 0)
            return true;
    }
    return false;
}

bool hf_tokenizer_meets_special(const struct hf_tokenizer *t, const char *text, size_t len) {
    const struct hf_vocab *v = hf_added_vocab(t->added);
    for (int32_t id = 0; id < v->num_ids; id++)
        if (v->by_id[id].s && v->by_id[id].len && hf_added_is_special(t->added, id) &&
            overlaps(&v->by_id[id], text, len))
            return true;
    struct hf_ids ids = {0};
    bool found = hf_tokenizer_encode_written(t, text, len, &ids) < 0;
    for (size_t i = 0; i < ids.n; i++)
        found |= hf_added_is_special(t->added, ids.data[i]);
    hf_ids_free(&ids);
    return found;
}

const char *hf_tokenizer_hash(const struct hf_tokenizer *t) {
    return t->hash;
}
