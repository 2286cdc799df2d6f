/* chat_plain.c: the form for checkpoints without a template:
 *     BOS, system text, "\n\nHuman: " text, "\n\nAssistant: " text EOS, …
 * A prompt ends with "\n\nAssistant:", so that the reply's first token carries the space.
 * Not for templates (template.c). */
#include "hf/chat.h"
#include <string.h>

struct hf_layout hf_layout_new(size_t n) {
    struct hf_layout l = {.n = n};
    l.turn = cai_alloc((n + 1) * sizeof *l.turn);
    return l;
}

void hf_layout_free(struct hf_layout *l) {
    cai_buf_free(&l->text);
    free(l->content);
    free(l->turn);
    *l = (struct hf_layout){0};
}

struct hf_range hf_layout_put(struct hf_layout *l, const char *text, size_t len) {
    struct hf_range r = {l->text.len, l->text.len + len};
    cai_buf_append(&l->text, text, len);
    l->content = cai_realloc(l->content, l->num_content + 1, sizeof *l->content);
    l->content[l->num_content++] = r;
    return r;
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
    struct hf_range said = hf_layout_put(l, message->text, strlen(message->text));
    if (assistant)
        cai_buf_puts(&l->text, m->eos);
    l->turn[i] = assistant ? (struct hf_range){begin, l->text.len} : said;
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
    prefix = generate && prefix ? prefix : "";
    hf_layout_put(l, prefix, strlen(prefix));
}
