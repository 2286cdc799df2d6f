/* pretokenizer.c: the ways to cut a text into pieces, as a chain of steps; each piece goes
 * straight through to BPE. Not for added tokens, which are cut before
 * (added.c), nor for changing text (normalizer.c). */
#include "hf/pretokenizer.h"
#include "hf/charclass.h"
#include "hf/json.h"
#include "hf/split.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <string.h>

#define MAX_STEPS 32
#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

enum step_kind {
    STEP_WHOLE, /* nothing is cut */
    STEP_PATTERN,
    STEP_LITERAL,
    STEP_CLASS,       /* each character of `classes` is a match */
    STEP_PUNCTUATION, /* each punctuation character */
    STEP_WORDS,       /* \w+|[^\w\s]+ */
    STEP_LENGTH,      /* every `length` characters */
    STEP_METASPACE,
    STEP_SPELL /* bytes become characters of the byte alphabet for the steps after it */
};
enum behavior { ISOLATED, REMOVED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum scheme { PREPEND_FIRST, PREPEND_ALWAYS, PREPEND_NEVER };

struct step {
    enum step_kind kind;
    enum behavior behavior;
    bool invert;       /* gaps are the matches */
    bool prefix_space; /* a space before text that does not begin with one */
    const struct hf_splitter *splitter; /* of a pattern: by hand, or by Oniguruma */
    struct hf_regex *regex;
    char *literal; /* also Metaspace's replacement */
    size_t literal_len;
    unsigned classes;
    int64_t length;
    enum scheme scheme; /* Metaspace: when the replacement is put before a text */
    bool split;         /* Metaspace: cut before each replacement */
};

struct hf_pre {
    struct step steps[MAX_STEPS];
    int n;
    bool bytes;
    char *where; /* for the patterns' messages */
};

/* ---- reading ---------------------------------------------------------------------- */

static int load_step(const char *path, const json_t *o, struct hf_pre *p);

static struct step *new_step(struct hf_pre *p, enum step_kind kind) {
    struct step *s = &p->steps[p->n++];
    s->kind = kind;
    return s;
}

/* By its name; absent, `fallback` when that is not negative. */
static int load_name(const char *path, const char *what, const json_t *o, const char *key,
                     const char *const *names, size_t n, int fallback, int *ret) {
    const char *name;
    if (fallback >= 0 && !json_object_get(o, key)) {
        *ret = fallback;
        return 0;
    }
    CAI_TRY(hf_json_string(path, o, key, &name));
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0) {
            *ret = (int)i;
            return 0;
        }
    return cai_fail(CAI_EINPUT, "%s: pre_tokenizer %s: %s \"%.32s\" is not known", path, what, key,
                    name);
}

static int load_behavior(const char *path, const char *what, const json_t *o, int fallback,
                         enum behavior *ret) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    int found = 0;
    CAI_TRY(load_name(path, what, o, "behavior", names, CAI_COUNT(names), fallback, &found));
    *ret = (enum behavior)found;
    return 0;
}

static int set_pattern(struct hf_pre *p, struct step *s, const char *pattern, size_t len) {
    s->splitter = hf_splitter_find(pattern, len);
    return s->splitter ? 0 : hf_regex_new(p->where, pattern, len, &s->regex);
}

static int load_split(const char *path, const json_t *o, struct hf_pre *p) {
    const json_t *pattern = json_object_get(o, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    if (!json_is_string(regex ? regex : literal))
        return cai_fail(CAI_EINPUT,
                        "%s: pre_tokenizer Split: pattern must be {\"Regex\": …} or "
                        "{\"String\": …}",
                        path);
    struct step *s = new_step(p, regex ? STEP_PATTERN : STEP_LITERAL);
    CAI_TRY(load_behavior(path, "Split", o, -1, &s->behavior));
    CAI_TRY(hf_json_bool_or(path, o, "invert", false, &s->invert));
    if (regex)
        return set_pattern(p, s, json_string_value(regex), json_string_length(regex));
    s->literal_len = json_string_length(literal);
    s->literal = cai_strndup(json_string_value(literal), s->literal_len);
    if (s->literal_len == 0)
        return cai_fail(CAI_EINPUT, "%s: pre_tokenizer Split: the pattern is empty", path);
    return 0;
}

/* A member that must be one character. */
static int load_character(const char *path, const char *what, const json_t *o, const char *key,
                          struct step *s) {
    const char *text;
    size_t n = 0;
    CAI_TRY(hf_json_string(path, o, key, &text));
    if (text[0])
        hf_utf8_next(text, strlen(text), &n);
    if (n == 0 || text[n])
        return cai_fail(CAI_EINPUT, "%s: pre_tokenizer %s: %s must be one character", path, what,
                        key);
    s->literal_len = n;
    s->literal = cai_strdup(text);
    return 0;
}

static int load_delimiter(const char *path, const json_t *o, struct hf_pre *p) {
    struct step *s = new_step(p, STEP_LITERAL);
    s->behavior = REMOVED;
    return load_character(path, "CharDelimiterSplit", o, "delimiter", s);
}

static int load_digits(const char *path, const json_t *o, struct hf_pre *p) {
    bool individual;
    CAI_TRY(hf_json_bool_or(path, o, "individual_digits", false, &individual));
    struct step *s = new_step(p, STEP_CLASS);
    s->classes = HF_DIGIT;
    s->behavior = individual ? ISOLATED : CONTIGUOUS;
    return 0;
}

static int load_whitespace_split(const char *path, const json_t *o, struct hf_pre *p) {
    (void)path;
    (void)o;
    struct step *s = new_step(p, STEP_CLASS);
    s->classes = HF_SPACE;
    s->behavior = REMOVED;
    return 0;
}

static int load_whitespace(const char *path, const json_t *o, struct hf_pre *p) {
    (void)path;
    (void)o;
    struct step *s = new_step(p, STEP_WORDS);
    s->behavior = REMOVED;
    s->invert = true;
    return 0;
}

static int load_punctuation(const char *path, const json_t *o, struct hf_pre *p) {
    struct step *s = new_step(p, STEP_PUNCTUATION);
    return load_behavior(path, "Punctuation", o, ISOLATED, &s->behavior);
}

static int load_length(const char *path, const json_t *o, struct hf_pre *p) {
    struct step *s = new_step(p, STEP_LENGTH);
    return hf_json_int_or(path, o, "length", 1, 1 << 20, 5, &s->length);
}

static int load_metaspace(const char *path, const json_t *o, struct hf_pre *p) {
    static const char *const schemes[] = {"first", "always", "never"};
    struct step *s = new_step(p, STEP_METASPACE);
    bool prefix;
    int scheme = PREPEND_ALWAYS;
    CAI_TRY(load_character(path, "Metaspace", o, "replacement", s));
    CAI_TRY(load_name(path, "Metaspace", o, "prepend_scheme", schemes, CAI_COUNT(schemes),
                      PREPEND_ALWAYS, &scheme));
    CAI_TRY(hf_json_bool_or(path, o, "add_prefix_space", true, &prefix)); /* the older name */
    CAI_TRY(hf_json_bool_or(path, o, "split", true, &s->split));
    if (!prefix && json_object_get(o, "prepend_scheme") && scheme != PREPEND_NEVER)
        return cai_fail(CAI_EINPUT,
                        "%s: pre_tokenizer Metaspace: add_prefix_space is false and "
                        "prepend_scheme is \"%s\"; leave one of them out",
                        path, schemes[scheme]);
    s->scheme = prefix ? (enum scheme)scheme : PREPEND_NEVER;
    return 0;
}

static int load_byte_level(const char *path, const json_t *o, struct hf_pre *p) {
    bool use_regex;
    CAI_TRY(hf_json_bool_or(path, o, "use_regex", true, &use_regex));
    struct step *s = new_step(p, use_regex ? STEP_PATTERN : STEP_WHOLE);
    CAI_TRY(hf_json_bool_or(path, o, "add_prefix_space", true, &s->prefix_space));
    p->bytes = true;
    return use_regex ? set_pattern(p, s, GPT2_PATTERN, strlen(GPT2_PATTERN)) : 0;
}

static int load_sequence(const char *path, const json_t *o, struct hf_pre *p) {
    const json_t *list = json_object_get(o, "pretokenizers");
    if (!json_is_array(list))
        return cai_fail(CAI_EINPUT,
                        "%s: pre_tokenizer Sequence: pretokenizers must be a list, found "
                        "%s",
                        path, hf_json_kind(list));
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) CAI_TRY(load_step(path, v, p));
    return 0;
}

static int load_kind(const char *path, const char *type, const json_t *o, struct hf_pre *p) {
    static const struct {
        const char *type;
        int (*load)(const char *path, const json_t *o, struct hf_pre *p);
    } kinds[] = {{"ByteLevel", load_byte_level},
                 {"Split", load_split},
                 {"Digits", load_digits},
                 {"Metaspace", load_metaspace},
                 {"Whitespace", load_whitespace},
                 {"WhitespaceSplit", load_whitespace_split},
                 {"Punctuation", load_punctuation},
                 {"CharDelimiterSplit", load_delimiter},
                 {"FixedLength", load_length}};
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].load(path, o, p);
    return cai_fail(CAI_EINPUT,
                    "%s: pre_tokenizer \"%.32s\" is not supported; expected ByteLevel, Split, "
                    "Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, "
                    "CharDelimiterSplit, FixedLength or a Sequence of these",
                    path, type);
}

static int load_step(const char *path, const json_t *o, struct hf_pre *p) {
    const char *type;
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "%s: pre_tokenizer must be an object or null, found %s", path,
                        hf_json_kind(o));
    CAI_TRY(hf_json_string(path, o, "type", &type));
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(path, o, p);
    if (p->bytes) { /* what follows ByteLevel sees its alphabet */
        new_step(p, STEP_SPELL);
        p->bytes = false;
    }
    if (p->n >= MAX_STEPS - 1)
        return cai_fail(CAI_ELIMIT, "%s: pre_tokenizer has more than %d steps", path,
                        MAX_STEPS - 2);
    return load_kind(path, type, o, p);
}

int hf_pre_load(const char *path, const json_t *o, struct hf_pre **ret) {
    struct hf_pre *p = cai_alloc(sizeof *p);
    p->where = cai_format("%s: pre_tokenizer", path);
    int rc = !o || json_is_null(o) ? 0 : load_step(path, o, p);
    if (rc < 0) {
        hf_pre_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

void hf_pre_free(struct hf_pre *p) {
    if (!p)
        return;
    for (int i = 0; i < p->n; i++) {
        hf_regex_free(p->steps[i].regex);
        free(p->steps[i].literal);
    }
    free(p->where);
    free(p);
}

bool hf_pre_is_bytes(const struct hf_pre *p) {
    return p->bytes;
}

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
    bool wanted = s->scheme == PREPEND_ALWAYS || (s->scheme == PREPEND_FIRST && r->at_start && at <= 0);
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
