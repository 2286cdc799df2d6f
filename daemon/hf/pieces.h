/* pieces.h: a chat template for one shape of conversation, as literal text with slots for
 * what messages say: their texts, mostly one of each. Internal to the room; no process, no files,
 * so that it can be fuzzed. */
#ifndef CAI_HF_PIECES_H
#define CAI_HF_PIECES_H

#include "base/buf.h"
#include <stdint.h>

/* What the template takes off the ends of a text. */
enum hf_trim { HF_TRIM_NONE, HF_TRIM_NEWLINES, HF_TRIM_SPACE };

struct hf_slot {
    size_t text; /* which one stands here: templates may put a system message later */
    enum hf_trim left, right;
    bool blank_ok;  /* a text of nothing but whitespace is reproduced too */
    size_t opening; /* an assistant's: how much of the literal before it a prompt for it
                       would hold; SIZE_MAX when not known */
    size_t end;     /* an assistant's: how much of the literal after it ends its turn */
};

struct hf_pieces {
    size_t texts;
    size_t n;                /* slots: as many as texts that the template writes */
    struct cai_buf *literal; /* n + 1: before each slot, and after the last */
    struct hf_slot *slot;    /* in the order of the text */
};

/* What stands for text i when the template is taken apart: a mark alone,
 * or with whitespace around. The caller's. */
char *hf_mark_plain(size_t i);
char *hf_mark_wrapped(size_t i);
/* A random text number i of trial k, with whitespace at its ends. The caller's. */
char *hf_mark_random(size_t i, uint32_t k);

struct hf_source {
    size_t message; /* that a text belongs to, for what is said of it */
    bool optional;  /* it may be left out */
};
/* From what the template made of the plain and the wrapped marks of n texts. CAI_EINPUT,
 * with the reason, when it is not literals and trimmed texts, each once but for those left
 * out. `of` says where they come from; NULL: one of each message, none to be left out. */
int hf_pieces_build(const char *path, size_t n, const struct hf_source *of, const char *plain,
                    const char *wrapped, struct hf_pieces *ret);
void hf_pieces_free(struct hf_pieces *p);
/* The trimmed part of a text. */
void hf_pieces_trim(const struct hf_slot *s, const char *text, const char **ret, size_t *ret_len);
bool hf_is_blank(const char *text);
/* The pieces filled in. */
void hf_pieces_fill(const struct hf_pieces *p, const char *const *texts, struct cai_buf *ret);
/* 0 when `got` is what the pieces make of `texts`, else CAI_EINPUT with the difference. */
int hf_pieces_check(const char *path, const struct hf_pieces *p, const char *const *texts,
                    const char *got);

#endif
