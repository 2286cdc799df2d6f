/* unicode.h: code points and the byte alphabet of byte-level BPE. Internal to the room. */
#ifndef CAI_HF_UNICODE_H
#define CAI_HF_UNICODE_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

/* The code point at s (valid UTF-8, len > 0); its length in bytes by ret. */
uint32_t hf_utf8_next(const char *s, size_t len, size_t *ret);
uint32_t hf_utf8_last(const char *s, size_t len, size_t *ret); /* the last one of s */
void hf_utf8_put(struct cai_buf *out, uint32_t c);
bool hf_is_space(uint32_t c);   /* White_Space */
bool hf_is_word(uint32_t c);    /* \w: letters, marks, digits, connectors, joiners */
bool hf_is_numeric(uint32_t c); /* Nd, Nl, No */

/* GPT-2's alphabet: each byte is one printable code point below U+0144. */
uint32_t hf_alphabet(unsigned char byte);
int hf_alphabet_byte(uint32_t c); /* -1 when c is not in it */
/* Appends the bytes that s spells in the alphabet; false (nothing appended) when a
 * character is outside it. */
bool hf_alphabet_decode(const char *s, size_t len, struct cai_buf *out);

/* Appends s with each maximal ill-formed part replaced by U+FFFD, as Rust and the WHATWG do. */
void hf_utf8_lossy(const char *s, size_t len, struct cai_buf *out);
/* The same for a text of which more may come: leaves an unfinished character at the end, and
 * returns how many bytes it took. */
size_t hf_utf8_lossy_open(const char *s, size_t len, struct cai_buf *out);

#endif
