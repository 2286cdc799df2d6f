/* pretokenizer_steps.h: the chain of steps as it was read: pretokenizer_load.c makes it,
 * pretokenizer.c runs it. Internal to these two. */
#ifndef CAI_HF_PRETOKENIZER_STEPS_H
#define CAI_HF_PRETOKENIZER_STEPS_H

#include "hf/pretokenizer.h"
#include "hf/split.h"

#define HF_PRE_MAX_STEPS 32

enum step_kind {
    STEP_WHOLE, /* nothing is cut */
    STEP_PATTERN,
    STEP_LITERAL,
    STEP_CLASS,       /* each character of `classes` is a match */
    STEP_PUNCTUATION, /* each punctuation character */
    STEP_WORDS,       /* \w+|[^\w\s]+ */
    STEP_LENGTH,      /* every `length` characters */
    STEP_METASPACE,
    STEP_SPELL /* bytes become characters of the byte alphabet for the steps after it */
};
enum behavior { ISOLATED, REMOVED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum scheme { PREPEND_FIRST, PREPEND_ALWAYS, PREPEND_NEVER };

struct step {
    enum step_kind kind;
    enum behavior behavior;
    bool invert;                        /* gaps are the matches */
    bool prefix_space;                  /* a space before text that does not begin with one */
    const struct hf_splitter *splitter; /* of a pattern: by hand, or by Oniguruma */
    struct hf_regex *regex;
    char *literal; /* also Metaspace's replacement */
    size_t literal_len;
    unsigned classes;
    int64_t length;
    enum scheme scheme; /* Metaspace: when the replacement is put before a text */
    bool split;         /* Metaspace: cut before each replacement */
};

struct hf_pre {
    struct step steps[HF_PRE_MAX_STEPS];
    int n;
    bool bytes;
    char *where; /* for the patterns' messages */
};

#endif
