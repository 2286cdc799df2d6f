/* pieces.h: a chat template for one sequence of roles, as literal text with slots for the
 * messages. Internal to the room; no process, no files, so that it can be fuzzed. */
#ifndef CAI_HF_PIECES_H
#define CAI_HF_PIECES_H

#include "base/buf.h"
#include <stdint.h>

/* What the template takes off the ends of a message. */
enum hf_trim { HF_TRIM_NONE, HF_TRIM_NEWLINES, HF_TRIM_SPACE };

struct hf_slot {
    size_t message; /* which one stands here: templates may put a system message later */
    enum hf_trim left, right;
    bool blank_ok;  /* a message of nothing but whitespace is reproduced too */
    size_t opening; /* an assistant's: how much of the literal before it a prompt for it
                       would hold; SIZE_MAX when not known */
    size_t end;     /* an assistant's: how much of the literal after it ends its turn */
};

struct hf_pieces {
    size_t messages;
    size_t n;                /* slots: as many as messages that the template writes */
    struct cai_buf *literal; /* n + 1: before each slot, and after the last */
    struct hf_slot *slot;    /* in the order of the text */
};

/* The contents that stand for message i when the template is taken apart: a mark alone,
 * or with whitespace around. The caller's. */
char *hf_mark_plain(size_t i);
char *hf_mark_wrapped(size_t i);
/* A random message number i of trial k, with whitespace at its ends. The caller's. */
char *hf_mark_random(size_t i, uint32_t k);

/* From what the template made of the plain and the wrapped marks of n messages. CAI_EINPUT,
 * with the reason, when it is not literals and trimmed messages, each once; those that are
 * `optional` may be left out too (n of them, or NULL: none). */
int hf_pieces_build(const char *path, size_t n, const bool *optional, const char *plain,
                    const char *wrapped, struct hf_pieces *ret);
void hf_pieces_free(struct hf_pieces *p);
/* The trimmed part of a message. */
void hf_pieces_trim(const struct hf_slot *s, const char *text, const char **ret, size_t *ret_len);
bool hf_is_blank(const char *text);
/* The pieces filled in. */
void hf_pieces_fill(const struct hf_pieces *p, const char *const *contents, struct cai_buf *ret);
/* 0 when `got` is what the pieces make of `contents`, else CAI_EINPUT with the difference. */
int hf_pieces_check(const char *path, const struct hf_pieces *p, const char *const *contents,
                    const char *got);

#endif
