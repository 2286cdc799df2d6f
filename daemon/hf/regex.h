/* regex.h: Oniguruma behind the things the room needs. Internal to the room. */
#ifndef CAI_HF_REGEX_H
#define CAI_HF_REGEX_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

struct hf_regex;
struct hf_matcher; /* one thread's scratch */

/* `where` names the pattern's place for messages and must outlive the regex. */
int hf_regex_new(const char *where, const char *pattern, size_t len, struct hf_regex **ret);
void hf_regex_free(struct hf_regex *r);

/* Goes through the matches of `text` (valid UTF-8), none overlapping, as the `onig`
 * crate's find_iter does: an empty match right after a match is passed over. */
struct hf_find {
    const struct hf_regex *regex;
    struct hf_matcher *matcher;
    const char *text;
    size_t len, from, last_end;
    bool any;
};
struct hf_find hf_find_begin(const struct hf_regex *r, struct hf_matcher *m, const char *text,
                             size_t len);
/* 1 and the match, 0 at the end, or a negative code (the pattern gave up). */
int hf_find_next(struct hf_find *f, size_t *ret_begin, size_t *ret_end);

/* Appends `text` with every match replaced by `content`. A negative code as hf_find_next()'s;
 * what was appended until then stays. */
int hf_regex_replace(const struct hf_regex *r, const char *text, size_t len, const char *content,
                     struct cai_buf *out);

struct hf_matcher *hf_matcher_new(void);
void hf_matcher_free(struct hf_matcher *m);

#endif
