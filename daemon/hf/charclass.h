/* charclass.h: what kind of character a code point is. Internal to the room. */
#ifndef CAI_HF_CHARCLASS_H
#define CAI_HF_CHARCLASS_H

#include <stdbool.h>
#include <stdint.h>

/* Classes of one code point, or-ed; those of letters are disjoint. */
enum hf_class {
    HF_UPPER = 1 << 0,        /* Lu, Lt */
    HF_LOWER = 1 << 1,        /* Ll */
    HF_OTHER_LETTER = 1 << 2, /* Lm, Lo */
    HF_LETTER = HF_UPPER | HF_LOWER | HF_OTHER_LETTER,
    HF_MARK = 1 << 3,
    HF_NUMBER = 1 << 4, /* Nd, Nl, No */
    HF_PUNCT = 1 << 5,
    HF_SYMBOL = 1 << 6,
    HF_SPACE = 1 << 7,   /* White_Space */
    HF_NEWLINE = 1 << 8, /* \r and \n only */
    HF_WORD = 1 << 9,    /* \w of Rust's regex: alphabetic, marks, Nd, connectors, joiners */
    HF_DIGIT = 1 << 11,  /* numeric to Rust, which is at Unicode 17: HF_NUMBER and a few more */
    HF_NEWER = 1 << 10,  /* known to `tokenizers`, not to the Oniguruma of this machine */
};

struct hf_code_range {
    uint32_t first, last;
};
struct hf_class_range {
    uint32_t first, last, classes;
};

/* A flat table over all code points, made once; classes[c] for c < 0x110000. */
const uint16_t *hf_classes(void);
/* Whether the pre-tokenizer Punctuation takes c for punctuation. */
bool hf_is_punctuation(uint32_t c);

#endif
