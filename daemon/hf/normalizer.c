/* normalizer.c: NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Nmt, ByteLevel, Replace,
 * Prepend, Strip, Sequence and none. Not for pre-tokenizing. */
#include "hf/normalizer.h"
#include "hf/json.h"
#include "hf/normal_form.h"
#include "hf/regex.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <string.h>
#include <utf8proc.h>

#define MAX_STEPS 32

enum kind {
    FORM,
    LOWERCASE,
    STRIP_ACCENTS,
    NMT,
    BYTE_LEVEL,
    REPLACE,
    REPLACE_PATTERN,
    PREPEND,
    STRIP
};

struct step {
    enum kind kind;
    enum hf_form form;
    struct hf_regex *regex;
    char *pattern, *content;
    size_t pattern_len;
    bool left, right;
};

struct hf_norm {
    struct step steps[MAX_STEPS];
    int n;
    char *where;
};

static int load_step(const char *path, const json_t *o, struct hf_norm *n);

static int load_sequence(const char *path, const json_t *o, struct hf_norm *n) {
    const json_t *list = json_object_get(o, "normalizers");
    if (!json_is_array(list))
        return cai_fail(CAI_EINPUT, "%s: normalizer Sequence: normalizers must be a list, found %s",
                        path, hf_json_kind(list));
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) CAI_TRY(load_step(path, v, n));
    return 0;
}

static int load_replace(const char *path, const json_t *o, struct hf_norm *n) {
    const json_t *pattern = json_object_get(o, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    const char *content;
    CAI_TRY(hf_json_string(path, o, "content", &content));
    if (!json_is_string(regex ? regex : literal))
        return cai_fail(CAI_EINPUT,
                        "%s: normalizer Replace: pattern must be {\"String\": …} or "
                        "{\"Regex\": …}",
                        path);
    struct step *s = &n->steps[n->n++];
    s->kind = regex ? REPLACE_PATTERN : REPLACE;
    s->content = cai_strdup(content);
    if (regex)
        return hf_regex_new(n->where, json_string_value(regex), json_string_length(regex),
                            &s->regex);
    s->pattern_len = json_string_length(literal);
    s->pattern = cai_strndup(json_string_value(literal), s->pattern_len);
    if (!s->pattern_len)
        return cai_fail(CAI_EINPUT, "%s: normalizer Replace: the pattern is empty", path);
    return 0;
}

static int load_prepend(const char *path, const json_t *o, struct hf_norm *n) {
    const char *content;
    CAI_TRY(hf_json_string(path, o, "prepend", &content));
    struct step *s = &n->steps[n->n++];
    s->kind = PREPEND;
    s->content = cai_strdup(content);
    return 0;
}

static int load_strip(const char *path, const json_t *o, struct hf_norm *n) {
    struct step *s = &n->steps[n->n++];
    s->kind = STRIP;
    CAI_TRY(hf_json_bool_or(path, o, "strip_left", true, &s->left));
    return hf_json_bool_or(path, o, "strip_right", true, &s->right);
}

/* Normalizers that have no settings. */
static bool load_simple(const char *type, struct hf_norm *n) {
    static const struct {
        const char *type;
        struct step step;
    } simple[] = {{"NFC", {.kind = FORM, .form = HF_NFC}},
                  {"NFD", {.kind = FORM, .form = HF_NFD}},
                  {"NFKC", {.kind = FORM, .form = HF_NFKC}},
                  {"NFKD", {.kind = FORM, .form = HF_NFKD}},
                  {"Lowercase", {.kind = LOWERCASE}},
                  {"StripAccents", {.kind = STRIP_ACCENTS}},
                  {"Nmt", {.kind = NMT}},
                  {"ByteLevel", {.kind = BYTE_LEVEL}}};
    for (size_t i = 0; i < CAI_COUNT(simple); i++)
        if (strcmp(type, simple[i].type) == 0) {
            n->steps[n->n++] = simple[i].step;
            return true;
        }
    return false;
}

static int load_step(const char *path, const json_t *o, struct hf_norm *n) {
    static const struct {
        const char *type;
        int (*load)(const char *path, const json_t *o, struct hf_norm *n);
    } kinds[] = {{"Sequence", load_sequence},
                 {"Replace", load_replace},
                 {"Prepend", load_prepend},
                 {"Strip", load_strip}};
    const char *type;
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "%s: normalizer must be an object or null, found %s", path,
                        hf_json_kind(o));
    CAI_TRY(hf_json_string(path, o, "type", &type));
    if (n->n == MAX_STEPS)
        return cai_fail(CAI_ELIMIT, "%s: normalizer has more than %d steps", path, MAX_STEPS);
    if (load_simple(type, n))
        return 0;
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].load(path, o, n);
    return cai_fail(CAI_EINPUT,
                    "%s: normalizer \"%.32s\" is not supported; expected NFC, NFD, NFKC, NFKD, "
                    "Lowercase, StripAccents, Nmt, ByteLevel, Replace, Prepend, Strip, a Sequence "
                    "of these, or null",
                    path, type);
}

int hf_norm_load(const char *path, const json_t *o, struct hf_norm **ret) {
    struct hf_norm *n = cai_alloc(sizeof *n);
    n->where = cai_format("%s: normalizer", path);
    int rc = !o || json_is_null(o) ? 0 : load_step(path, o, n);
    if (rc < 0) {
        hf_norm_free(n);
        return rc;
    }
    *ret = n;
    return 0;
}

void hf_norm_free(struct hf_norm *n) {
    if (!n)
        return;
    for (int i = 0; i < n->n; i++) {
        hf_regex_free(n->steps[i].regex);
        free(n->steps[i].pattern);
        free(n->steps[i].content);
    }
    free(n->where);
    free(n);
}

bool hf_norm_is_identity(const struct hf_norm *n) {
    return n->n == 0;
}

/* ---- applying --------------------------------------------------------------------- */

/* What tokenizers' Rust (Unicode 17) lowercases beyond utf8proc. */
static uint32_t lower_newer(uint32_t c) {
    static const struct {
        uint32_t first, last, lower;
    } newer[] = {{0x1C89, 0x1C89, 0x1C8A},   {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
                 {0xA7CE, 0xA7CE, 0xA7CF},   {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
                 {0xA7DA, 0xA7DA, 0xA7DB},   {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
                 {0x16EA0, 0x16EB8, 0x16EBB}};
    for (size_t i = 0; i < CAI_COUNT(newer); i++)
        if (c >= newer[i].first && c <= newer[i].last)
            return newer[i].lower + (c - newer[i].first);
    return c;
}

static void lowercase(uint32_t c, struct cai_buf *ret) {
    if (c == 0x130) {
        cai_buf_puts(ret, "i\xCC\x87"); /* the one letter whose lower case is two */
        return;
    }
    uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    hf_utf8_put(ret, lower == c ? lower_newer(c) : lower);
}

/* The rules of neural machine translation's SentencePiece: controls go, odd spaces become
 * spaces. */
static void nmt(uint32_t c, struct cai_buf *ret) {
    bool gone = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
                c == 0x8F || c == 0x9F;
    bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                 (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                 c == 0xFEFF || c == 0xFFFD;
    if (!gone)
        hf_utf8_put(ret, space ? ' ' : c);
}

static void apply_to_each(enum kind kind, const char *text, size_t len, struct cai_buf *ret) {
    size_t n;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c = hf_utf8_next(text + i, len - i, &n);
        if (kind == LOWERCASE)
            lowercase(c, ret);
        else if (kind == NMT)
            nmt(c, ret);
        else if (!hf_is_accent(c))
            hf_utf8_put(ret, c);
    }
}

static void apply_byte_level(const char *text, size_t len, struct cai_buf *ret) {
    for (size_t i = 0; i < len; i++)
        hf_utf8_put(ret, hf_alphabet((unsigned char)text[i]));
}

static void apply_replace(const struct step *s, const char *text, size_t len, struct cai_buf *ret) {
    for (const char *hit; (hit = memmem(text, len, s->pattern, s->pattern_len));) {
        cai_buf_append(ret, text, (size_t)(hit - text));
        cai_buf_puts(ret, s->content);
        len -= (size_t)(hit - text) + s->pattern_len;
        text = hit + s->pattern_len;
    }
    cai_buf_append(ret, text, len);
}

static void apply_strip(const struct step *s, const char *text, size_t len, struct cai_buf *ret) {
    size_t n;
    while (s->left && len && hf_is_space(hf_utf8_next(text, len, &n))) {
        text += n;
        len -= n;
    }
    while (s->right && len && hf_is_space(hf_utf8_last(text, len, &n)))
        len -= n;
    cai_buf_append(ret, text, len);
}

static int apply_step(const struct step *s, const char *text, size_t len, struct cai_buf *ret) {
    switch (s->kind) {
    case FORM:
        return hf_normal_form(s->form, text, len, ret);
    case LOWERCASE:
    case STRIP_ACCENTS:
    case NMT:
        apply_to_each(s->kind, text, len, ret);
        return 0;
    case BYTE_LEVEL:
        apply_byte_level(text, len, ret);
        return 0;
    case REPLACE:
        apply_replace(s, text, len, ret);
        return 0;
    case REPLACE_PATTERN:
        return hf_regex_replace(s->regex, text, len, s->content, ret);
    case PREPEND:
        if (len)
            cai_buf_puts(ret, s->content);
        cai_buf_append(ret, text, len);
        return 0;
    case STRIP:
        apply_strip(s, text, len, ret);
        return 0;
    }
    return 0;
}

int hf_norm_apply(const struct hf_norm *n, const char *text, size_t len, struct cai_buf *ret) {
    CAI_AUTO(buf) struct cai_buf a = {0};
    CAI_AUTO(buf) struct cai_buf b = {0};
    cai_buf_append(&a, text, len);
    for (int i = 0; i < n->n; i++) {
        cai_buf_clear(&b);
        CAI_TRY(apply_step(&n->steps[i], a.data ? a.data : "", a.len, &b));
        CAI_TRY(cai_buf_status(&b));
        struct cai_buf swap = a;
        a = b;
        b = swap;
    }
    cai_buf_append(ret, a.data ? a.data : "", a.len);
    return cai_buf_status(ret);
}
