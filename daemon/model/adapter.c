/* adapter.c: models that are an adapter over a base (Hu et al. 2021, "LoRA"): fresh ones,
 * and those of PEFT's folders. Not for: what a folder must look like (hf/adapter.c), the
 * arithmetic (layer.c). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* All parameters zero. */
static int make(struct model *base, const struct hf_adapter *how, struct model **ret)
{
    if (base->base)
        return cai_fail(CAI_EINPUT, "an adapter cannot be put over an adapter");
    if (base->head != MODEL_HEAD_LM)
        return cai_fail(CAI_EINPUT, "%s: an adapter's base must be a language model",
                        base->dir ? base->dir : "the base");
    CAI_AUTO(mem) struct hf_param *file = NULL;
    struct model_param *params;
    int n;
    int64_t numel;
    CAI_TRY(hf_adapter_params(&base->config, how, &file, &n));
    model_place(file, n, &params, &numel);
    CAI_TRY(model_make(&base->config, how->scalar ? MODEL_HEAD_SCALAR : MODEL_HEAD_LM, params, n,
                       numel, base, ret));
    (*ret)->adapter = *how;
    (*ret)->lora_scale = hf_adapter_scale(how);
    return 0;
}

/* Where the base lies, without what a relative path or a link would lead astray by. */
static void set_base_path(struct model *m)
{
    char real[PATH_MAX];
    const char *dir = m->base->dir;
    if (!dir)
        return;
    dir = realpath(dir, real) ? real : dir;
    if (strlen(dir) < sizeof(m->adapter.base))
        memcpy(m->adapter.base, dir, strlen(dir) + 1);
}

/* The head's numbers are not those of the factors, though both come of one key. */
static struct cai_key score_key(struct cai_key key)
{
    key.lo ^= 1;
    return key;
}

int model_adapt(struct model *base, const struct hf_adapter *how, struct cai_key key,
                struct model **ret)
{
    struct model *m;
    CAI_TRY(make(base, how, &m));
    float *flat = model_host(m);
    if (!flat) {
        model_free(m);
        return CAI_ESTATE;
    }
    for (int i = 0; i < m->n_params; i++) {
        const struct model_param *p = &m->params[i];
        if (p->file.matrix != HF_LORA_A)
            continue;
        /* He et al. 2015 with a = √5, as PEFT has it: uniform within 1/√in. */
        double bound = 1 / sqrt((double)p->file.shape[1]);
        for (int64_t j = 0; j < p->numel; j++)
            flat[p->offset + j] =
                (float)(bound * (2 * cai_rng_uniform(key, (uint64_t)(p->offset + j)) - 1));
    }
    if (how->scalar)
        model_draw_score(m, score_key(key));
    if (base->dir)
        m->dir = cai_strdup(base->dir);
    set_base_path(m);
    *ret = m;
    return 0;
}

static int fill(struct model *m, const struct hf_weights *w)
{
    CAI_AUTO(mem) struct hf_param *file = cai_alloc((size_t)m->n_params * sizeof(*file) + 1);
    float *flat = model_host(m);
    if (!flat)
        return CAI_ESTATE;
    for (int i = 0; i < m->n_params; i++)
        file[i] = m->params[i].file;
    CAI_TRY(hf_adapter_check_unused(w, file, m->n_params));
    for (int i = 0; i < m->n_params; i++) {
        const struct hf_tensor *t;
        CAI_TRY(hf_adapter_find(w, &file[i], &t));
        CAI_TRY(model_read_param(t, &file[i], flat + m->params[i].offset));
        if (file[i].slot == HF_SCORE)
            CAI_TRY(model_check_score(flat + m->params[i].offset, m->params[i].numel));
    }
    return 0;
}

static int check_base(const struct model *base, const struct hf_weights *w)
{
    const char *said = hf_weights_metadata(w, "base_sha256");
    if (!said || !base->hash[0] || !strcmp(said, base->hash))
        return 0;
    return cai_fail(CAI_EINPUT, "the adapter was trained over a base with hash %.12s…, that of %s is "
                    "%.12s…", said, base->dir, base->hash);
}

int model_adapt_scalar(const struct model *m, struct cai_key key, struct model **ret)
{
    struct hf_adapter how = m->adapter;
    struct model *s;
    CAI_CHECK(m->base && m->head == MODEL_HEAD_LM);
    how.scalar = true;
    CAI_TRY(make(m->base, &how, &s));
    float *to = model_host(s), *from = model_host(m);
    if (!to || !from) {
        model_free(s);
        return CAI_ESTATE;
    }
    /* The same factors in the same order; the head comes last. */
    CAI_CHECK(s->n_params == m->n_params + 1 && s->params[m->n_params].file.slot == HF_SCORE);
    for (int i = 0; i < m->n_params; i++) {
        CAI_CHECK(s->params[i].numel == m->params[i].numel);
        memcpy(to + s->params[i].offset, from + m->params[i].offset,
               (size_t)m->params[i].numel * sizeof(*to));
    }
    model_draw_score(s, key);
    s->dir = m->dir ? cai_strdup(m->dir) : NULL;
    *ret = s;
    return 0;
}

int model_load_adapter(struct model *base, const char *dir, struct model **ret)
{
    struct hf_adapter how;
    struct hf_weights *w;
    struct model *m = NULL;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_model.safetensors");
    CAI_TRY(hf_adapter_load(dir, &how));
    CAI_TRY(hf_weights_open_file(path, &w));
    int rc = check_base(base, w);
    if (rc == 0)
        rc = make(base, &how, &m);
    if (rc == 0)
        rc = fill(m, w);
    hf_weights_close(w);
    if (rc < 0) {
        model_free(m);
        return cai_fail_in("%s", dir);
    }
    m->dir = cai_strdup(dir);
    set_base_path(m);
    *ret = m;
    return 0;
}

/* The folder of an adapter's base; the folder itself if it is none. */
static int base_of(const char *dir, char **ret)
{
    struct hf_adapter how;
    if (!hf_adapter_is(dir)) {
        *ret = cai_strdup(dir);
        return 0;
    }
    CAI_TRY(hf_adapter_load(dir, &how));
    CAI_TRY(hf_adapter_base(dir, &how, ret));
    return hf_adapter_is(*ret) ? cai_fail(CAI_EINPUT, "%s: its base %s is an adapter itself", dir,
                                          *ret)
                               : 0;
}

int model_load_adapted(const char *dir, struct model **ret)
{
    struct model *base;
    CAI_AUTO(mem) char *from = NULL;
    CAI_TRY(base_of(dir, &from));
    CAI_TRY(model_load(from, &base));
    int rc = model_load_adapter(base, dir, ret);
    model_free(base); /* the adapter keeps it */
    return rc;
}

int model_load_beside(const char *dir, struct model *const *beside, size_t n, struct model **ret)
{
    CAI_AUTO(mem) char *from = NULL;
    struct model *found = NULL;
    char stamp[sizeof(found->stamp)];
    CAI_TRY(base_of(dir, &from));
    CAI_TRY(hf_weights_stamp(from, stamp));
    for (size_t i = 0; i < n && !found; i++) {
        struct model *root = beside[i]->base ? beside[i]->base : beside[i];
        if (!strcmp(root->stamp, stamp))
            found = root;
    }
    if (!found)
        return model_load(dir, ret);
    if (hf_adapter_is(dir))
        return model_load_adapter(found, dir, ret);
    found->uses++;
    *ret = found;
    return 0;
}

int model_folder_hash(struct model *m, const char **ret)
{
    char stamp[sizeof(m->stamp)];
    if (m->dir && m->stamp[0] && !m->hash[0]) {
        CAI_TRY(hf_weights_stamp(m->dir, stamp));
        if (strcmp(stamp, m->stamp))
            return cai_fail(CAI_ESTATE, "%s has changed since it was loaded", m->dir);
        CAI_TRY(hf_model_hash(m->dir, m->hash));
    }
    *ret = m->hash;
    return 0;
}
