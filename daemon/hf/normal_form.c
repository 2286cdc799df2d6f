/* normal_form.c: NFC, NFD, NFKC and NFKD by utf8proc, on the few stretches of a text that may
 * change. Not for other normalizers (normalizer.c).
 *
 * A stretch begins with a code point that no form changes, reorders or composes with what
 * stands before it (a boundary, Unicode Standard Annex 15, section 9.1), and ends before the
 * next. So a boundary that is followed by another stays as it is. */
#include "hf/normal_form.h"
#include "hf/unicode.h"
#include "hf/unicode_tables.h"
#include "base/error.h"

#include <pthread.h>
#include <string.h>
#include <utf8proc.h>

#define CODE_POINTS 0x110000
/* One bit per form: not a boundary in it. */
#define COMPOSED_FORMS (1u << HF_NFC | 1u << HF_NFKC)
#define ALL_FORMS 0xFu
#define INERT 0x10u

static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned char *table; /* [CODE_POINTS]; lives as long as the process */

static int map(enum hf_form form, const char *text, size_t len, struct cai_buf *ret) {
    static const utf8proc_option_t options[] = {
        UTF8PROC_COMPOSE, UTF8PROC_DECOMPOSE, UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &out,
                                      UTF8PROC_STABLE | options[form]);
    if (n < 0)
        return cai_fail(n == UTF8PROC_ERROR_NOMEM ? CAI_ENOMEM : CAI_EINPUT,
                        "cannot normalise a text of %zu bytes: %s", len, utf8proc_errmsg(n));
    cai_buf_append(ret, out, (size_t)n);
    free(out);
    return 0;
}

/* The full canonical decomposition of c; 0 when it has none. */
static size_t decompose(utf8proc_int32_t c, utf8proc_int32_t parts[32]) {
    const utf8proc_property_t *p = utf8proc_get_property(c);
    if (p->decomp_seqindex == UINT16_MAX || p->decomp_type)
        return 0; /* none, or one of compatibility */
    int unused = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, &unused);
    CAI_CHECK(n > 0 && n <= 32);
    return (size_t)n;
}

static bool is_own_form(utf8proc_int32_t c, enum hf_form form) {
    utf8proc_uint8_t text[4];
    CAI_AUTO(buf) struct cai_buf out = {0};
    utf8proc_ssize_t n = utf8proc_encode_char(c, text);
    CAI_CHECK(map(form, (const char *)text, (size_t)n, &out) == 0);
    return out.len == (size_t)n && memcmp(out.data, text, out.len) == 0;
}

/* What a code point alone shows: its class of reordering, its forms, its parts. */
static void mark(utf8proc_int32_t c) {
    const utf8proc_property_t *p = utf8proc_get_property(c);
    utf8proc_int32_t parts[32];
    if (p->combining_class)
        table[c] |= ALL_FORMS;
    if (c >= 0xAC00 && c <= 0xD7A3) /* Hangul is decomposed by arithmetic */
        table[c] |= 1 << HF_NFD | 1 << HF_NFKD;
    if ((c >= 0x1161 && c <= 0x1175) || (c >= 0x11A8 && c <= 0x11C2))
        table[c] |= COMPOSED_FORMS;
    if (p->decomp_seqindex == UINT16_MAX)
        return;
    for (int form = HF_NFC; form <= HF_NFKD; form++)
        if (!is_own_form(c, (enum hf_form)form))
            table[c] |= 1 << form;
    for (size_t i = 1, n = decompose(c, parts); i < n; i++)
        table[parts[i]] |= COMPOSED_FORMS; /* may join what stands before it */
}

static void mark_by_first_part(utf8proc_int32_t c) {
    utf8proc_int32_t parts[32];
    if (decompose(c, parts) && table[parts[0]] & COMPOSED_FORMS)
        table[c] |= COMPOSED_FORMS;
}

static void make_table(void) {
    table = cai_alloc(CODE_POINTS);
    for (utf8proc_int32_t c = 0x80; c < CODE_POINTS; c++)
        mark(c);
    for (utf8proc_int32_t c = 0x80; c < CODE_POINTS; c++)
        mark_by_first_part(c);
    for (size_t i = 0; i < CAI_COUNT(hf_inert_in_normal_forms); i++)
        for (uint32_t c = hf_inert_in_normal_forms[i].first;
             c <= hf_inert_in_normal_forms[i].last; c++)
            table[c] = INERT;
}

bool hf_is_accent(uint32_t c) {
    pthread_once(&once, make_table);
    if (c == 0x1CF2 || c == 0x1CF3)
        return true; /* were marks in Unicode 9 */
    return (hf_classes()[c] & HF_MARK) && !(table[c] & INERT);
}

/* The end of the run of code points from `at` on that are no boundaries. */
static size_t run_end(unsigned bit, const char *text, size_t len, size_t at) {
    size_t n;
    while (at < len && (unsigned char)text[at] >= 0x80 &&
           table[hf_utf8_next(text + at, len - at, &n)] & bit)
        at += n;
    return at;
}

int hf_normal_form(enum hf_form form, const char *text, size_t len, struct cai_buf *ret) {
    unsigned bit = 1u << form;
    size_t kept = 0, begin = 0, n; /* text before `kept` is written; `begin`: the last boundary */
    pthread_once(&once, make_table);
    for (size_t at = 0; at < len; at += n) {
        n = 1;
        uint32_t c = (unsigned char)text[at];
        if (c < 0x80) {
            begin = at;
            continue;
        }
        c = hf_utf8_next(text + at, len - at, &n);
        if (!(table[c] & bit)) {
            begin = table[c] & INERT ? at + n : at;
            continue;
        }
        size_t end = run_end(bit, text, len, at + n);
        cai_buf_append(ret, text + kept, begin - kept);
        CAI_TRY(map(form, text + begin, end - begin, ret));
        kept = begin = end;
        n = end - at;
    }
    cai_buf_append(ret, text + kept, len - kept);
    return 0;
}
