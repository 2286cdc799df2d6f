/* chat.h: how a chat format lays messages out. Internal to the room. */
#ifndef CAI_HF_CHAT_H
#define CAI_HF_CHAT_H

#include "hf/tokenizer.h"

/* The text of messages, and where in it what each of them wrote came to lie. */
struct hf_layout {
    struct cai_buf text;
    struct hf_range *content; /* n + 1 of them: the last one is the prefix's, or empty */
    struct hf_range *turn;    /* n: what belongs to message i. An assistant's begins where the
                                 prompt for it ends, and includes its end marker */
    size_t n;
};

struct hf_chat_model { /* what both formats need to know */
    const struct hf_tokenizer *tokenizer;
    char *bos, *eos; /* "" when there is none */
    int32_t eos_id;
};

struct hf_template; /* a checkpoint's own, template.c */

void hf_plain_layout(const struct hf_chat_model *m, const struct hf_message *messages, size_t n,
                     bool generate, const char *prefix, struct hf_layout *l);

struct hf_layout hf_layout_new(size_t n);
void hf_layout_free(struct hf_layout *l);
static inline void cai_layout_auto(struct hf_layout *l) {
    hf_layout_free(l);
}

#endif
