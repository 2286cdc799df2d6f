/* regex.c: patterns of tokenizer.json on Oniguruma, the engine that `tokenizers` uses,
 * with its default syntax. Patterns are untrusted: backtracking is bounded. */
#include "hf/regex.h"
#include "hf/unicode.h"
#include "base/error.h"
#include <oniguruma.h>
#include <pthread.h>

#define MAX_PATTERN 65536
#define MAX_RETRIES                                                                                \
    20000000UL              /* steps back at one position; a run of 10 million spaces is legal     \
                             */
#define MAX_STACK 16000000U /* frames */

struct hf_regex {
    OnigRegex onig;
    const char *where;
};

struct hf_matcher {
    OnigRegion *region;
    OnigMatchParam *param;
};

static pthread_once_t start_once = PTHREAD_ONCE_INIT;

static void start(void) {
    OnigEncoding used[] = {ONIG_ENCODING_UTF8};
    CAI_CHECK(onig_initialize(used, 1) == ONIG_NORMAL);
}

int hf_regex_new(const char *where, const char *pattern, size_t len, struct hf_regex **ret) {
    pthread_once(&start_once, start);
    if (len > MAX_PATTERN)
        return cai_fail(CAI_ELIMIT, "%s: a pattern of %zu bytes, the limit is %d", where, len,
                        MAX_PATTERN);
    OnigRegex onig;
    OnigErrorInfo info;
    const OnigUChar *p = (const OnigUChar *)pattern;
    int rc = onig_new(&onig, p, p + len, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT,
                      &info);
    if (rc != ONIG_NORMAL) {
        OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(text, rc, &info);
        return cai_fail(CAI_EINPUT, "%s: the pattern does not compile: %s", where,
                        (const char *)text);
    }
    struct hf_regex *r = cai_alloc(sizeof *r);
    r->onig = onig;
    r->where = where;
    *ret = r;
    return 0;
}

void hf_regex_free(struct hf_regex *r) {
    if (!r)
        return;
    onig_free(r->onig);
    free(r);
}

struct hf_matcher *hf_matcher_new(void) {
    pthread_once(&start_once, start);
    struct hf_matcher *m = cai_alloc(sizeof *m);
    m->region = onig_region_new();
    m->param = onig_new_match_param();
    CAI_CHECK(m->region && m->param);
    onig_initialize_match_param(m->param);
    onig_set_retry_limit_in_match_of_match_param(m->param, MAX_RETRIES);
    onig_set_retry_limit_in_search_of_match_param(m->param, MAX_RETRIES * 2);
    onig_set_match_stack_limit_size_of_match_param(m->param, MAX_STACK);
    return m;
}

void hf_matcher_free(struct hf_matcher *m) {
    if (!m)
        return;
    onig_region_free(m->region, 1);
    onig_free_match_param(m->param);
    free(m);
}

struct hf_find hf_find_begin(const struct hf_regex *r, struct hf_matcher *m, const char *text,
                             size_t len) {
    return (struct hf_find){.regex = r, .matcher = m, .text = text, .len = len};
}

int hf_find_next(struct hf_find *f, size_t *ret_begin, size_t *ret_end) {
    const OnigUChar *text = (const OnigUChar *)f->text, *end = text + f->len;
    while (f->from <= f->len) {
        int rc = onig_search_with_param(f->regex->onig, text, end, text + f->from, end,
                                        f->matcher->region, ONIG_OPTION_NONE, f->matcher->param);
        if (rc == ONIG_MISMATCH)
            return 0;
        if (rc < 0) {
            OnigUChar words[ONIG_MAX_ERROR_MESSAGE_LEN];
            onig_error_code_to_str(words, rc);
            return cai_fail(CAI_ELIMIT, "%s: the pattern gave up on a text of %zu bytes: %s",
                            f->regex->where, f->len, (const char *)words);
        }
        size_t b = (size_t)f->matcher->region->beg[0], e = (size_t)f->matcher->region->end[0];
        if (b > e || b < f->from)
            return cai_fail(CAI_EINPUT, "%s: the pattern moves the match's start outside it (\\K)",
                            f->regex->where);
        if (b == e && f->any && f->last_end == e) {
            size_t n = 1;
            if (f->from < f->len)
                hf_utf8_next(f->text + f->from, f->len - f->from, &n);
            f->from += n;
            continue;
        }
        f->from = e;
        f->last_end = e;
        f->any = true;
        *ret_begin = b;
        *ret_end = e;
        return 1;
    }
    return 0;
}

int hf_regex_replace(const struct hf_regex *r, const char *text, size_t len, const char *content,
                     struct cai_buf *out) {
    struct hf_matcher *m = hf_matcher_new();
    struct hf_find f = hf_find_begin(r, m, text, len);
    size_t prev = 0, b, e;
    int rc;
    while ((rc = hf_find_next(&f, &b, &e)) > 0) {
        cai_buf_append(out, text + prev, b - prev);
        cai_buf_puts(out, content);
        prev = e;
    }
    cai_buf_append(out, text + prev, len - prev);
    hf_matcher_free(m);
    return rc;
}
