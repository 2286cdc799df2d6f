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

#define METASPACE "\xE2\x96\x81" /* U+2581, SentencePiece's space */

struct hf_bpe {
    struct hf_vocab vocab; /* as the file spells it */
    struct hf_vocab raw;   /* bytes: tokens as the bytes they stand for */
    struct hf_merges merges;
    int32_t byte_id[256];     /* bytes: the id of one byte, or -1 */
    int32_t fallback_id[256]; /* id of <0xNN>, or -1 */
    int32_t *char_id;         /* not bytes: the id of a code point, or -1 */
    uint32_t num_chars;
    int32_t unk; /* -1 without */
    bool bytes, byte_fallback, fuse_unk, ignore_merges;
    bool words; /* no merge reaches over the beginning of a word: each is a piece of its own */
    char *prefix, *suffix; /* of symbols that do not begin, or that end, a piece; or NULL */
    _Atomic(struct hf_bpe_work *) idle; /* one scratch kept between calls */
};

#define MAX_KEY 24
#define MAX_CACHED 7

/* Pieces seen lately with their ids; a collision just replaces. */
struct cached {
    char key[MAX_KEY];
    unsigned char len, n; /* len 0: empty */
    unsigned char ends[MAX_CACHED];
    int32_t ids[MAX_CACHED];
};
_Static_assert(sizeof(struct cached) == 64, "one line of the processor's cache");

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

static bool begins_word(const struct hf_string *s) {
    return s->len >= 3 && memcmp(s->s, METASPACE, 3) == 0;
}

static bool ends_in_space(const struct hf_string *s) {
    return s->len >= 3 && memcmp(s->s + s->len - 3, METASPACE, 3) == 0;
}

static int add_merge(const char *path, size_t i, uint32_t rank, const struct hf_string part[2],
                     struct cai_buf *joined, struct hf_bpe *m) {
    size_t skip = m->prefix ? strlen(m->prefix) : 0; /* the whole has the first part's alone */
    skip = skip < part[1].len ? skip : part[1].len;
    cai_buf_clear(joined);
    cai_buf_append(joined, part[0].s, part[0].len);
    cai_buf_append(joined, part[1].s + skip, part[1].len - skip);
    CAI_TRY(cai_buf_status(joined));
    int32_t left = hf_vocab_find(&m->vocab, part[0].s, part[0].len);
    int32_t right = hf_vocab_find(&m->vocab, part[1].s, part[1].len);
    int32_t id = hf_vocab_find(&m->vocab, joined->data ? joined->data : "", joined->len);
    if (left < 0 || right < 0 || id < 0 || !part[0].len || !part[1].len)
        return cai_fail(CAI_EINPUT,
                        "%s: model.merges[%zu]: \"%.*s\" + \"%.40s\": both parts and "
                        "the whole must be in model.vocab",
                        path, i, part[0].len < 40 ? (int)part[0].len : 40, part[0].s, part[1].s);
    hf_merges_put(&m->merges, left, right, rank, id);
    if (begins_word(&part[1]) && !ends_in_space(&part[0]))
        m->words = false;
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

static int load_affix(const char *path, const json_t *model, const char *key, char **ret) {
    const json_t *v = json_object_get(model, key);
    if (v && !json_is_null(v) && !json_is_string(v))
        return cai_fail(CAI_EINPUT, "%s: model.%s must be a string or null, found %s", path, key,
                        hf_json_kind(v));
    if (json_string_length(v) > 0)
        *ret = cai_strdup(json_string_value(v));
    return 0;
}

static int load_unknown(const char *path, const json_t *model, struct hf_bpe *m) {
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

static int load_options(const char *path, const json_t *model, struct hf_bpe *m) {
    double dropout;
    CAI_TRY(hf_json_real_or(path, model, "dropout", 0, 1, 0, &dropout));
    if (dropout != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: model.dropout is %g; encoding must not be random, set it "
                        "to null",
                        path, dropout);
    CAI_TRY(load_affix(path, model, "continuing_subword_prefix", &m->prefix));
    CAI_TRY(load_affix(path, model, "end_of_word_suffix", &m->suffix));
    CAI_TRY(hf_json_bool_or(path, model, "fuse_unk", false, &m->fuse_unk));
    CAI_TRY(hf_json_bool_or(path, model, "byte_fallback", false, &m->byte_fallback));
    CAI_TRY(hf_json_bool_or(path, model, "ignore_merges", false, &m->ignore_merges));
    if (m->byte_fallback && (m->prefix || m->suffix))
        return cai_fail(CAI_EINPUT,
                        "%s: model.byte_fallback beside a continuing_subword_prefix or "
                        "end_of_word_suffix is not supported",
                        path);
    return load_unknown(path, model, m);
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

/* Tokens of one character, by their code point. */
static void index_chars(struct hf_bpe *m) {
    for (int pass = 0; pass < 2; pass++) { /* the highest first, then the ids */
        for (int32_t id = 0; id < m->vocab.num_ids; id++) {
            const struct hf_string *s = &m->vocab.by_id[id];
            size_t n = 0;
            uint32_t c = s->s && s->len ? hf_utf8_next(s->s, s->len, &n) : 0;
            if (n == 0 || n != s->len)
                continue;
            if (pass)
                m->char_id[c] = id;
            else if (c >= m->num_chars)
                m->num_chars = c + 1;
        }
        if (pass == 0) {
            m->char_id = cai_alloc((m->num_chars + 1) * sizeof *m->char_id);
            memset(m->char_id, -1, m->num_chars * sizeof *m->char_id);
        }
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
    m->words = true;
    int rc = load_vocab(path, model, m);
    if (rc == 0)
        rc = load_options(path, model, m);
    if (rc == 0)
        rc = load_merges(path, model, m);
    if (rc < 0) {
        hf_bpe_free(m);
        return rc;
    }
    index_bytes(m);
    index_chars(m);
    /* A known space ends a run of unknown characters, so that they may be cut apart there. */
    m->words = m->words && !bytes && !m->ignore_merges && !m->prefix && !m->suffix &&
               hf_vocab_find(&m->vocab, METASPACE, 3) >= 0;
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
    free(m->char_id);
    free(m->prefix);
    free(m->suffix);
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
        uint32_t c = hf_utf8_next(piece + i, len - i, &n);
        int32_t id = c < m->num_chars ? m->char_id[c] : -1;
        if (id >= 0)
            push_known(w, &u, m->unk, id, (uint32_t)n);
        else if (!push_fallback(m, w, piece + i, n))
            push_unknown(m, w, &u, (uint32_t)n);
    }
    if (u.len)
        hf_merge_push(&w->merge, m->unk, u.len);
}

/* Symbols that are spelled with the model's prefix and suffix. */
static void symbols_with_affixes(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece,
                                 size_t len) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    struct unknown u = {0};
    size_t n = 1;
    for (size_t i = 0; i < len; i += n) {
        cai_buf_clear(&b);
        if (i > 0 && m->prefix)
            cai_buf_puts(&b, m->prefix);
        if (m->bytes) {
            hf_utf8_put(&b, hf_alphabet((unsigned char)piece[i]));
        } else {
            hf_utf8_next(piece + i, len - i, &n);
            cai_buf_append(&b, piece + i, n);
        }
        if (i + n == len && m->suffix)
            cai_buf_puts(&b, m->suffix);
        int32_t id = hf_vocab_find(&m->vocab, b.data, b.len);
        if (id >= 0)
            push_known(w, &u, m->unk, id, (uint32_t)n);
        else
            push_unknown(m, w, &u, (uint32_t)n);
    }
    if (u.len)
        hf_merge_push(&w->merge, m->unk, u.len);
}

static void find_symbols(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece,
                         size_t len) {
    if (m->prefix || m->suffix)
        symbols_with_affixes(m, w, piece, len);
    else if (m->bytes)
        symbols_of_bytes(m, w, piece, len);
    else
        symbols_of_text(m, w, piece, len);
}

/* ---- the cache ---------------------------------------------------------------------- */

/* A short piece as three words, which together hold all of its bytes. */
struct words {
    uint64_t a, b, c;
};

static inline uint64_t load(const char *p, size_t n) {
    uint64_t x = 0;
    memcpy(&x, p, n);
    return x;
}

static inline struct words words_of(const char *p, size_t len) {
    if (len >= 8)
        return (struct words){load(p, 8), load(p + len - 8, 8), len > 16 ? load(p + 8, 8) : 0};
    if (len >= 4)
        return (struct words){load(p, 4), load(p + len - 4, 4), 0};
    return (struct words){(unsigned char)p[0], (unsigned char)p[len / 2],
                          (unsigned char)p[len - 1]};
}

static inline struct cached *cache_slot(struct hf_bpe_work *w, const struct words *p, size_t len) {
    uint64_t h = p->a * 0x9E3779B97F4A7C15u ^ (p->b + len) * 0xBF58476D1CE4E5B9u ^
                 p->c * 0x94D049BB133111EBu;
    return &w->cache[(h ^ h >> 29) >> 8 & (CACHE_SLOTS - 1)];
}

static inline bool holds(const struct cached *c, const struct words *p, size_t len) {
    if (c->len != len)
        return false;
    struct words k = words_of(c->key, len);
    return k.a == p->a && k.b == p->b && k.c == p->c;
}

static void remember(struct cached *c, const char *piece, size_t len,
                     const struct hf_merge_work *merge) {
    if (merge->n > MAX_CACHED)
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

static inline void push_cached(const struct cached *c, ptrdiff_t at, struct hf_sink *sink) {
    struct hf_ids *ids = sink->ids;
    if (sink->want_ends || ids->n + MAX_CACHED > ids->cap) {
        for (unsigned i = 0; i < c->n; i++)
            hf_sink_push(sink, c->ids[i], hf_offset(at, c->ends[i]));
        return;
    }
    for (unsigned i = 0; i < c->n; i++)
        ids->data[ids->n + i] = c->ids[i];
    ids->n += c->n;
}

/* ---- pieces ------------------------------------------------------------------------- */

size_t hf_offset(ptrdiff_t at, size_t end) {
    ptrdiff_t x = at + (ptrdiff_t)end;
    return x < 0 ? 0 : (size_t)x;
}

static void merge_piece(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece,
                        size_t len) {
    w->merge.n = 0;
    int32_t whole =
        m->ignore_merges ? hf_vocab_find(m->bytes ? &m->raw : &m->vocab, piece, len) : -1;
    if (whole >= 0) {
        hf_merge_push(&w->merge, whole, (uint32_t)len);
        return;
    }
    find_symbols(m, w, piece, len);
    hf_merge_all(&m->merges, &w->merge);
}

static void encode_piece(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece,
                         size_t len, ptrdiff_t at, struct hf_sink *sink) {
    struct cached *c = NULL;
    if (len <= MAX_KEY) {
        struct words p = words_of(piece, len);
        c = cache_slot(w, &p, len);
        if (holds(c, &p, len)) {
            push_cached(c, at, sink);
            return;
        }
    }
    merge_piece(m, w, piece, len);
    if (c)
        remember(c, piece, len, &w->merge);
    size_t end = 0;
    for (size_t i = 0; i < w->merge.n; i++) {
        end += w->merge.symbols[i].len;
        hf_sink_push(sink, w->merge.symbols[i].id, hf_offset(at, end));
    }
}

/* Where the next word begins after `from`: a SentencePiece space that follows none. */
static size_t next_word(const char *piece, size_t len, size_t from) {
    size_t at = from;
    while (at + 3 <= len && memcmp(piece + at, METASPACE, 3) == 0)
        at += 3;
    const char *hit = memmem(piece + at, len - at, METASPACE, 3);
    return hit ? (size_t)(hit - piece) : len;
}

void hf_bpe_encode(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece, size_t len,
                   ptrdiff_t at, struct hf_sink *sink) {
    if (!m->words) {
        encode_piece(m, w, piece, len, at, sink);
        return;
    }
    for (size_t from = 0, end; from < len; from = end) {
        end = next_word(piece, len, from);
        encode_piece(m, w, piece + from, end - from, at + (ptrdiff_t)from, sink);
    }
}
