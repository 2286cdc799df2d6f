/* pretokenizer.c: the ways to cut a text into pieces, as a chain of steps; each piece goes
 * straight through to BPE. Not for reading the chain (pretokenizer_load.c), nor for added
 * tokens, which are cut before (added.c), nor for changing text (normalizer.c). */
#include "hf/charclass.h"
#include "hf/pretokenizer_steps.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <string.h>

/* ---- cutting ---------------------------------------------------------------------- */

struct part {
    size_t begin, end;
    bool match;
};

struct parts {
    struct part *at;
    size_t n, cap;
};

static void add_part(struct parts *p, size_t begin, size_t end, bool match) {
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 64;
        p->at = cai_realloc(p->at, p->cap, sizeof *p->at);
    }
    p->at[p->n++] = (struct part){begin, end, match};
}

static int run_step(struct hf_pre_run *r, int i, const char *text, size_t len, ptrdiff_t at);

/* The matches of a step in a text, one after the other. */
struct finder {
    const struct step *step;
    const char *text;
    size_t len, at;
    struct hf_split split;
    struct hf_find find;
};

static struct finder find_begin(struct hf_pre_run *r, const struct step *s, const char *text,
                                size_t len) {
    struct finder f = {.step = s, .text = text, .len = len};
    if (s->splitter) {
        f.split = hf_split_begin(s->splitter, text, len);
    } else if (s->regex) {
        if (!r->matcher)
            r->matcher = hf_matcher_new();
        f.find = hf_find_begin(s->regex, r->matcher, text, len);
    }
    return f;
}

static int next_literal(struct finder *f, size_t *ret_begin, size_t *ret_end) {
    const char *hit =
        memmem(f->text + f->at, f->len - f->at, f->step->literal, f->step->literal_len);
    if (!hit)
        return 0;
    *ret_begin = (size_t)(hit - f->text);
    *ret_end = f->at = *ret_begin + f->step->literal_len;
    return 1;
}

static int next_character(struct finder *f, size_t *ret_begin, size_t *ret_end) {
    const uint16_t *classes = hf_classes();
    size_t n;
    for (; f->at < f->len; f->at += n) {
        uint32_t c = hf_utf8_next(f->text + f->at, f->len - f->at, &n);
        if (f->step->kind == STEP_CLASS ? !(classes[c] & f->step->classes) : !hf_is_punctuation(c))
            continue;
        *ret_begin = f->at;
        *ret_end = f->at += n;
        return 1;
    }
    return 0;
}

/* 2: a space; 1: of a word; 0: neither. */
static int word_kind(const struct finder *f, size_t at, size_t *ret_n) {
    unsigned c = hf_classes()[hf_utf8_next(f->text + at, f->len - at, ret_n)];
    return c & HF_SPACE ? 2 : (c & HF_WORD) != 0;
}

static int next_word(struct finder *f, size_t *ret_begin, size_t *ret_end) {
    size_t n;
    while (f->at < f->len && word_kind(f, f->at, &n) == 2)
        f->at += n;
    if (f->at == f->len)
        return 0;
    *ret_begin = f->at;
    int kind = word_kind(f, f->at, &n);
    while (f->at < f->len && word_kind(f, f->at, &n) == kind)
        f->at += n;
    *ret_end = f->at;
    return 1;
}

static int next_length(struct finder *f, size_t *ret_begin, size_t *ret_end) {
    size_t n;
    *ret_begin = f->at;
    for (int64_t i = 0; i < f->step->length && f->at < f->len; i++) {
        hf_utf8_next(f->text + f->at, f->len - f->at, &n);
        f->at += n;
    }
    *ret_end = f->at;
    return *ret_begin < *ret_end;
}

/* 1 and the match, 0 at the end, or a negative code. */
static int find_next(struct finder *f, size_t *ret_begin, size_t *ret_end) {
    switch (f->step->kind) {
    case STEP_PATTERN:
        return f->step->splitter ? hf_split_next(&f->split, ret_begin, ret_end)
                                 : hf_find_next(&f->find, ret_begin, ret_end);
    case STEP_LITERAL:
        return next_literal(f, ret_begin, ret_end);
    case STEP_CLASS:
    case STEP_PUNCTUATION:
        return next_character(f, ret_begin, ret_end);
    case STEP_WORDS:
        return next_word(f, ret_begin, ret_end);
    case STEP_LENGTH:
        return next_length(f, ret_begin, ret_end);
    case STEP_WHOLE:
    case STEP_METASPACE:
    case STEP_SPELL:
        break;
    }
    return 0;
}

static int find_parts(struct hf_pre_run *r, const struct step *s, const char *text, size_t len,
                      struct parts *p) {
    struct finder f = find_begin(r, s, text, len);
    size_t prev = 0, b, e;
    int rc;
    while ((rc = find_next(&f, &b, &e)) > 0) {
        if (prev != b)
            add_part(p, prev, b, s->invert);
        add_part(p, b, e, !s->invert);
        prev = e;
    }
    if (rc == 0 && prev != len)
        add_part(p, prev, len, s->invert);
    return rc;
}

/* A match joins what stands before it, unless that is a match too. */
static void merge_with_previous(struct parts *p) {
    size_t n = 0;
    bool previous = false;
    for (size_t i = 0; i < p->n; i++) {
        struct part x = p->at[i];
        if (x.match && !previous && n)
            p->at[n - 1].end = x.end;
        else
            p->at[n++] = x;
        previous = x.match;
    }
    p->n = n;
}

/* The same from the other end; filled from the back, then moved to the front. */
static void merge_with_next(struct parts *p) {
    size_t n = 0, cap = p->n;
    bool previous = false;
    for (size_t i = p->n; i-- > 0;) {
        struct part x = p->at[i];
        if (x.match && !previous && n)
            p->at[cap - n].begin = x.begin;
        else
            p->at[cap - ++n] = x;
        previous = x.match;
    }
    memmove(p->at, p->at + cap - n, n * sizeof *p->at);
    p->n = n;
}

static void merge_contiguous(struct parts *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (n && p->at[n - 1].match == p->at[i].match)
            p->at[n - 1].end = p->at[i].end;
        else
            p->at[n++] = p->at[i];
    }
    p->n = n;
}

static void apply_behavior(enum behavior b, struct parts *p) {
    if (p->n == 0)
        return;
    if (b == MERGED_WITH_PREVIOUS)
        merge_with_previous(p);
    else if (b == MERGED_WITH_NEXT)
        merge_with_next(p);
    else if (b == CONTIGUOUS)
        merge_contiguous(p);
}

static int run_parts(struct hf_pre_run *r, int i, const struct step *s, const struct parts *p,
                     const char *text, ptrdiff_t at) {
    int rc = 0;
    for (size_t k = 0; rc == 0 && k < p->n; k++) {
        const struct part *x = &p->at[k];
        if (x->begin == x->end || (s->behavior == REMOVED && x->match))
            continue;
        rc = run_step(r, i + 1, text + x->begin, x->end - x->begin, at + (ptrdiff_t)x->begin);
    }
    return rc;
}

/* The common case, without a list: every match and every gap is a piece. */
static int run_isolated(struct hf_pre_run *r, int i, const struct step *s, const char *text,
                        size_t len, ptrdiff_t at) {
    struct finder f = find_begin(r, s, text, len);
    size_t prev = 0, b, e;
    int rc;
    while ((rc = find_next(&f, &b, &e)) > 0) {
        if (prev != b)
            CAI_TRY(run_step(r, i + 1, text + prev, b - prev, at + (ptrdiff_t)prev));
        if (b != e)
            CAI_TRY(run_step(r, i + 1, text + b, e - b, at + (ptrdiff_t)b));
        prev = e;
    }
    if (rc == 0 && prev != len)
        rc = run_step(r, i + 1, text + prev, len - prev, at + (ptrdiff_t)prev);
    return rc;
}

static int cut(struct hf_pre_run *r, int i, const struct step *s, const char *text, size_t len,
               ptrdiff_t at) {
    if (s->kind == STEP_WHOLE)
        return run_step(r, i + 1, text, len, at);
    if (s->behavior == ISOLATED)
        return run_isolated(r, i, s, text, len, at);
    struct parts p = {0};
    int rc = find_parts(r, s, text, len, &p);
    apply_behavior(s->behavior, &p);
    if (rc == 0)
        rc = run_parts(r, i, s, &p, text, at);
    free(p.at);
    return rc;
}

/* ---- steps that change the text ------------------------------------------------------- */

/* How many bytes one byte of the text becomes. */
static size_t grown(const struct step *s, unsigned char byte) {
    if (s->kind == STEP_METASPACE)
        return byte == ' ' ? s->literal_len : 1;
    return hf_alphabet(byte) < 0x80 ? 1 : 2;
}

/* Ends of ids in the changed text, from the sink's `first` on, back into `text`. */
static void map_back(struct hf_pre_run *r, size_t first, const struct step *s, const char *text,
                     size_t len, size_t put_before, ptrdiff_t at) {
    size_t i = 0, changed = put_before;
    for (size_t k = first; k < r->sink->n; k++) { /* n stays 0 when ends are not wanted */
        for (; i < len && changed < r->sink->ends[k]; i++)
            changed += grown(s, (unsigned char)text[i]);
        r->sink->ends[k] = hf_offset(at, i);
    }
}

static int run_changed(struct hf_pre_run *r, int i, const struct step *s, const char *text,
                       size_t len, ptrdiff_t at) {
    const char *rep = s->literal;
    size_t n = s->literal_len;
    bool wanted =
        s->scheme == PREPEND_ALWAYS || (s->scheme == PREPEND_FIRST && r->at_start && at <= 0);
    bool there = n > 0 && len >= n && memcmp(text, rep, n) == 0;
    bool put = s->kind == STEP_METASPACE && wanted && !there && text[0] != ' ';
    CAI_AUTO(buf) struct cai_buf b = {0};
    if (put)
        cai_buf_append(&b, rep, n);
    for (size_t k = 0; k < len; k++) {
        unsigned char byte = (unsigned char)text[k];
        if (s->kind == STEP_SPELL)
            hf_utf8_put(&b, hf_alphabet(byte));
        else if (byte == ' ')
            cai_buf_append(&b, rep, n);
        else
            cai_buf_putc(&b, (char)byte);
    }
    CAI_TRY(cai_buf_status(&b));
    size_t first = r->sink->n, from = 0;
    int rc = 0;
    while (rc == 0 && from < b.len) {
        const char *hit = s->kind == STEP_METASPACE && s->split && from + 1 < b.len
                              ? memmem(b.data + from + 1, b.len - from - 1, rep, n)
                              : NULL;
        size_t end = hit ? (size_t)(hit - b.data) : b.len;
        rc = run_step(r, i + 1, b.data + from, end - from, (ptrdiff_t)from);
        from = end;
    }
    map_back(r, first, s, text, len, put ? n : 0, at);
    return rc;
}

static int run_step(struct hf_pre_run *r, int i, const char *text, size_t len, ptrdiff_t at) {
    if (i == r->pre->n) {
        hf_bpe_encode(r->bpe, r->work, text, len, at, r->sink);
        return 0;
    }
    const struct step *s = &r->pre->steps[i];
    if (s->kind == STEP_METASPACE || s->kind == STEP_SPELL)
        return run_changed(r, i, s, text, len, at);
    if (!s->prefix_space || text[0] == ' ')
        return cut(r, i, s, text, len, at);
    CAI_AUTO(mem) char *spaced = cai_alloc(len + 2);
    spaced[0] = ' ';
    memcpy(spaced + 1, text, len);
    return cut(r, i, s, spaced, len + 1, at - 1);
}

int hf_pre_encode(struct hf_pre_run *run, const char *text, size_t len, ptrdiff_t at) {
    return len ? run_step(run, 0, text, len, at) : 0;
}
