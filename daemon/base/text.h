/* text.h: small things about text that several rooms need. */
#ifndef CAI_BASE_TEXT_H
#define CAI_BASE_TEXT_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offset of the first invalid UTF-8 byte (overlong, surrogate, > U+10FFFF), or len. */
size_t cai_utf8_valid(const char *s, size_t len);
/* Appends s with control characters, escapes and bidi overrides made visible, so that
 * model-written text is safe on a terminal. Newlines and tabs are kept when `lines`. */
void cai_text_printable(struct cai_buf *out, const char *s, size_t len, bool lines);
/* Levenshtein distance, for suggestions; strings are cut at 64 bytes. */
size_t cai_text_distance(const char *a, const char *b);
/* The same over at most `max` bytes of each. */
size_t cai_text_distance_within(const char *a, const char *b, size_t max);
/* The nearest of `names` within a third of its length, or NULL. */
const char *cai_text_nearest(const char *word, const char *const *names, size_t n);
bool cai_text_equal_n(const char *a, size_t alen, const char *b);
/* "1,234,567" and "3m 05s", for people. */
void cai_text_count(char *out, size_t size, int64_t n);
void cai_text_duration(char *out, size_t size, double seconds);

#endif
