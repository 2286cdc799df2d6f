/* chat_plain.c: the form for checkpoints without a template:
 *     BOS, system text, "\n\nHuman: " text, "\n\nAssistant: " text EOS, …
 * A prompt ends with "\n\nAssistant:", so that the reply's first token carries the space.
 * Not for templates (template.c). */
#include "hf/chat.h"
#include <string.h>

struct hf_layout hf_layout_new(size_t n) {
    struct hf_layout l = {.n = n};
    l.content = cai_alloc((n + 1) * sizeof *l.content);
    l.turn = cai_alloc((n + 1) * sizeof *l.turn);
    return l;
}

void hf_layout_free(struct hf_layout *l) {
    cai_buf_free(&l->text);
    free(l->content);
    free(l->turn);
    *l = (struct hf_layout){0};
}

static struct hf_range put_content(struct cai_buf *b, const char *text) {
    size_t begin = b->len;
    cai_buf_puts(b, text);
    return (struct hf_range){begin, b->len};
}

static void put_message(const struct hf_chat_model *m, const struct hf_message *message,
                        struct hf_layout *l, size_t i) {
    bool assistant = strcmp(message->role, "assistant") == 0;
    bool system = strcmp(message->role, "system") == 0;
    cai_buf_puts(&l->text, system      ? (i ? "\n\n" : "")
                           : assistant ? "\n\nAssistant:"
                                       : "\n\nHuman:");
    size_t begin = l->text.len;
    if (!system)
        cai_buf_putc(&l->text, ' ');
    l->content[i] = put_content(&l->text, message->text);
    if (assistant)
        cai_buf_puts(&l->text, m->eos);
    l->turn[i] = assistant ? (struct hf_range){begin, l->text.len} : l->content[i];
}

void hf_plain_layout(const struct hf_chat_model *m, const struct hf_message *messages, size_t n,
                     bool generate, const char *prefix, struct hf_layout *l) {
    cai_buf_puts(&l->text, m->bos);
    for (size_t i = 0; i < n; i++)
        put_message(m, &messages[i], l, i);
    if (generate)
        cai_buf_puts(&l->text, "\n\nAssistant:");
    if (generate && prefix && prefix[0])
        cai_buf_putc(&l->text, ' ');
    l->content[n] = put_content(&l->text, generate && prefix ? prefix : "");
}
