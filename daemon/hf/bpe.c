/* bpe.c: reads a BPE model and turns one piece of text into ids. Not for cutting text
 * into pieces (pretokenizer.c) nor for the merge loop (merges.c).
 *
 * Two alphabets. A byte-level model sees raw bytes, each standing for one character of
 * GPT-2's alphabet, so nothing is spelled out in it at run time. Otherwise a symbol is a
 * code point, or its bytes as <0xNN> where the vocabulary lacks it (byte_fallback). */
#include "hf/bpe.h"
#include "hf/json.h"
#include "hf/merges.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <stdatomic.h>
#include <string.h>

#define MAX_MERGES ((size_t)8 << 20)
#define CACHE_SLOTS 8192

struct hf_bpe {
    struct hf_vocab vocab; /* as the file spells it */
    struct hf_vocab raw;   /* bytes: tokens as the bytes they stand for */
    struct hf_merges merges;
    int32_t byte_id[256];     /* bytes: the id of one byte, or -1 */
    int32_t fallback_id[256]; /* id of <0xNN>, or -1 */
    int32_t unk;              /* -1 without */
    bool bytes, byte_fallback, fuse_unk, ignore_merges;
    _Atomic(struct hf_bpe_work *) idle; /* one scratch kept between calls */
};

/* Pieces seen lately with their ids; a collision just replaces. */
struct cached {
    unsigned char len, n; /* len 0: empty */
    unsigned char ends[6];
    char key[24];
    int32_t ids[6];
};

struct hf_bpe_work {
    struct hf_merge_work merge;
    struct cached cache[CACHE_SLOTS];
};

void hf_sink_push(struct hf_sink *sink, int32_t id, size_t end) {
    hf_ids_push(sink->ids, id);
    if (!sink->want_ends)
        return;
    if (sink->n == sink->cap) {
        sink->cap = sink->cap ? sink->cap * 2 : 256;
        sink->ends = cai_realloc(sink->ends, sink->cap, sizeof *sink->ends);
    }
    sink->ends[sink->n++] = end;
}

/* ---- reading ---------------------------------------------------------------------- */

static int load_vocab(const char *path, const json_t *model, struct hf_bpe *m) {
    json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return cai_fail(CAI_EINPUT, "%s: model.vocab must be an object of tokens and ids, found %s",
                        path, hf_json_kind(vocab));
    const char *key;
    json_t *v;
    json_object_foreach(vocab, key, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= HF_MAX_ID)
            return cai_fail(CAI_EINPUT,
                            "%s: model.vocab \"%.64s\": an id must be an integer from 0 "
                            "to %d",
                            path, key, HF_MAX_ID - 1);
        if (!hf_vocab_add(&m->vocab, key, strlen(key), (int32_t)id))
            return cai_fail(CAI_EINPUT,
                            "%s: model.vocab \"%.64s\": id %lld belongs to another token", path,
                            key, (long long)id);
    }
    return 0;
}

/* One merge in either form: "a b", or ["a", "b"] where tokens may hold spaces. */
static int parse_merge(const char *path, size_t i, const json_t *v, struct hf_string ret[2]) {
    if (json_is_string(v)) {
        const char *s = json_string_value(v), *space = strchr(s, ' ');
        if (space && !strchr(space + 1, ' ') && strlen(s) == json_string_length(v)) {
            ret[0] = (struct hf_string){s, (uint32_t)(space - s)};
            ret[1] = (struct hf_string){space + 1, (uint32_t)strlen(space + 1)};
            return 0;
        }
    } else if (json_array_size(v) == 2 && json_is_string(json_array_get(v, 0)) &&
               json_is_string(json_array_get(v, 1))) {
        for (size_t k = 0; k < 2; k++) {
            const json_t *part = json_array_get(v, k);
            ret[k] =
                (struct hf_string){json_string_value(part), (uint32_t)json_string_length(part)};
        }
        return 0;
    }
    return cai_fail(CAI_EINPUT,
                    "%s: model.merges[%zu] must be \"left right\" or [\"left\", "
                    "\"right\"]",
                    path, i);
}

static int add_merge(const char *path, size_t i, uint32_t rank, const struct hf_string part[2],
                     struct cai_buf *joined, struct hf_bpe *m) {
    cai_buf_clear(joined);
    cai_buf_append(joined, part[0].s, part[0].len);
    cai_buf_append(joined, part[1].s, part[1].len);
    CAI_TRY(cai_buf_status(joined));
    int32_t left = hf_vocab_find(&m->vocab, part[0].s, part[0].len);
    int32_t right = hf_vocab_find(&m->vocab, part[1].s, part[1].len);
    int32_t id = hf_vocab_find(&m->vocab, joined->data ? joined->data : "", joined->len);
    if (left < 0 || right < 0 || id < 0 || !part[0].len || !part[1].len)
        return cai_fail(CAI_EINPUT,
                        "%s: model.merges[%zu]: \"%.40s\" + \"%.40s\": both parts and "
                        "the whole must be in model.vocab",
                        path, i, part[0].s, part[1].s);
    hf_merges_put(&m->merges, left, right, rank, id);
    return 0;
}

static int load_merges(const char *path, const json_t *model, struct hf_bpe *m) {
    const json_t *list = json_object_get(model, "merges");
    if (!json_is_array(list) || json_array_size(list) > MAX_MERGES)
        return cai_fail(CAI_EINPUT,
                        "%s: model.merges must be a list of at most %zu pairs, found %s", path,
                        MAX_MERGES, hf_json_kind(list));
    hf_merges_init(&m->merges, json_array_size(list));
    CAI_AUTO(buf) struct cai_buf joined = {0};
    uint32_t rank = 0;
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        struct hf_string part[2] = {0};
        if (json_is_string(v) && strncmp(json_string_value(v), "#version", 8) == 0)
            continue; /* the head of an old merges.txt */
        CAI_TRY(parse_merge(path, i, v, part));
        CAI_TRY(add_merge(path, i, rank++, part, &joined, m));
    }
    return 0;
}

static int refuse_options(const char *path, const json_t *model) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < CAI_COUNT(affixes); i++) {
        const json_t *v = json_object_get(model, affixes[i]);
        if (json_string_length(v) > 0)
            return cai_fail(CAI_EINPUT,
                            "%s: model.%s \"%.32s\" is not supported; use a byte-level "
                            "BPE tokenizer",
                            path, affixes[i], json_string_value(v));
    }
    double dropout;
    CAI_TRY(hf_json_real_or(path, model, "dropout", 0, 1, 0, &dropout));
    if (dropout != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: model.dropout is %g; encoding must not be random, set it "
                        "to null",
                        path, dropout);
    return 0;
}

static int load_options(const char *path, const json_t *model, struct hf_bpe *m) {
    CAI_TRY(refuse_options(path, model));
    CAI_TRY(hf_json_bool_or(path, model, "fuse_unk", false, &m->fuse_unk));
    CAI_TRY(hf_json_bool_or(path, model, "byte_fallback", false, &m->byte_fallback));
    CAI_TRY(hf_json_bool_or(path, model, "ignore_merges", false, &m->ignore_merges));
    const json_t *unk = json_object_get(model, "unk_token");
    m->unk = -1;
    if (!unk || json_is_null(unk))
        return 0;
    m->unk = json_is_string(unk)
                 ? hf_vocab_find(&m->vocab, json_string_value(unk), json_string_length(unk))
                 : -1;
    if (m->unk < 0)
        return cai_fail(CAI_EINPUT, "%s: model.unk_token must be null or a token of model.vocab",
                        path);
    return 0;
}

/* The tokens that byte-level pieces can meet, by the bytes they stand for. */
static void index_bytes(struct hf_bpe *m) {
    CAI_AUTO(buf) struct cai_buf raw = {0};
    for (int32_t id = 0; m->bytes && id < m->vocab.num_ids; id++) {
        const struct hf_string *s = &m->vocab.by_id[id];
        cai_buf_clear(&raw);
        if (s->s && hf_alphabet_decode(s->s, s->len, &raw) && raw.len)
            hf_vocab_add(&m->raw, raw.data, raw.len, id);
    }
    for (unsigned b = 0; b < 256; b++) {
        char byte = (char)b, name[8];
        m->byte_id[b] = hf_vocab_find(&m->raw, &byte, 1);
        snprintf(name, sizeof name, "<0x%02X>", b);
        m->fallback_id[b] = hf_vocab_find(&m->vocab, name, 6);
    }
}

/* byte_fallback over the byte alphabet would spell out the alphabet's own encoding. */
static int check_bytes(const char *path, const struct hf_bpe *m) {
    for (unsigned b = 0; m->bytes && m->byte_fallback && b < 256; b++)
        if (m->byte_id[b] < 0)
            return cai_fail(CAI_EINPUT,
                            "%s: a byte-level model with byte_fallback lacks the byte "
                            "0x%02X in model.vocab",
                            path, b);
    return 0;
}

int hf_bpe_load(const char *path, const json_t *model, bool bytes, struct hf_bpe **ret) {
    struct hf_bpe *m = cai_alloc(sizeof *m);
    m->bytes = bytes;
    int rc = load_vocab(path, model, m);
    if (rc == 0)
        rc = load_merges(path, model, m);
    if (rc == 0)
        rc = load_options(path, model, m);
    if (rc < 0) {
        hf_bpe_free(m);
        return rc;
    }
    index_bytes(m);
    rc = check_bytes(path, m);
    if (rc < 0) {
        hf_bpe_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

static void work_destroy(struct hf_bpe_work *w) {
    if (w)
        hf_merge_work_free(&w->merge);
    free(w);
}

void hf_bpe_free(struct hf_bpe *m) {
    if (!m)
        return;
    work_destroy(atomic_load(&m->idle));
    hf_vocab_free(&m->vocab);
    hf_vocab_free(&m->raw);
    hf_merges_free(&m->merges);
    free(m);
}

const struct hf_vocab *hf_bpe_vocab(const struct hf_bpe *m) {
    return &m->vocab;
}

struct hf_bpe_work *hf_bpe_work_new(const struct hf_bpe *m) {
    struct hf_bpe_work *w = atomic_exchange(&((struct hf_bpe *)m)->idle, NULL);
    return w ? w : cai_alloc(sizeof *w);
}

/* Kept for the next call unless another thread's is kept already. A long text's scratch
 * is not. */
void hf_bpe_work_free(const struct hf_bpe *m, struct hf_bpe_work *w) {
    struct hf_bpe_work *none = NULL;
    if (w->merge.cap > 1 << 16 ||
        !atomic_compare_exchange_strong(&((struct hf_bpe *)m)->idle, &none, w))
        work_destroy(w);
}

/* ---- encoding --------------------------------------------------------------------- */

/* A run of unknown characters not pushed yet: len 0 when there is none. */
struct unknown {
    uint32_t len;
};

static void push_known(struct hf_bpe_work *w, struct unknown *u, int32_t unk, int32_t id,
                       uint32_t len) {
    if (u->len)
        hf_merge_push(&w->merge, unk, u->len);
    u->len = 0;
    hf_merge_push(&w->merge, id, len);
}

/* Without an unknown token the character is dropped, as the reference does. */
static void push_unknown(const struct hf_bpe *m, struct hf_bpe_work *w, struct unknown *u,
                         uint32_t len) {
    if (m->unk < 0)
        return;
    if (u->len && !m->fuse_unk) {
        hf_merge_push(&w->merge, m->unk, u->len);
        u->len = 0;
    }
    u->len += len;
}

/* The bytes of an unknown character as <0xNN>, if the vocabulary has all of them. The
 * reference does not flush a pending unknown run here, so neither do we. */
static bool push_fallback(const struct hf_bpe *m, struct hf_bpe_work *w, const char *s,
                          size_t len) {
    if (!m->byte_fallback)
        return false;
    for (size_t i = 0; i < len; i++)
        if (m->fallback_id[(unsigned char)s[i]] < 0)
            return false;
    for (size_t i = 0; i < len; i++)
        hf_merge_push(&w->merge, m->fallback_id[(unsigned char)s[i]], 1);
    return true;
}

static void symbols_of_bytes(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece,
                             size_t len) {
    struct unknown u = {0};
    for (size_t i = 0; i < len; i++) {
        unsigned char b = (unsigned char)piece[i];
        if (m->byte_id[b] >= 0)
            push_known(w, &u, m->unk, m->byte_id[b], 1);
        else
            push_unknown(m, w, &u, 1);
    }
    if (u.len)
        hf_merge_push(&w->merge, m->unk, u.len);
}

static void symbols_of_text(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece,
                            size_t len) {
    struct unknown u = {0};
    size_t n;
    for (size_t i = 0; i < len; i += n) {
        hf_utf8_next(piece + i, len - i, &n);
        int32_t id = hf_vocab_find(&m->vocab, piece + i, n);
        if (id >= 0)
            push_known(w, &u, m->unk, id, (uint32_t)n);
        else if (!push_fallback(m, w, piece + i, n))
            push_unknown(m, w, &u, (uint32_t)n);
    }
    if (u.len)
        hf_merge_push(&w->merge, m->unk, u.len);
}

static struct cached *cache_slot(struct hf_bpe_work *w, const char *piece, size_t len) {
    uint64_t h = len * 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)piece[i]) * 0x100000001B3u;
    return &w->cache[(h >> 32 ^ h) & (CACHE_SLOTS - 1)];
}

static void remember(struct cached *c, const char *piece, size_t len,
                     const struct hf_merge_work *merge) {
    if (merge->n > CAI_COUNT(c->ids))
        return;
    c->len = (unsigned char)len;
    c->n = (unsigned char)merge->n;
    memcpy(c->key, piece, len);
    size_t end = 0;
    for (size_t i = 0; i < merge->n; i++) {
        end += merge->symbols[i].len;
        c->ids[i] = merge->symbols[i].id;
        c->ends[i] = (unsigned char)end;
    }
}

static size_t offset(ptrdiff_t at, size_t end) {
    ptrdiff_t x = at + (ptrdiff_t)end;
    return x < 0 ? 0 : (size_t)x;
}

void hf_bpe_encode(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece, size_t len,
                   ptrdiff_t at, struct hf_sink *sink) {
    struct cached *c = len <= sizeof w->cache->key ? cache_slot(w, piece, len) : NULL;
    if (c && c->len == len && memcmp(c->key, piece, len) == 0) {
        for (unsigned i = 0; i < c->n; i++)
            hf_sink_push(sink, c->ids[i], offset(at, c->ends[i]));
        return;
    }
    w->merge.n = 0;
    int32_t whole =
        m->ignore_merges ? hf_vocab_find(m->bytes ? &m->raw : &m->vocab, piece, len) : -1;
    if (whole >= 0) {
        hf_merge_push(&w->merge, whole, (uint32_t)len);
    } else {
        (m->bytes ? symbols_of_bytes : symbols_of_text)(m, w, piece, len);
        hf_merge_all(&m->merges, &w->merge);
    }
    if (c)
        remember(c, piece, len, &w->merge);
    size_t end = 0;
    for (size_t i = 0; i < w->merge.n; i++) {
        end += w->merge.symbols[i].len;
        hf_sink_push(sink, w->merge.symbols[i].id, offset(at, end));
    }
}
