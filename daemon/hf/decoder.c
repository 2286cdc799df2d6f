/* decoder.c: ByteLevel, ByteFallback, Metaspace, BPEDecoder, Fuse, Replace, Strip, Sequence
 * and none, as a chain over a list of tokens, all at once or in the order in which they come.
 * Not for which ids are left out (tokenizer.c), nor for broken UTF-8 (stream.c).
 *
 * A run's states: open, in which each step holds back what later tokens may change → ended,
 * with the last tokens, when everything comes out. */
#include "hf/decoder.h"
#include "hf/json.h"
#include "hf/regex.h"
#include "hf/unicode.h"
#include "base/error.h"
#include "base/text.h"
#include <string.h>

#define MAX_STEPS 32

enum kind { BYTE_LEVEL, BYTE_FALLBACK, FUSE, REPLACE, STRIP, METASPACE, BPE_DECODER };

struct step {
    enum kind kind;
    bool fused;              /* sees one token, the whole text, of which pieces come one by one */
    char *pattern, *content; /* Replace: both; Strip, Metaspace: the character in `content`;
                                BPEDecoder: the suffix in `pattern` */
    struct hf_regex *regex;  /* Replace: in place of `pattern` */
    int64_t start, stop;     /* Strip */
    bool drop_first;         /* Metaspace: the first token's spaces were put there */
};

struct hf_decoder {
    struct step steps[MAX_STEPS];
    int n;
    char *where; /* for the patterns' messages */
};

/* What one step remembers from one call to the next. */
struct memory {
    struct cai_buf held; /* ByteFallback: a run of bytes; BPEDecoder: the last token */
    bool any;            /* a token was seen */
    int64_t stripped;    /* Strip on the whole text: how many so far; -1: past the first other */
};

struct hf_decoder_run {
    const struct hf_decoder *decoder;
    struct memory memory[MAX_STEPS];
    bool any;
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

static int load_replace(const char *path, const json_t *o, struct hf_decoder *d, struct step *s) {
    const json_t *pattern = json_object_get(o, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    const char *content;
    CAI_TRY(hf_json_string(path, o, "content", &content));
    if (!json_string_length(regex ? regex : literal))
        return cai_fail(CAI_EINPUT,
                        "%s: decoder Replace: pattern must be {\"String\": …} or {\"Regex\": …}, "
                        "not empty",
                        path);
    s->content = cai_strdup(content);
    if (regex)
        return hf_regex_new(d->where, json_string_value(regex), json_string_length(regex),
                            &s->regex);
    s->pattern = cai_strdup(json_string_value(literal));
    return 0;
}

static int load_metaspace(const char *path, const json_t *o, struct step *s) {
    const char *replacement, *scheme = "always";
    bool prefix;
    CAI_TRY(hf_json_string(path, o, "replacement", &replacement));
    CAI_TRY(hf_json_bool_or(path, o, "add_prefix_space", true, &prefix)); /* the older name */
    if (json_object_get(o, "prepend_scheme"))
        CAI_TRY(hf_json_string(path, o, "prepend_scheme", &scheme));
    if (!replacement[0])
        return cai_fail(CAI_EINPUT, "%s: decoder Metaspace: replacement must be one character",
                        path);
    s->content = cai_strdup(replacement);
    s->drop_first = prefix && strcmp(scheme, "never") != 0;
    return 0;
}

static int load_suffix(const char *path, const json_t *o, struct step *s) {
    const char *suffix;
    CAI_TRY(hf_json_string(path, o, "suffix", &suffix));
    if (!suffix[0])
        return cai_fail(CAI_EINPUT, "%s: decoder BPEDecoder: suffix must not be empty", path);
    s->pattern = cai_strdup(suffix);
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
    static const char *const names[] = {"ByteLevel", "ByteFallback", "Fuse",      "Replace",
                                        "Strip",     "Metaspace",    "BPEDecoder"};
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
        s->fused = d->n > 1 && (s[-1].fused || s[-1].kind == FUSE || s[-1].kind == BYTE_LEVEL);
        return s->kind == REPLACE       ? load_replace(path, o, d, s)
               : s->kind == STRIP       ? load_strip(path, o, s)
               : s->kind == METASPACE   ? load_metaspace(path, o, s)
               : s->kind == BPE_DECODER ? load_suffix(path, o, s)
                                        : 0;
    }
    return cai_fail(CAI_EINPUT,
                    "%s: decoder \"%.32s\" is not supported; expected ByteLevel, "
                    "ByteFallback, Metaspace, BPEDecoder, Fuse, Replace, Strip or a Sequence of "
                    "these",
                    path, type);
}

int hf_decoder_load(const char *path, const json_t *o, struct hf_decoder **ret) {
    struct hf_decoder *d = cai_alloc(sizeof *d);
    d->where = cai_format("%s: decoder", path);
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
        hf_regex_free(d->steps[i].regex);
    }
    free(d->where);
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

static void byte_fallback(struct memory *m, const struct list *in, struct list *out, bool end) {
    for (size_t i = 0; i < in->n; i++) {
        struct hf_string t = token_at(in, i);
        int b = fallback_byte(&t);
        if (b >= 0) {
            cai_buf_putc(&m->held, (char)b);
            continue;
        }
        end_bytes(&m->held, out);
        cai_buf_append(&out->text, t.s, t.len);
        end_token(out);
    }
    if (end)
        end_bytes(&m->held, out);
}

static void replace_literal(const char *pattern, const char *content, const struct hf_string *t,
                            struct cai_buf *out) {
    const char *p = t->s;
    size_t len = t->len, n = strlen(pattern);
    for (const char *hit; (hit = memmem(p, len, pattern, n));) {
        cai_buf_append(out, p, (size_t)(hit - p));
        cai_buf_puts(out, content);
        len -= (size_t)(hit - p) + n;
        p = hit + n;
    }
    cai_buf_append(out, p, len);
}

/* A pattern needs valid UTF-8; tokens of a text model are. */
static int replace(const struct step *s, const struct hf_string *t, struct cai_buf *out) {
    if (!s->regex) {
        replace_literal(s->pattern, s->content, t, out);
        return 0;
    }
    CAI_AUTO(buf) struct cai_buf text = {0};
    hf_utf8_lossy(t->s, t->len, &text);
    return hf_regex_replace(s->regex, text.data ? text.data : "", text.len, s->content, out);
}

static bool begins_with(const char *p, size_t len, const char *content, size_t n) {
    return len >= n && memcmp(p, content, n) == 0;
}

/* At most `start` leading and `stop` trailing copies of the character go. */
static void strip(const struct step *s, struct memory *m, const struct hf_string *t,
                  struct cai_buf *out) {
    const char *p = t->s;
    size_t len = t->len, n = strlen(s->content);
    if (!s->fused)
        m->stripped = 0;
    for (; m->stripped >= 0 && m->stripped < s->start && len; m->stripped++) {
        if (!begins_with(p, len, s->content, n)) {
            m->stripped = -1;
            break;
        }
        p += n;
        len -= n;
    }
    for (int64_t i = 0; i < s->stop && len >= n && memcmp(p + len - n, s->content, n) == 0; i++)
        len -= n;
    cai_buf_append(out, p, len);
}

static void metaspace(const struct step *s, struct memory *m, const struct hf_string *t,
                      struct cai_buf *out) {
    bool drop = s->drop_first && (!m->any || s->fused);
    m->any = true;
    replace_literal(s->content, drop ? "" : " ", t, out);
}

/* Every token but the last of all has a space for its suffix; so one is held back. */
static void bpe_decoder(const struct step *s, struct memory *m, const struct list *in,
                        struct list *out, bool end) {
    for (size_t i = 0; i <= in->n; i++) {
        bool last = i == in->n;
        if (m->any && (!last || end)) {
            struct hf_string t = {m->held.data ? m->held.data : "", (uint32_t)m->held.len};
            replace_literal(s->pattern, last ? "" : " ", &t, &out->text);
            end_token(out);
        }
        if (last)
            break;
        struct hf_string t = token_at(in, i);
        cai_buf_clear(&m->held);
        cai_buf_append(&m->held, t.s, t.len);
        m->any = true;
    }
}

static int apply_step(const struct step *s, struct memory *m, const struct list *in,
                      struct list *out, bool end) {
    if (s->kind == BYTE_FALLBACK)
        byte_fallback(m, in, out, end);
    else if (s->kind == BPE_DECODER)
        bpe_decoder(s, m, in, out, end);
    if (s->kind == BYTE_FALLBACK || s->kind == BPE_DECODER)
        return 0;
    for (size_t i = 0; i < in->n; i++) {
        struct hf_string t = token_at(in, i);
        if (s->kind == BYTE_LEVEL)
            byte_level(&t, &out->text);
        else if (s->kind == REPLACE)
            CAI_TRY(replace(s, &t, &out->text));
        else if (s->kind == STRIP)
            strip(s, m, &t, &out->text);
        else if (s->kind == METASPACE)
            metaspace(s, m, &t, &out->text);
        else
            cai_buf_append(&out->text, t.s, t.len);
        if (s->kind != BYTE_LEVEL && s->kind != FUSE)
            end_token(out);
    }
    if (s->kind == BYTE_LEVEL || s->kind == FUSE)
        end_token(out);
    return 0;
}

struct hf_decoder_run *hf_decoder_run_new(const struct hf_decoder *d) {
    struct hf_decoder_run *r = cai_alloc(sizeof *r);
    r->decoder = d;
    return r;
}

void hf_decoder_run_free(struct hf_decoder_run *r) {
    for (int i = 0; r && i < r->decoder->n; i++)
        cai_buf_free(&r->memory[i].held);
    free(r);
}

int hf_decoder_push(struct hf_decoder_run *r, const struct hf_string *tokens, size_t n, bool end,
                    struct cai_buf *ret) {
    const struct hf_decoder *d = r->decoder;
    struct list a = {0};
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (r->any && d->n == 0)
            cai_buf_putc(&a.text, ' '); /* without a decoder tokens are joined by spaces */
        r->any = true;
        cai_buf_append(&a.text, tokens[i].s, tokens[i].len);
        end_token(&a);
    }
    for (int i = 0; rc == 0 && i < d->n; i++) {
        struct list b = {0};
        rc = apply_step(&d->steps[i], &r->memory[i], &a, &b, end);
        list_free(&a);
        a = b;
    }
    cai_buf_append(ret, a.text.data ? a.text.data : "", a.text.len);
    list_free(&a);
    return rc;
}

bool hf_decoder_streams(const struct hf_decoder *d) {
    for (int i = 0; i < d->n; i++) {
        const struct step *s = &d->steps[i];
        bool plain =
            s->kind == FUSE || (s->kind == STRIP && s->stop == 0 && strlen(s->content) == 1);
        if (s->fused && !plain)
            return false;
    }
    return true;
}

int hf_decoder_apply(const struct hf_decoder *d, const struct hf_string *tokens, size_t n,
                     struct cai_buf *ret) {
    struct hf_decoder_run *r = hf_decoder_run_new(d);
    int rc = hf_decoder_push(r, tokens, n, true, ret);
    hf_decoder_run_free(r);
    return rc;
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
            replace(s, &t, &next); /* a pattern that gives up leaves the token as it is */
        else if (s->kind == METASPACE)
            replace_literal(s->content, " ", &t, &next);
        else if (s->kind == BPE_DECODER)
            replace_literal(s->pattern, " ", &t, &next);
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
