/* normal_form.h: Unicode normal forms as `tokenizers` makes them. Internal to the room. */
#ifndef CAI_HF_NORMAL_FORM_H
#define CAI_HF_NORMAL_FORM_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

enum hf_form { HF_NFC, HF_NFD, HF_NFKC, HF_NFKD };

/* Appends the normal form of `text` (valid UTF-8). */
int hf_normal_form(enum hf_form form, const char *text, size_t len, struct cai_buf *ret);
/* Marks that the normalizer StripAccents takes away. */
bool hf_is_accent(uint32_t c);

#endif
