/* chat.h: how a chat format lays messages out. Internal to the room. */
#ifndef CAI_HF_CHAT_H
#define CAI_HF_CHAT_H

#include "hf/tokenizer.h"

/* The text of messages, and where in it what each of them wrote came to lie. */
struct hf_layout {
    struct cai_buf text;
    struct hf_range *content; /* what messages and the prefix say, in no order */
    size_t num_content;
    struct hf_range *turn; /* n: what belongs to message i. An assistant's begins where the
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
/* Appends a text that somebody wrote, and keeps where it lies. */
struct hf_range hf_layout_put(struct hf_layout *l, const char *text, size_t len);
void hf_layout_free(struct hf_layout *l);
static inline void cai_layout_auto(struct hf_layout *l) {
    hf_layout_free(l);
}

#endif
