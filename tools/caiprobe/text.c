/* text.c: tokenize, detokenize, chat. */
#include "probe.h"

int probe_tokenize(struct probe *p, const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    const char *s = json_string_value(text);
    size_t len = json_string_length(text);
    struct hf_ids ids = {0};
    if (!s)
        return cai_fail(CAI_EINPUT, "\"text\" is missing");
    int rc = p->a->no_special && !p->a->text_only
                 ? hf_tokenizer_encode_written(p->t, s, len, &ids)
                 : hf_tokenizer_encode(p->t, s, len, !p->a->text_only, &ids);
    if (rc == 0)
        print_json(json_pack("{s:o}", "ids", ids_json(ids.data, ids.n)));
    hf_ids_free(&ids);
    return rc;
}

int probe_detokenize(struct probe *p, const json_t *line)
{
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct hf_ids ids = {0};
    int rc = get_ids(json_object_get(line, "ids"), &ids);
    if (rc == 0)
        rc = hf_tokenizer_decode(p->t, ids.data, ids.n, p->a->skip_special, &text);
    hf_ids_free(&ids);
    CAI_TRY(rc);
    CAI_TRY(cai_buf_status(&text));
    print_json(json_pack("{s:o}", "text", text_json(&text)));
    return 0;
}

int probe_show_chat(struct probe *p, const json_t *line)
{
    CAI_AUTO(mem) struct hf_message *messages = NULL;
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct hf_ids ids = {0};
    size_t n;
    CAI_TRY(get_messages(line, &messages, &n));
    CAI_TRY(hf_chat_render(p->chat, messages, n, p->a->generation_prompt, NULL, &text));
    CAI_TRY(cai_buf_status(&text));
    int rc = hf_chat_encode(p->chat, messages, n, p->a->generation_prompt, NULL, &ids, NULL, NULL);
    if (rc == 0)
        print_json(json_pack("{s:o, s:o}", "text",
                             text_json(&text), "ids",
                             ids_json(ids.data, ids.n)));
    hf_ids_free(&ids);
    return rc;
}
