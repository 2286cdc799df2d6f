/* normalizer.c: NFC, NFD, NFKC, NFKD, Replace, Prepend, Strip, Sequence and none.
 * Not for pre-tokenizing. */
#include "hf/normalizer.h"
#include "hf/json.h"
#include "hf/regex.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <string.h>
#include <utf8proc.h>

#define MAX_STEPS 32

enum kind { UNICODE, REPLACE, REPLACE_PATTERN, PREPEND, STRIP };

struct step {
    enum kind kind;
    utf8proc_option_t form;
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

static int load_step(const char *path, const json_t *o, struct hf_norm *n) {
    static const struct {
        const char *type;
        utf8proc_option_t form;
    } forms[] = {{"NFC", UTF8PROC_COMPOSE},
                 {"NFD", UTF8PROC_DECOMPOSE},
                 {"NFKC", UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                 {"NFKD", UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    const char *type;
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "%s: normalizer must be an object or null, found %s", path,
                        hf_json_kind(o));
    CAI_TRY(hf_json_string(path, o, "type", &type));
    if (n->n == MAX_STEPS)
        return cai_fail(CAI_ELIMIT, "%s: normalizer has more than %d steps", path, MAX_STEPS);
    for (size_t i = 0; i < CAI_COUNT(forms); i++)
        if (strcmp(type, forms[i].type) == 0) {
            n->steps[n->n++].form = forms[i].form;
            return 0;
        }
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(path, o, n);
    if (strcmp(type, "Replace") == 0)
        return load_replace(path, o, n);
    if (strcmp(type, "Prepend") == 0)
        return load_prepend(path, o, n);
    if (strcmp(type, "Strip") == 0)
        return load_strip(path, o, n);
    return cai_fail(CAI_EINPUT,
                    "%s: normalizer \"%.32s\" is not supported; expected NFC, NFD, NFKC, "
                    "NFKD, Replace, Prepend, Strip, a Sequence of these, or null",
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

static bool is_ascii(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] >= 0x80)
            return false;
    return true;
}

static int apply_unicode(utf8proc_option_t form, const char *text, size_t len,
                         struct cai_buf *ret) {
    if (is_ascii(text, len)) { /* every form leaves ASCII as it is */
        cai_buf_append(ret, text, len);
        return 0;
    }
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &out,
                                      UTF8PROC_STABLE | form);
    if (n < 0)
        return cai_fail(n == UTF8PROC_ERROR_NOMEM ? CAI_ENOMEM : CAI_EINPUT,
                        "cannot normalise a text of %zu bytes: %s", len, utf8proc_errmsg(n));
    cai_buf_append(ret, out, (size_t)n);
    free(out);
    return 0;
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

static int apply_pattern(const struct step *s, const char *text, size_t len, struct cai_buf *ret) {
    struct hf_matcher *m = hf_matcher_new();
    struct hf_find f = hf_find_begin(s->regex, m, text, len);
    size_t prev = 0, b, e;
    int rc;
    while ((rc = hf_find_next(&f, &b, &e)) > 0) {
        cai_buf_append(ret, text + prev, b - prev);
        cai_buf_puts(ret, s->content);
        prev = e;
    }
    cai_buf_append(ret, text + prev, len - prev);
    hf_matcher_free(m);
    return rc;
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
    case UNICODE:
        return apply_unicode(s->form, text, len, ret);
    case REPLACE:
        apply_replace(s, text, len, ret);
        return 0;
    case REPLACE_PATTERN:
        return apply_pattern(s, text, len, ret);
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
