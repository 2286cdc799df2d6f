/* shape.h: a conversation as a chat template may look at it: texts, for which marks can
 * stand, and fixed words that the template may search messages for ("</think>"). Internal
 * to the room; no process, no files. */
#ifndef CAI_HF_SHAPE_H
#define CAI_HF_SHAPE_H

#include "hf/tokenizer.h"

/* The quoted words of a template that it may look for in messages. */
struct hf_word {
    char *text;
    bool special; /* a special token could come to be where it stands: never fixed */
};
struct hf_words {
    struct hf_word *word;
    size_t n;
};
struct hf_words hf_words_find(const char *source, const struct hf_tokenizer *t);
void hf_words_free(struct hf_words *w);

struct hf_part {
    size_t message, begin, len; /* these bytes of this message */
    bool text;                  /* else fixed: the template gets to see it as it is */
};

struct hf_shape {
    struct hf_part *parts; /* of all messages in turn, nothing left out, at least one of each */
    size_t n;
    size_t *text; /* which of them are texts, in order */
    size_t num_texts;
    bool fixed; /* some part is fixed */
    bool exact; /* a text holds a word: only the template itself knows what it makes of that */
};

enum hf_fix { HF_FIX_NOTHING, HF_FIX_WORDS, HF_FIX_WORDS_AND_BLANKS };

/* Cuts messages at the template's words. What is but whitespace between words is fixed too,
 * and with HF_FIX_WORDS_AND_BLANKS a message of nothing else. Nothing is fixed in which a
 * special token could come to be: when a conversation is tokenized, only texts are marked as
 * somebody's writing. */
struct hf_shape hf_shape_new(const struct hf_words *words, const struct hf_tokenizer *t,
                             const struct hf_message *messages, size_t n, enum hf_fix fix);
void hf_shape_free(struct hf_shape *s);
static inline void cai_shape_auto(struct hf_shape *s) {
    hf_shape_free(s);
}

/* What conversations of one shape share: roles and fixed parts. The caller's. */
char *hf_shape_key(const struct hf_shape *s, const struct hf_message *messages, bool generate);
/* The texts of the messages: num_texts strings; free with hf_strings_free. */
char **hf_shape_texts(const struct hf_shape *s, const struct hf_message *messages);
/* The n messages with other texts in place of their own; free with hf_strings_free. */
char **hf_shape_contents(const struct hf_shape *s, const struct hf_message *messages, size_t n,
                         char *const *texts);
void hf_strings_free(char **strings, size_t n);

#endif
