/* check.c: whether a folder holds a model that a worker could load, from its headers alone:
 * config.json, the tensors' names, types and shapes, tokenizer.json, the chat template. Not
 * for: values of weights, and tensors that are there beyond those needed (model/load.c). */
#include "base/buf.h"
#include "base/error.h"
#include "base/check.h"
#include "base/file.h"
#include "hf/adapter.h"

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

static int check_weights(const char *dir, bool scalar) {
    struct hf_config c;
    struct hf_weights *w;
    CAI_TRY(hf_config_load(dir, &c));
    if (c.sequence_classification && !scalar)
        return cai_fail(CAI_EINPUT, "%s: an adapter's base must be a language model", dir);
    CAI_TRY(hf_weights_open(dir, &w));
    int rc = check_tensors(w, &c);
    hf_weights_close(w);
    return rc < 0 ? cai_fail_in("%s", dir) : 0;
}

/* The base's tensors, then the adapter's over its configuration. */
static int check_adapter(const char *dir) {
    struct hf_adapter a;
    struct hf_config c;
    struct hf_weights *w;
    CAI_AUTO(mem) char *base = NULL;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_model.safetensors");
    CAI_AUTO(mem) struct hf_param *params = NULL;
    int n, rc = 0;
    CAI_TRY(hf_adapter_load(dir, &a));
    CAI_TRY(hf_adapter_base(dir, &a, &base));
    CAI_TRY(hf_config_load(dir, &c)); /* the base's */
    CAI_TRY(check_weights(base, false));
    CAI_TRY(hf_adapter_params(&c, &a, &params, &n));
    CAI_TRY(hf_weights_open_file(path, &w));
    for (int i = 0; i < n && rc == 0; i++) {
        const struct hf_tensor *t;
        rc = hf_adapter_find(w, &params[i], &t);
    }
    if (rc == 0)
        rc = hf_adapter_check_unused(w, params, n);
    hf_weights_close(w);
    return rc;
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
    struct hf_tokenizer *t;
    CAI_TRY(hf_adapter_is(dir) ? check_adapter(dir) : check_weights(dir, true));
    CAI_TRY(hf_tokenizer_load(dir, &t));
    int rc = with_template ? check_chat(dir, t) : 0;
    hf_tokenizer_free(t);
    return rc;
}

int hf_check_writes(const char *dir) {
    struct hf_config c;
    CAI_TRY(hf_config_load(dir, &c));
    if (!c.sequence_classification)
        return 0;
    return cai_fail(CAI_EINPUT,
                    "%s: the model has a scalar head (…ForSequenceClassification), it "
                    "gives scores and cannot write text; name a …ForCausalLM folder",
                    dir);
}

int hf_check_scores(const char *dir, const char *remedy) {
    struct hf_config c;
    CAI_AUTO(mem) struct hf_param *params = NULL;
    int n;
    CAI_TRY(hf_config_load(dir, &c));
    if (hf_params(&c, true, &params, &n) == 0)
        return 0;
    CAI_AUTO(mem) char *text = cai_strdup(cai_error_text());
    return cai_fail(CAI_EINPUT, "%s: %s: %s", dir, text, remedy);
}
