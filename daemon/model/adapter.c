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

/* The factors A; B stays zero. */
static void draw(const struct model *m, struct cai_key key, float *flat)
{
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
}

int model_adapt(struct model *base, const struct hf_adapter *how, struct cai_key key,
                struct model **ret)
{
    struct model *m;
    float *flat;
    CAI_TRY(make(base, how, &m));
    int rc = model_host_open(m, &flat);
    if (rc == 0)
        draw(m, key, flat);
    int closed = model_host_close(m, flat, rc == 0);
    rc = rc < 0 ? rc : closed;
    if (rc == 0 && how->scalar)
        rc = model_draw_score(m, key);
    if (rc < 0) {
        model_free(m);
        return rc;
    }
    if (base->dir)
        m->dir = cai_strdup(base->dir);
    if (!m->adapter.base[0] && base->dir && strlen(base->dir) < sizeof(m->adapter.base))
        memcpy(m->adapter.base, base->dir, strlen(base->dir) + 1);
    *ret = m;
    return 0;
}

static int fill_host(struct model *m, const struct hf_weights *w, float *flat)
{
    CAI_AUTO(mem) struct hf_param *file = cai_alloc((size_t)m->n_params * sizeof(*file) + 1);
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

static int fill(struct model *m, const struct hf_weights *w)
{
    float *flat;
    int rc = model_host_open(m, &flat);
    if (rc == 0)
        rc = fill_host(m, w, flat);
    int closed = model_host_close(m, flat, rc == 0);
    return rc < 0 ? rc : closed;
}

int model_load_adapter(struct model *base, const char *dir, struct model **ret)
{
    struct hf_adapter how;
    struct hf_weights *w;
    struct model *m = NULL;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_model.safetensors");
    CAI_TRY(hf_adapter_load(dir, &how));
    CAI_TRY(hf_weights_open_file(path, &w));
    int rc = make(base, &how, &m);
    if (rc == 0)
        rc = fill(m, w);
    hf_weights_close(w);
    if (rc < 0) {
        model_free(m);
        return cai_fail_in("%s", dir);
    }
    m->dir = cai_strdup(dir);
    *ret = m;
    return 0;
}

int model_load_adapted(const char *dir, struct model **ret)
{
    struct hf_adapter how;
    struct model *base;
    CAI_AUTO(mem) char *from = NULL;
    char real[PATH_MAX];
    CAI_TRY(hf_adapter_load(dir, &how));
    CAI_TRY(hf_adapter_base(dir, &how, &from));
    if (hf_adapter_is(from))
        return cai_fail(CAI_EINPUT, "%s: its base %s is an adapter itself", dir, from);
    CAI_TRY(model_load(from, &base));
    int rc = model_load_adapter(base, dir, ret);
    model_free(base); /* the adapter keeps it */
    /* It may be saved elsewhere, where a relative path would lead astray. */
    if (rc == 0 && realpath(from, real) && strlen(real) < sizeof((*ret)->adapter.base))
        memcpy((*ret)->adapter.base, real, strlen(real) + 1);
    return rc;
}
