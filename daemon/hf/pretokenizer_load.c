/* pretokenizer_load.c: reads tokenizer.json's "pre_tokenizer" into a chain of steps; what is
 * not known is refused by name. Not for running the steps (pretokenizer.c). */
#include "hf/charclass.h"
#include "hf/json.h"
#include "hf/pretokenizer_steps.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <string.h>

#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

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
    } kinds[] = {{"ByteLevel", load_byte_level},    {"Split", load_split},
                 {"Digits", load_digits},           {"Metaspace", load_metaspace},
                 {"Whitespace", load_whitespace},   {"WhitespaceSplit", load_whitespace_split},
                 {"Punctuation", load_punctuation}, {"CharDelimiterSplit", load_delimiter},
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
    if (p->n >= HF_PRE_MAX_STEPS - 1)
        return cai_fail(CAI_ELIMIT, "%s: pre_tokenizer has more than %d steps", path,
                        HF_PRE_MAX_STEPS - 2);
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
