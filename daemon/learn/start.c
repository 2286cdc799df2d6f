/* start.c: see start.h. */
#include "learn/start.h"

#include "base/check.h"
#include "base/error.h"

/* The base is freed with the last adapter over it. */
static int adapt(const char *dir, const struct hf_adapter *how, struct cai_key key,
                 struct model **ret) {
    struct model *base;
    CAI_TRY(model_load(dir, &base));
    int rc = model_adapt(base, how, key, ret);
    model_free(base);
    return rc;
}

static bool wants_adapter(const char *dir, const struct hf_adapter *lora) {
    return lora->rank > 0 && !hf_adapter_is(dir);
}

int start_policy(const char *dir, const struct hf_adapter *lora, struct cai_key key,
                 struct model **ret) {
    struct model *m;
    CAI_TRY(wants_adapter(dir, lora) ? adapt(dir, lora, key, &m) : model_load(dir, &m));
    if (m->head != MODEL_HEAD_LM) {
        model_free(m);
        return cai_fail(CAI_EINPUT, "%s is not a language model", dir);
    }
    *ret = m;
    return 0;
}

int start_scalar(const char *dir, const struct hf_adapter *lora, struct cai_key key,
                 struct model **ret) {
    struct hf_adapter how = *lora;
    how.scalar = true;
    return wants_adapter(dir, lora) ? adapt(dir, &how, key, ret)
                                    : model_load_scalar(dir, key, ret);
}
