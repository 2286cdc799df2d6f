/* added.c: added tokens are cut out of the text before anything else sees it, leftmost
 * and longest first, with their flags. Not for what lies between them.
 *
 * A scan's states: searching → a token found with a gap before it (pending) → the token
 * given → searching; the last gap ends it. */
#include "hf/added.h"
#include "hf/json.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <string.h>

#define MAX_ADDED 200000
#define MAX_CONTENT 1024

struct node {
    unsigned char byte;
    int32_t child, sibling; /* -1 without */
    int32_t token;          /* index, or -1 */
};

struct trie {
    struct node *nodes;
    size_t n, cap;
    int32_t root[256];
};

struct hf_added {
    struct hf_vocab vocab;
    struct hf_added_token *tokens;
    size_t n;
    struct trie raw, normal; /* tokens found before and after normalisation */
    unsigned char *special;  /* by id */
};

/* ---- the trie --------------------------------------------------------------------- */

static void trie_init(struct trie *t) {
    memset(t->root, -1, sizeof t->root);
}

static int32_t new_node(struct trie *t, unsigned char byte, int32_t sibling) {
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->nodes = cai_realloc(t->nodes, t->cap, sizeof *t->nodes);
    }
    t->nodes[t->n] = (struct node){byte, -1, sibling, -1};
    return (int32_t)t->n++;
}

static int32_t child_of(const struct trie *t, int32_t node, unsigned char byte) {
    int32_t c = t->nodes[node].child;
    while (c >= 0 && t->nodes[c].byte != byte)
        c = t->nodes[c].sibling;
    return c;
}

static void trie_add(struct trie *t, const char *s, size_t len, int32_t token) {
    if (!len)
        return;
    int32_t at = t->root[(unsigned char)s[0]];
    if (at < 0)
        at = t->root[(unsigned char)s[0]] = new_node(t, (unsigned char)s[0], -1);
    for (size_t i = 1; i < len; i++) {
        int32_t c = child_of(t, at, (unsigned char)s[i]);
        if (c < 0) {
            c = new_node(t, (unsigned char)s[i], t->nodes[at].child);
            t->nodes[at].child = c;
        }
        at = c;
    }
    t->nodes[at].token = token;
}

/* The longest token at s, or -1. */
static int32_t trie_longest(const struct trie *t, const char *s, size_t len, size_t *ret_len) {
    int32_t at = t->root[(unsigned char)s[0]], found = -1;
    for (size_t i = 1; at >= 0; i++) {
        if (t->nodes[at].token >= 0) {
            found = t->nodes[at].token;
            *ret_len = i;
        }
        if (i == len)
            break;
        at = child_of(t, at, (unsigned char)s[i]);
    }
    return found;
}

/* ---- reading ---------------------------------------------------------------------- */

static int parse_flags(const char *path, const json_t *o, struct hf_added_token *t) {
    CAI_TRY(hf_json_bool_or(path, o, "special", false, &t->special));
    CAI_TRY(hf_json_bool_or(path, o, "single_word", false, &t->single_word));
    CAI_TRY(hf_json_bool_or(path, o, "lstrip", false, &t->lstrip));
    CAI_TRY(hf_json_bool_or(path, o, "rstrip", false, &t->rstrip));
    return hf_json_bool_or(path, o, "normalized", !t->special, &t->normalized);
}

/* The id a token states must be its id in the model, or free there. */
static int check_id(const char *path, const char *content, int32_t id,
                    const struct hf_vocab *vocab) {
    int32_t known = hf_vocab_find(vocab, content, strlen(content));
    if (known >= 0 && known != id)
        return cai_fail(CAI_EINPUT,
                        "%s: added token \"%.64s\" says id %d, but model.vocab gives it "
                        "%d",
                        path, content, id, known);
    if (known < 0 && id < vocab->num_ids && vocab->by_id[id].s)
        return cai_fail(CAI_EINPUT, "%s: added token \"%.64s\": id %d is \"%.64s\" in model.vocab",
                        path, content, id, vocab->by_id[id].s);
    return 0;
}

static int index_token(const char *content, const struct hf_norm *norm, struct hf_added *a,
                       int32_t index) {
    if (!a->tokens[index].normalized) {
        trie_add(&a->raw, content, strlen(content), index);
        return 0;
    }
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(hf_norm_apply(norm, content, strlen(content), &b));
    trie_add(&a->normal, b.data, b.len, index);
    return 0;
}

static int load_token(const char *path, const json_t *o, const struct hf_norm *norm,
                      const struct hf_vocab *vocab, struct hf_added *a) {
    const char *content;
    int64_t id;
    CAI_TRY(hf_json_int(path, o, "id", 0, HF_MAX_ID - 1, &id));
    CAI_TRY(hf_json_string(path, o, "content", &content));
    if (!content[0])
        return 0; /* never matches anything */
    if (strlen(content) > MAX_CONTENT)
        return cai_fail(CAI_ELIMIT, "%s: an added token of %zu bytes, the limit is %d", path,
                        strlen(content), MAX_CONTENT);
    struct hf_added_token *t = &a->tokens[a->n];
    t->id = (int32_t)id;
    CAI_TRY(parse_flags(path, o, t));
    CAI_TRY(check_id(path, content, t->id, vocab));
    if (!hf_vocab_add(&a->vocab, content, strlen(content), t->id))
        return cai_fail(CAI_EINPUT,
                        "%s: added token \"%.64s\" with id %d: the content or the id "
                        "occurs twice",
                        path, content, t->id);
    return index_token(content, norm, a, (int32_t)a->n++);
}

static int load_tokens(const char *path, const json_t *list, const struct hf_norm *norm,
                       const struct hf_vocab *vocab, struct hf_added *a) {
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) > MAX_ADDED)
        return cai_fail(CAI_EINPUT,
                        "%s: added_tokens must be a list of at most %d tokens, found %s", path,
                        MAX_ADDED, hf_json_kind(list));
    a->tokens = cai_alloc(json_array_size(list) * sizeof *a->tokens + 1);
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) CAI_TRY(load_token(path, v, norm, vocab, a));
    a->special = cai_alloc((size_t)a->vocab.num_ids + 1);
    for (i = 0; i < a->n; i++)
        a->special[a->tokens[i].id] = a->tokens[i].special;
    return 0;
}

int hf_added_load(const char *path, const json_t *list, const struct hf_norm *norm,
                  const struct hf_vocab *vocab, struct hf_added **ret) {
    struct hf_added *a = cai_alloc(sizeof *a);
    trie_init(&a->raw);
    trie_init(&a->normal);
    int rc = load_tokens(path, list, norm, vocab, a);
    if (rc < 0) {
        hf_added_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

void hf_added_free(struct hf_added *a) {
    if (!a)
        return;
    hf_vocab_free(&a->vocab);
    free(a->tokens);
    free(a->raw.nodes);
    free(a->normal.nodes);
    free(a->special);
    free(a);
}

const struct hf_vocab *hf_added_vocab(const struct hf_added *a) {
    return &a->vocab;
}

bool hf_added_is_special(const struct hf_added *a, int32_t id) {
    return id >= 0 && id < a->vocab.num_ids && a->special[id];
}

/* ---- scanning --------------------------------------------------------------------- */

/* Ranges are met in order: matches only move forward. */
static bool touches_plain(struct hf_added_scan *s, size_t begin, size_t end) {
    while (s->next_plain < s->num_plain && s->plain[s->next_plain].end <= begin)
        s->next_plain++;
    return s->next_plain < s->num_plain && s->plain[s->next_plain].begin < end;
}

static bool stands_alone(const struct hf_added_scan *s, size_t begin, size_t end) {
    size_t n;
    if (begin > 0 && hf_is_word(hf_utf8_last(s->text, begin, &n)))
        return false;
    return end == s->len || !hf_is_word(hf_utf8_next(s->text + end, s->len - end, &n));
}

/* The flags lstrip and rstrip swallow the whitespace around the token. */
static void swallow_spaces(const struct hf_added_scan *s, const struct hf_added_token *t,
                           size_t *begin, size_t *end) {
    size_t n;
    while (t->lstrip && *begin > s->from && hf_is_space(hf_utf8_last(s->text, *begin, &n)))
        *begin -= n;
    while (t->rstrip && *end < s->len &&
           hf_is_space(hf_utf8_next(s->text + *end, s->len - *end, &n)))
        *end += n;
}

static bool find_token(struct hf_added_scan *s) {
    const struct trie *trie = s->normalized ? &s->added->normal : &s->added->raw;
    while (s->search < s->len) {
        size_t begin = s->search, n = 0;
        int32_t i = trie_longest(trie, s->text + begin, s->len - begin, &n);
        if (i < 0) {
            s->search++;
            continue;
        }
        const struct hf_added_token *t = &s->added->tokens[i];
        if (t->special && touches_plain(s, begin, begin + n)) {
            bool inside =
                begin >= s->plain[s->next_plain].begin && begin + n <= s->plain[s->next_plain].end;
            s->search += inside ? n : 1; /* none of the format's own may be passed over */
            continue;
        }
        s->search = begin + n; /* a rejected match is passed over whole, as the reference does */
        if (t->single_word && !stands_alone(s, begin, begin + n))
            continue;
        s->begin = begin;
        s->end = begin + n;
        swallow_spaces(s, t, &s->begin, &s->end);
        s->token = t;
        return true;
    }
    return false;
}

bool hf_added_next(struct hf_added_scan *s, const struct hf_added_token **ret, size_t *ret_begin,
                   size_t *ret_end) {
    if (!s->pending && !find_token(s)) {
        *ret = NULL;
        *ret_begin = s->from;
        *ret_end = s->len;
        s->from = s->len;
        s->search = s->len;
        return *ret_begin < *ret_end;
    }
    if (s->from < s->begin) {
        *ret = NULL;
        *ret_begin = s->from;
        *ret_end = s->begin;
        s->from = s->begin;
        s->pending = true;
        return true;
    }
    *ret = s->token;
    *ret_begin = s->begin;
    *ret_end = s->end;
    s->from = s->end;
    s->pending = false;
    return true;
}
