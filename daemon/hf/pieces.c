/* pieces.c: takes what a chat template made of marked texts apart into literals and trim
 * rules, and puts real texts in. Not for running templates (template_run.c). */
#include "hf/pieces.h"
#include "hf/unicode.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/text.h"
#include <string.h>

/* Left and right of a wrapped mark: each rule leaves something else of them. */
#define WRAP_LEFT "\n\n \t\n"
#define WRAP_RIGHT "\n\t \n"

char *hf_mark_plain(size_t i) {
    return cai_format("qzCaiMark%zuxq", i); /* no mark is a part of another */
}

char *hf_mark_wrapped(size_t i) {
    return cai_format(WRAP_LEFT "qzCaiMark%zuxq" WRAP_RIGHT, i);
}

char *hf_mark_random(size_t i, uint32_t k) {
    static const char *const ends[] = {"",    " ",    "\n",    "\n\n",    "\t",
                                       " \n", "\r\n", "  \n ", "\xC2\xA0"};
    static const char *const words[] = {
        "Sure", "I'd say \"no\"",           "a < b & c > d", "caf\xC3\xA9", "{{ x }}",
        "1, 2", "\xE4\xBD\xA0\xE5\xA5\xBD", "{% if %}",      "one\n\ntwo",  "\\n",
        "it's", "\xF0\x9F\x98\x80",         "a\tb",          "\n  - item",  "100%"};
    struct cai_key key = cai_key_make(1, k, "hf/template", i, 0);
    struct cai_buf b = {0};
    cai_buf_puts(&b, ends[cai_rng_below(key, 0, CAI_COUNT(ends))]);
    cai_buf_printf(&b, "m%zu", i); /* never blank */
    for (uint64_t w = 0, n = 1 + cai_rng_below(key, 1, 6); w < n; w++)
        cai_buf_printf(&b, " %s", words[cai_rng_below(key, 2 + w, CAI_COUNT(words))]);
    cai_buf_puts(&b, ends[cai_rng_below(key, 9, CAI_COUNT(ends))]);
    return cai_buf_detach(&b);
}

/* What Python's str.strip takes off. */
static bool is_python_space(uint32_t c) {
    return hf_is_space(c) || (c >= 0x1C && c <= 0x1F);
}

static bool goes(enum hf_trim rule, uint32_t c) {
    return rule == HF_TRIM_SPACE ? is_python_space(c) : rule == HF_TRIM_NEWLINES && c == '\n';
}

static void trim(enum hf_trim left, enum hf_trim right, const char **text, size_t *len) {
    size_t n;
    while (*len && goes(left, hf_utf8_next(*text, *len, &n))) {
        *text += n;
        *len -= n;
    }
    while (*len && goes(right, hf_utf8_last(*text, *len, &n)))
        *len -= n;
}

void hf_pieces_trim(const struct hf_slot *s, const char *text, const char **ret, size_t *ret_len) {
    *ret = text;
    *ret_len = strlen(text);
    trim(s->left, s->right, ret, ret_len);
}

bool hf_is_blank(const char *text) {
    size_t len = strlen(text);
    trim(HF_TRIM_SPACE, HF_TRIM_NONE, &text, &len);
    return len == 0;
}

void hf_pieces_free(struct hf_pieces *p) {
    for (size_t i = 0; p->literal && i <= p->n; i++)
        cai_buf_free(&p->literal[i]);
    free(p->literal);
    free(p->slot);
    *p = (struct hf_pieces){0};
}

/* ---- taking apart ----------------------------------------------------------------- */

struct gap {
    const char *begin;
    size_t len;
};

struct mark {
    size_t text, begin, end;
};

static int by_place(const void *a, const void *b) {
    const struct mark *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Where the marks are, in the order of the text; each must be there exactly once, or not at
 * all when it is optional. */
static int find_marks(const char *path, size_t n, const struct hf_source *of, const char *text,
                      struct mark *ret, size_t *ret_n) {
    *ret_n = 0;
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(mem) char *name = hf_mark_plain(i);
        const char *hit = strstr(text, name);
        size_t message = of ? of[i].message : i;
        if (!hit && of && of[i].optional)
            continue;
        if (!hit)
            return cai_fail(CAI_EINPUT,
                            "%s: the chat template leaves out or changes the text of "
                            "message %zu",
                            path, message);
        if (strstr(hit + 1, name))
            return cai_fail(CAI_EINPUT,
                            "%s: the chat template repeats message %zu, which is not "
                            "supported",
                            path, message);
        size_t at = (size_t)(hit - text);
        ret[(*ret_n)++] = (struct mark){i, at, at + strlen(name)};
    }
    qsort(ret, *ret_n, sizeof *ret, by_place);
    return 0;
}

/* The text between the marks: n + 1 gaps. The first time (`order`) the slots get their
 * texts; the second time they must stand in the same order. */
static int find_gaps(const char *path, const char *text, const struct hf_source *of, bool order,
                     struct gap *gap, struct hf_pieces *p) {
    CAI_AUTO(mem) struct mark *mark = cai_alloc((p->texts + 1) * sizeof *mark);
    size_t at = 0, n;
    CAI_TRY(find_marks(path, p->texts, of, text, mark, &n));
    if (order)
        p->n = n;
    for (size_t i = 0; i < p->n; i++) {
        gap[i] = (struct gap){text + at, mark[i].begin - at};
        at = mark[i].end;
        if (order)
            p->slot[i].text = mark[i].text;
        else if (n != p->n || p->slot[i].text != mark[i].text)
            return cai_fail(CAI_EINPUT,
                            "%s: the chat template orders messages by what they say, "
                            "which is not supported",
                            path);
    }
    gap[p->n] = (struct gap){text + at, strlen(text + at)};
    return 0;
}

/* Whether `gap` is: what `right` leaves of the right wrap, the literal, what `left`
 * leaves of the left wrap. */
static bool gap_is(const struct gap *gap, bool first, enum hf_trim right,
                   const struct cai_buf *literal, bool last, enum hf_trim left) {
    const char *r = WRAP_RIGHT, *l = WRAP_LEFT;
    size_t rlen = first ? 0 : strlen(r), llen = last ? 0 : strlen(l);
    if (!first)
        trim(HF_TRIM_NONE, right, &r, &rlen);
    if (!last)
        trim(left, HF_TRIM_NONE, &l, &llen);
    if (gap->len != rlen + literal->len + llen)
        return false;
    return memcmp(gap->begin, r, rlen) == 0 &&
           (!literal->len || memcmp(gap->begin + rlen, literal->data, literal->len) == 0) &&
           memcmp(gap->begin + rlen + literal->len, l, llen) == 0;
}

static bool find_rules(const struct gap *gap, size_t i, struct hf_pieces *p) {
    bool first = i == 0, last = i == p->n;
    for (int r = 0; r < (first ? 1 : 3); r++)
        for (int l = 0; l < (last ? 1 : 3); l++) {
            if (!gap_is(gap, first, (enum hf_trim)r, &p->literal[i], last, (enum hf_trim)l))
                continue;
            if (!first)
                p->slot[i - 1].right = (enum hf_trim)r;
            if (!last)
                p->slot[i].left = (enum hf_trim)l;
            return true;
        }
    return false;
}

/* The message whose text stands at slot i. */
static size_t message_at(const struct hf_pieces *p, const struct hf_source *of, size_t i) {
    size_t text = p->n ? p->slot[i < p->n ? i : p->n - 1].text : 0;
    return of && p->n ? of[text].message : text;
}

static int take_apart(const char *path, const struct hf_source *of, const char *plain,
                      const char *wrapped, struct gap *gap, struct hf_pieces *p) {
    CAI_TRY(find_gaps(path, plain, of, true, gap, p));
    for (size_t i = 0; i <= p->n; i++)
        cai_buf_append(&p->literal[i], gap[i].begin, gap[i].len);
    CAI_TRY(find_gaps(path, wrapped, of, false, gap, p));
    for (size_t i = 0; i <= p->n; i++)
        if (!find_rules(&gap[i], i, p))
            return cai_fail(CAI_EINPUT,
                            "%s: the chat template treats whitespace around message %zu "
                            "in a way that is not supported",
                            path, message_at(p, of, i));
    return 0;
}

int hf_pieces_build(const char *path, size_t n, const struct hf_source *of, const char *plain,
                    const char *wrapped, struct hf_pieces *ret) {
    struct hf_pieces p = {.texts = n, .n = n};
    p.literal = cai_alloc((n + 1) * sizeof *p.literal);
    p.slot = cai_alloc((n + 1) * sizeof *p.slot);
    for (size_t i = 0; i < n; i++)
        p.slot[i].opening = SIZE_MAX;
    CAI_AUTO(mem) struct gap *gap = cai_alloc((n + 1) * sizeof *gap);
    int rc = take_apart(path, of, plain, wrapped, gap, &p);
    if (rc < 0) {
        hf_pieces_free(&p);
        return rc;
    }
    *ret = p;
    return 0;
}

/* ---- putting in ------------------------------------------------------------------- */

void hf_pieces_fill(const struct hf_pieces *p, const char *const *texts, struct cai_buf *ret) {
    for (size_t i = 0; i <= p->n; i++) {
        cai_buf_append(ret, p->literal[i].data ? p->literal[i].data : "", p->literal[i].len);
        if (i == p->n)
            break;
        const char *text;
        size_t len;
        hf_pieces_trim(&p->slot[i], texts[p->slot[i].text], &text, &len);
        cai_buf_append(ret, text, len);
    }
}

/* A few characters around the first difference, safe on a terminal. */
static void excerpt(const char *s, size_t len, size_t at, struct cai_buf *out) {
    size_t begin = at > 24 ? at - 24 : 0, end = at + 24 < len ? at + 24 : len;
    while (begin > 0 && ((unsigned char)s[begin] & 0xC0) == 0x80)
        begin--;
    while (end < len && ((unsigned char)s[end] & 0xC0) == 0x80)
        end++;
    cai_text_printable(out, s + begin, end - begin, false);
}

int hf_pieces_check(const char *path, const struct hf_pieces *p, const char *const *texts,
                    const char *got) {
    CAI_AUTO(buf) struct cai_buf ours = {0};
    hf_pieces_fill(p, texts, &ours);
    CAI_TRY(cai_buf_status(&ours));
    const char *want = ours.data ? ours.data : "";
    size_t len = strlen(got), at = 0;
    while (at < len && at < ours.len && got[at] == want[at])
        at++;
    if (at == len && at == ours.len)
        return 0;
    CAI_AUTO(buf) struct cai_buf a = {0};
    CAI_AUTO(buf) struct cai_buf b = {0};
    excerpt(got, len, at, &a);
    excerpt(want, ours.len, at, &b);
    return cai_fail(CAI_EINPUT,
                    "%s: the chat template depends on what messages say, which is not "
                    "supported: at byte %zu it writes \"%s\" where its fixed parts give \"%s\"",
                    path, at, a.data ? a.data : "", b.data ? b.data : "");
}
