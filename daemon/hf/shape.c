/* shape.c: cuts messages into texts and the words that a chat template may look for. What
 * the template makes of them is learnt by running it (template.c); this file only decides
 * what it gets to see. */
#include "hf/shape.h"
#include "hf/pieces.h"
#include "base/text.h"
#include <string.h>

#define MAX_WORDS 1000
#define MAX_PARTS 256 /* of one message */

/* ---- words ------------------------------------------------------------------------ */

static void add_word(struct hf_words *w, const struct hf_tokenizer *t, const char *s, size_t len) {
    bool odd = false;
    for (size_t i = 0; i < len; i++)
        odd |= s[i] && strchr("<>[]|/#", s[i]) != NULL;
    if (!odd || len < 3 || len > 64)
        return;
    w->word = cai_realloc(w->word, w->n + 1, sizeof *w->word);
    w->word[w->n++] = (struct hf_word){cai_strndup(s, len), hf_tokenizer_meets_special(t, s, len)};
}

/* Those inside longer ones are found with the longer ones' quotes. */
struct hf_words hf_words_find(const char *source, const struct hf_tokenizer *t) {
    struct hf_words w = {0};
    for (const char *s = source; *s && w.n < MAX_WORDS; s++) {
        if (*s != '\'' && *s != '"')
            continue;
        const char *end = s + 1;
        while (*end && *end != *s && *end != '\\')
            end++;
        add_word(&w, t, s + 1, (size_t)(end - s - 1));
    }
    return w;
}

void hf_words_free(struct hf_words *w) {
    for (size_t i = 0; i < w->n; i++)
        free(w->word[i].text);
    free(w->word);
    *w = (struct hf_words){0};
}

/* The words that a text holds. */
struct held {
    const char *word[MAX_WORDS]; /* that may be fixed */
    size_t n;
    bool special; /* and one that may not */
};

static struct held find_held(const struct hf_words *w, const char *text) {
    struct held h;
    h.n = 0;
    h.special = false;
    for (size_t i = 0; i < w->n; i++) {
        bool there = strstr(text, w->word[i].text) != NULL;
        if (there && !w->word[i].special)
            h.word[h.n++] = w->word[i].text;
        h.special |= there && w->word[i].special;
    }
    return h;
}

/* The first word at or after `from`, together with those that overlap or touch it. */
static bool next_word(const struct held *h, const char *text, size_t from, struct hf_range *ret) {
    *ret = (struct hf_range){SIZE_MAX, 0};
    for (size_t i = 0; i < h->n; i++) {
        const char *hit = strstr(text + from, h->word[i]);
        size_t at = hit ? (size_t)(hit - text) : SIZE_MAX;
        if (at < ret->begin)
            *ret = (struct hf_range){at, at + strlen(h->word[i])};
    }
    if (ret->begin == SIZE_MAX)
        return false;
    for (size_t at = ret->begin; at <= ret->end; at++)
        for (size_t i = 0; i < h->n; i++) {
            size_t len = strlen(h->word[i]);
            if (at + len > ret->end && strncmp(text + at, h->word[i], len) == 0)
                ret->end = at + len;
        }
    return true;
}

/* ---- parts ------------------------------------------------------------------------ */

static void push(struct hf_shape *s, size_t message, struct hf_range r, bool text) {
    struct hf_part *last = s->n ? &s->parts[s->n - 1] : NULL;
    if (last && !text && !last->text && last->message == message) {
        last->len = r.end - last->begin;
        return;
    }
    s->parts = cai_realloc(s->parts, s->n + 1, sizeof *s->parts);
    s->parts[s->n++] = (struct hf_part){message, r.begin, r.end - r.begin, text};
}

/* What stands between words, if anything does. */
static void push_between(struct hf_shape *s, size_t message, const char *text, struct hf_range r) {
    CAI_AUTO(mem) char *copy = cai_strndup(text + r.begin, r.end - r.begin);
    if (r.end > r.begin)
        push(s, message, r, !hf_is_blank(copy));
}

static void cut(struct hf_shape *s, const struct held *h, size_t message, const char *text) {
    size_t at = 0, first = s->n;
    struct hf_range word;
    while (s->n - first <= MAX_PARTS && next_word(h, text, at, &word)) {
        push_between(s, message, text, (struct hf_range){at, word.begin});
        push(s, message, word, false);
        at = word.end;
    }
    push_between(s, message, text, (struct hf_range){at, strlen(text)});
}

/* Whether the parts from `first` on may stay as they are. */
static bool is_harmless(const struct hf_shape *s, size_t first, const struct hf_tokenizer *t,
                        const char *text) {
    for (size_t i = first; i < s->n; i++)
        if (!s->parts[i].text &&
            hf_tokenizer_meets_special(t, text + s->parts[i].begin, s->parts[i].len))
            return false;
    return s->n - first <= MAX_PARTS;
}

static void add_message(struct hf_shape *s, const struct hf_words *w, const struct hf_tokenizer *t,
                        size_t message, const char *text, enum hf_fix fix) {
    struct held h = find_held(w, text);
    size_t first = s->n;
    bool cuts = h.n && fix != HF_FIX_NOTHING;
    if (cuts)
        cut(s, &h, message, text);
    else
        push(s, message, (struct hf_range){0, strlen(text)},
             fix != HF_FIX_WORDS_AND_BLANKS || !hf_is_blank(text));
    if (!is_harmless(s, first, t, text)) {
        cuts = false;
        s->n = first;
        push(s, message, (struct hf_range){0, strlen(text)}, true);
    }
    s->exact |= h.special || (h.n && !cuts);
}

struct hf_shape hf_shape_new(const struct hf_words *words, const struct hf_tokenizer *t,
                             const struct hf_message *messages, size_t n, enum hf_fix fix) {
    struct hf_shape s = {0};
    for (size_t i = 0; i < n; i++)
        add_message(&s, words, t, i, messages[i].text, fix);
    s.text = cai_alloc((s.n + 1) * sizeof *s.text);
    for (size_t i = 0; i < s.n; i++) {
        if (s.parts[i].text)
            s.text[s.num_texts++] = i;
        s.fixed |= !s.parts[i].text;
    }
    return s;
}

void hf_shape_free(struct hf_shape *s) {
    free(s->parts);
    free(s->text);
    *s = (struct hf_shape){0};
}

/* ---- strings ---------------------------------------------------------------------- */

char *hf_shape_key(const struct hf_shape *s, const struct hf_message *messages, bool generate) {
    struct cai_buf b = {0};
    for (size_t i = 0; i < s->n; i++) {
        const struct hf_part *p = &s->parts[i];
        if (i == 0 || p->message != s->parts[i - 1].message)
            cai_buf_putc(&b, messages[p->message].role[0]);
        if (p->text)
            cai_buf_putc(&b, '_');
        else
            cai_buf_printf(&b, "%zu:%.*s", p->len, (int)p->len,
                           messages[p->message].text + p->begin);
    }
    cai_buf_puts(&b, generate ? "+" : "");
    return cai_buf_detach(&b);
}

char **hf_shape_texts(const struct hf_shape *s, const struct hf_message *messages) {
    char **texts = cai_alloc((s->num_texts + 1) * sizeof *texts);
    for (size_t i = 0; i < s->num_texts; i++) {
        const struct hf_part *p = &s->parts[s->text[i]];
        texts[i] = cai_strndup(messages[p->message].text + p->begin, p->len);
    }
    return texts;
}

char **hf_shape_contents(const struct hf_shape *s, const struct hf_message *messages, size_t n,
                         char *const *texts) {
    char **contents = cai_alloc((n + 1) * sizeof *contents);
    size_t text = 0;
    for (size_t i = 0, at = 0; i < n; i++) {
        struct cai_buf b = {0};
        for (; at < s->n && s->parts[at].message == i; at++) {
            const struct hf_part *p = &s->parts[at];
            if (p->text)
                cai_buf_puts(&b, texts[text++]);
            else
                cai_buf_append(&b, messages[i].text + p->begin, p->len);
        }
        contents[i] = cai_buf_detach(&b);
    }
    return contents;
}

void hf_strings_free(char **strings, size_t n) {
    for (size_t i = 0; strings && i < n; i++)
        free(strings[i]);
    free(strings);
}
