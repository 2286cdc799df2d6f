/* check.c: whether a folder holds a model that a worker could load, from its headers alone:
 * config.json, the tensors' names, types and shapes, tokenizer.json, the chat template. Not
 * for: values of weights, and tensors that are there beyond those needed (model/load.c). */
#include "base/buf.h"
#include "base/error.h"
#include "hf/family.h"

static int check_tensors(const struct hf_weights *w, const struct hf_config *c) {
    CAI_AUTO(mem) struct hf_param *params = NULL;
    int n;
    CAI_TRY(hf_params(c, c->sequence_classification, &params, &n));
    for (int i = 0; i < n; i++) {
        const struct hf_tensor *t;
        CAI_TRY(hf_param_find(w, c, &params[i], &t));
    }
    return 0;
}

/* One turn is rendered, so that a template's own errors come through. */
static int check_chat(const char *dir, const struct hf_tokenizer *t) {
    static const struct hf_message hello = {"user", "Hello", 0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct hf_chat *chat;
    CAI_TRY(hf_chat_load(dir, t, &chat));
    int rc = hf_chat_render(chat, &hello, 1, true, NULL, &text);
    hf_chat_free(chat);
    return rc;
}

int hf_check(const char *dir, bool with_template) {
    struct hf_config c;
    struct hf_weights *w;
    struct hf_tokenizer *t;
    CAI_TRY(hf_config_load(dir, &c));
    CAI_TRY(hf_weights_open(dir, &w));
    int rc = check_tensors(w, &c);
    hf_weights_close(w);
    if (rc < 0)
        return cai_fail_in("%s", dir);
    CAI_TRY(hf_tokenizer_load(dir, &t));
    rc = with_template ? check_chat(dir, t) : 0;
    hf_tokenizer_free(t);
    return rc;
}
