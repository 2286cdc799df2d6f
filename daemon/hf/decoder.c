/* decoder.c: ByteLevel, ByteFallback, Fuse, Replace, Strip, Sequence and none, as a chain
 * over a list of tokens. Not for which ids are left out (tokenizer.c). */
#include "hf/decoder.h"
#include "hf/json.h"
#include "hf/unicode.h"
#include "base/error.h"
#include "base/text.h"
#include <string.h>

#define MAX_STEPS 32

enum kind { BYTE_LEVEL, BYTE_FALLBACK, FUSE, REPLACE, STRIP };

struct step {
    enum kind kind;
    char *pattern, *content; /* Replace: both; Strip: the character in `content` */
    int64_t start, stop;     /* Strip */
};

struct hf_decoder {
    struct step steps[MAX_STEPS];
    int n;
};

/* ---- reading ---------------------------------------------------------------------- */

static int load_step(const char *path, const json_t *o, struct hf_decoder *d);

static int load_sequence(const char *path, const json_t *o, struct hf_decoder *d) {
    const json_t *list = json_object_get(o, "decoders");
    if (!json_is_array(list))
        return cai_fail(CAI_EINPUT, "%s: decoder Sequence: decoders must be a list, found %s", path,
                        hf_json_kind(list));
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) CAI_TRY(load_step(path, v, d));
    return 0;
}

static int load_replace(const char *path, const json_t *o, struct step *s) {
    const char *content, *pattern;
    CAI_TRY(hf_json_string(path, o, "content", &content));
    const json_t *p = json_object_get(o, "pattern");
    if (!json_is_object(p) || hf_json_string(path, p, "String", &pattern) < 0 || !pattern[0])
        return cai_fail(CAI_EINPUT,
                        "%s: decoder Replace: pattern must be {\"String\": …}, not "
                        "empty",
                        path);
    s->pattern = cai_strdup(pattern);
    s->content = cai_strdup(content);
    return 0;
}

static int load_strip(const char *path, const json_t *o, struct step *s) {
    const char *content;
    CAI_TRY(hf_json_string(path, o, "content", &content));
    if (!content[0])
        return cai_fail(CAI_EINPUT, "%s: decoder Strip: content must be one character", path);
    s->content = cai_strdup(content);
    CAI_TRY(hf_json_int(path, o, "start", 0, 1 << 20, &s->start));
    return hf_json_int(path, o, "stop", 0, 1 << 20, &s->stop);
}

static int load_step(const char *path, const json_t *o, struct hf_decoder *d) {
    static const char *const names[] = {"ByteLevel", "ByteFallback", "Fuse", "Replace", "Strip"};
    const char *type;
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "%s: decoder must be an object or null, found %s", path,
                        hf_json_kind(o));
    CAI_TRY(hf_json_string(path, o, "type", &type));
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(path, o, d);
    if (d->n == MAX_STEPS)
        return cai_fail(CAI_ELIMIT, "%s: decoder has more than %d steps", path, MAX_STEPS);
    for (size_t i = 0; i < CAI_COUNT(names); i++) {
        if (strcmp(type, names[i]) != 0)
            continue;
        struct step *s = &d->steps[d->n++];
        s->kind = (enum kind)i;
        return s->kind == REPLACE ? load_replace(path, o, s)
               : s->kind == STRIP ? load_strip(path, o, s)
                                  : 0;
    }
    return cai_fail(CAI_EINPUT,
                    "%s: decoder \"%.32s\" is not supported; expected ByteLevel, "
                    "ByteFallback, Fuse, Replace, Strip or a Sequence of these",
                    path, type);
}

int hf_decoder_load(const char *path, const json_t *o, struct hf_decoder **ret) {
    struct hf_decoder *d = cai_alloc(sizeof *d);
    int rc = !o || json_is_null(o) ? 0 : load_step(path, o, d);
    if (rc < 0) {
        hf_decoder_free(d);
        return rc;
    }
    *ret = d;
    return 0;
}

void hf_decoder_free(struct hf_decoder *d) {
    if (!d)
        return;
    for (int i = 0; i < d->n; i++) {
        free(d->steps[i].pattern);
        free(d->steps[i].content);
    }
    free(d);
}

/* ---- applying --------------------------------------------------------------------- */

/* Tokens side by side in one buffer. */
struct list {
    struct cai_buf text;
    size_t *ends;
    size_t n, cap;
};

static void end_token(struct list *l) {
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->ends = cai_realloc(l->ends, l->cap, sizeof *l->ends);
    }
    l->ends[l->n++] = l->text.len;
}

static struct hf_string token_at(const struct list *l, size_t i) {
    size_t begin = i ? l->ends[i - 1] : 0;
    return (struct hf_string){l->text.data ? l->text.data + begin : "",
                              (uint32_t)(l->ends[i] - begin)};
}

static void list_free(struct list *l) {
    cai_buf_free(&l->text);
    free(l->ends);
}

static void byte_level(const struct hf_string *t, struct cai_buf *out) {
    if (!hf_alphabet_decode(t->s, t->len, out))
        cai_buf_append(out, t->s, t->len); /* not of the alphabet: the token's own text */
}

/* The byte of "<0xNN>", or -1. */
static int fallback_byte(const struct hf_string *t) {
    if (t->len != 6 || memcmp(t->s, "<0x", 3) != 0 || t->s[5] != '>')
        return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        const char *digits = "0123456789ABCDEF0123456789abcdef", *p = strchr(digits, t->s[i]);
        if (!p || !t->s[i])
            return -1;
        value = value * 16 + (int)((p - digits) % 16);
    }
    return value;
}

/* A run of byte tokens is text if it is UTF-8, else one U+FFFD per byte. */
static void end_bytes(struct cai_buf *run, struct list *out) {
    if (!run->len)
        return;
    if (cai_utf8_valid(run->data, run->len) == run->len) {
        cai_buf_append(&out->text, run->data, run->len);
        end_token(out);
    } else {
        for (size_t i = 0; i < run->len; i++) {
            cai_buf_puts(&out->text, "\xEF\xBF\xBD");
            end_token(out);
        }
    }
    cai_buf_clear(run);
}

static void byte_fallback(const struct list *in, struct list *out) {
    CAI_AUTO(buf) struct cai_buf run = {0};
    for (size_t i = 0; i < in->n; i++) {
        struct hf_string t = token_at(in, i);
        int b = fallback_byte(&t);
        if (b >= 0) {
            cai_buf_putc(&run, (char)b);
            continue;
        }
        end_bytes(&run, out);
        cai_buf_append(&out->text, t.s, t.len);
        end_token(out);
    }
    end_bytes(&run, out);
}

static void replace(const struct step *s, const struct hf_string *t, struct cai_buf *out) {
    const char *p = t->s;
    size_t len = t->len, n = strlen(s->pattern);
    for (const char *hit; (hit = memmem(p, len, s->pattern, n));) {
        cai_buf_append(out, p, (size_t)(hit - p));
        cai_buf_puts(out, s->content);
        len -= (size_t)(hit - p) + n;
        p = hit + n;
    }
    cai_buf_append(out, p, len);
}

/* At most `start` leading and `stop` trailing copies of the character go. */
static void strip(const struct step *s, const struct hf_string *t, struct cai_buf *out) {
    const char *p = t->s;
    size_t len = t->len, n = strlen(s->content);
    for (int64_t i = 0; i < s->start && len >= n && memcmp(p, s->content, n) == 0; i++) {
        p += n;
        len -= n;
    }
    for (int64_t i = 0; i < s->stop && len >= n && memcmp(p + len - n, s->content, n) == 0; i++)
        len -= n;
    cai_buf_append(out, p, len);
}

static void apply_step(const struct step *s, const struct list *in, struct list *out) {
    if (s->kind == BYTE_FALLBACK) {
        byte_fallback(in, out);
        return;
    }
    for (size_t i = 0; i < in->n; i++) {
        struct hf_string t = token_at(in, i);
        if (s->kind == BYTE_LEVEL)
            byte_level(&t, &out->text);
        else if (s->kind == REPLACE)
            replace(s, &t, &out->text);
        else if (s->kind == STRIP)
            strip(s, &t, &out->text);
        else
            cai_buf_append(&out->text, t.s, t.len);
        if (s->kind == REPLACE || s->kind == STRIP)
            end_token(out);
    }
    if (s->kind == BYTE_LEVEL || s->kind == FUSE)
        end_token(out);
}

void hf_decoder_apply(const struct hf_decoder *d, const struct hf_string *tokens, size_t n,
                      struct cai_buf *ret) {
    struct list a = {0};
    for (size_t i = 0; i < n; i++) {
        if (i && d->n == 0)
            cai_buf_putc(&a.text, ' '); /* without a decoder tokens are joined by spaces */
        cai_buf_append(&a.text, tokens[i].s, tokens[i].len);
        end_token(&a);
    }
    for (int i = 0; i < d->n; i++) {
        struct list b = {0};
        apply_step(&d->steps[i], &a, &b);
        list_free(&a);
        a = b;
    }
    cai_buf_append(ret, a.text.data ? a.text.data : "", a.text.len);
    list_free(&a);
}

void hf_decoder_piece(const struct hf_decoder *d, const struct hf_string *token,
                      struct cai_buf *ret) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_AUTO(buf) struct cai_buf next = {0};
    cai_buf_append(&text, token->s, token->len);
    for (int i = 0; i < d->n; i++) {
        const struct step *s = &d->steps[i];
        struct hf_string t = {text.data ? text.data : "", (uint32_t)text.len};
        int b = s->kind == BYTE_FALLBACK ? fallback_byte(&t) : -1;
        cai_buf_clear(&next);
        if (b >= 0)
            cai_buf_putc(&next, (char)b);
        else if (s->kind == BYTE_LEVEL)
            byte_level(&t, &next);
        else if (s->kind == REPLACE)
            replace(s, &t, &next);
        else
            cai_buf_append(&next, t.s, t.len); /* Strip is for the ends of a whole text */
        struct cai_buf swap = text;
        text = next;
        next = swap;
        if (b >= 0)
            break;
    }
    cai_buf_append(ret, text.data ? text.data : "", text.len);
}
