/* pretokenizer.c: Split, Digits, ByteLevel, Sequence and none, as a chain of steps; each
 * piece goes straight through to BPE. Not for added tokens, which are cut before
 * (added.c), nor for changing text (normalizer.c). */
#include "hf/pretokenizer.h"
#include "hf/json.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <string.h>

#define MAX_STEPS 32
#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

enum step_kind { STEP_PATTERN, STEP_LITERAL, STEP_DIGITS, STEP_WHOLE };
enum behavior { ISOLATED, REMOVED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };

struct step {
    enum step_kind kind; /* what a match is; STEP_WHOLE: nothing is cut */
    enum behavior behavior;
    bool invert;       /* gaps are the matches */
    bool prefix_space; /* a space before text that does not begin with one */
    struct hf_regex *regex;
    char *literal;
    size_t literal_len;
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

static int load_behavior(const char *path, const json_t *o, enum behavior *ret) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name;
    CAI_TRY(hf_json_string(path, o, "behavior", &name));
    for (size_t i = 0; i < CAI_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum behavior)i;
            return 0;
        }
    return cai_fail(CAI_EINPUT,
                    "%s: pre_tokenizer Split: behavior \"%.32s\" is not known; expected "
                    "Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous",
                    path, name);
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
    CAI_TRY(load_behavior(path, o, &s->behavior));
    CAI_TRY(hf_json_bool_or(path, o, "invert", false, &s->invert));
    if (regex)
        return hf_regex_new(p->where, json_string_value(regex), json_string_length(regex),
                            &s->regex);
    s->literal_len = json_string_length(literal);
    s->literal = cai_strndup(json_string_value(literal), s->literal_len);
    if (s->literal_len == 0)
        return cai_fail(CAI_EINPUT, "%s: pre_tokenizer Split: the pattern is empty", path);
    return 0;
}

static int load_digits(const char *path, const json_t *o, struct hf_pre *p) {
    bool individual;
    CAI_TRY(hf_json_bool_or(path, o, "individual_digits", false, &individual));
    new_step(p, STEP_DIGITS)->behavior = individual ? ISOLATED : CONTIGUOUS;
    return 0;
}

static int load_byte_level(const char *path, const json_t *o, struct hf_pre *p) {
    bool use_regex;
    CAI_TRY(hf_json_bool_or(path, o, "use_regex", true, &use_regex));
    struct step *s = new_step(p, use_regex ? STEP_PATTERN : STEP_WHOLE);
    CAI_TRY(hf_json_bool_or(path, o, "add_prefix_space", true, &s->prefix_space));
    p->bytes = true;
    return use_regex ? hf_regex_new(p->where, GPT2_PATTERN, strlen(GPT2_PATTERN), &s->regex) : 0;
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

static int load_step(const char *path, const json_t *o, struct hf_pre *p) {
    static const struct {
        const char *type;
        int (*load)(const char *path, const json_t *o, struct hf_pre *p);
    } kinds[] = {{"ByteLevel", load_byte_level},
                 {"Split", load_split},
                 {"Digits", load_digits},
                 {"Sequence", load_sequence}};
    const char *type;
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "%s: pre_tokenizer must be an object or null, found %s", path,
                        hf_json_kind(o));
    CAI_TRY(hf_json_string(path, o, "type", &type));
    if (p->n == MAX_STEPS)
        return cai_fail(CAI_ELIMIT, "%s: pre_tokenizer has more than %d steps", path, MAX_STEPS);
    if (p->bytes)
        return cai_fail(CAI_EINPUT,
                        "%s: pre_tokenizer \"%.32s\" after ByteLevel is not supported; "
                        "ByteLevel must come last",
                        path, type);
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].load(path, o, p);
    return cai_fail(CAI_EINPUT,
                    "%s: pre_tokenizer \"%.32s\" is not supported; expected ByteLevel, "
                    "Split, Digits or a Sequence of these",
                    path, type);
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

static int find_pattern(struct hf_pre_run *r, const struct step *s, const char *text, size_t len,
                        struct parts *p) {
    struct hf_find f = hf_find_begin(s->regex, r->matcher, text, len);
    size_t prev = 0, b, e;
    int rc;
    while ((rc = hf_find_next(&f, &b, &e)) > 0) {
        if (prev != b)
            add_part(p, prev, b, s->invert);
        add_part(p, b, e, !s->invert);
        prev = e;
    }
    if (rc == 0 && prev != len)
        add_part(p, prev, len, s->invert);
    return rc;
}

static void find_literal(const struct step *s, const char *text, size_t len, struct parts *p) {
    size_t prev = 0;
    for (const char *hit; (hit = memmem(text + prev, len - prev, s->literal, s->literal_len));) {
        size_t b = (size_t)(hit - text);
        if (prev != b)
            add_part(p, prev, b, s->invert);
        add_part(p, b, b + s->literal_len, !s->invert);
        prev = b + s->literal_len;
    }
    if (prev != len)
        add_part(p, prev, len, s->invert);
}

/* Each numeric character is a match of its own; runs of others are gaps. */
static void find_digits(const char *text, size_t len, struct parts *p) {
    size_t gap = 0, n;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c = hf_utf8_next(text + i, len - i, &n);
        if (!hf_is_numeric(c))
            continue;
        if (gap != i)
            add_part(p, gap, i, false);
        add_part(p, i, i + n, true);
        gap = i + n;
    }
    if (gap != len)
        add_part(p, gap, len, false);
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
    struct hf_find f = hf_find_begin(s->regex, r->matcher, text, len);
    size_t prev = 0, b, e;
    int rc;
    while ((rc = hf_find_next(&f, &b, &e)) > 0) {
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
    if (s->kind == STEP_PATTERN && s->behavior == ISOLATED)
        return run_isolated(r, i, s, text, len, at);
    struct parts p = {0};
    int rc = 0;
    if (s->kind == STEP_PATTERN)
        rc = find_pattern(r, s, text, len, &p);
    else if (s->kind == STEP_LITERAL)
        find_literal(s, text, len, &p);
    else
        find_digits(text, len, &p);
    apply_behavior(s->behavior, &p);
    if (rc == 0)
        rc = run_parts(r, i, s, &p, text, at);
    free(p.at);
    return rc;
}

static int run_step(struct hf_pre_run *r, int i, const char *text, size_t len, ptrdiff_t at) {
    if (i == r->pre->n) {
        hf_bpe_encode(r->bpe, r->work, text, len, at, r->sink);
        return 0;
    }
    const struct step *s = &r->pre->steps[i];
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
