/* models.c: loaded models between tasks: weights, tokenizer and chat format, nothing that
 * running them leaves behind. States of a row: empty → loaded → (least recently used)
 * empty. Not for: what is computed with them. */
#include "worker/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <string.h>

enum { MODELS = 3 };

/* One compute thread per process uses these. */
static struct worker_model cache[MODELS];
static uint64_t fetches;

static void forget(struct worker_model *wm)
{
    hf_chat_free(wm->chat);
    hf_tokenizer_free(wm->t);
    model_free(wm->m);
    memset(wm, 0, sizeof(*wm));
}

void worker_forget_models(void)
{
    for (int i = 0; i < MODELS; i++)
        forget(&cache[i]);
}

static struct worker_model *find(const char *hash)
{
    for (int i = 0; i < MODELS; i++)
        if (cache[i].m && !strcmp(cache[i].hash, hash))
            return &cache[i];
    return NULL;
}

static struct worker_model *make_room(void)
{
    struct worker_model *oldest = &cache[0];
    for (int i = 0; i < MODELS; i++) {
        if (!cache[i].m)
            return &cache[i];
        if (cache[i].used < oldest->used)
            oldest = &cache[i];
    }
    forget(oldest);
    return oldest;
}

static int verify(const Cai__V1__Model *which)
{
    char hash[65];
    CAI_TRY(hf_model_hash(which->path, hash));
    if (strcmp(hash, which->hash))
        return cai_fail(CAI_ESTATE,
                        "%s has changed: its content hashes to %.16s…, the task names %.16s…; "
                        "restore the folder or submit the job again",
                        which->path, hash, which->hash);
    return 0;
}

/* Adapters of one base, and the base itself, share its weights. */
static int load(const char *path, struct model **ret)
{
    struct model *present[MODELS];
    size_t n = 0;
    for (int i = 0; i < MODELS; i++)
        if (cache[i].m)
            present[n++] = cache[i].m;
    return model_load_beside(path, present, n, ret);
}

int worker_model_get(const Cai__V1__Model *which, struct worker_model **ret)
{
    if (!which)
        return cai_fail(CAI_EPROTO, "the task names no model");
    struct worker_model *wm = find(which->hash);
    if (!wm) {
        CAI_TRY(verify(which));
        wm = make_room();
        int rc = load(which->path, &wm->m);
        if (rc == 0)
            rc = hf_tokenizer_load(which->path, &wm->t);
        if (rc == 0)
            rc = hf_chat_load(which->path, wm->t, &wm->chat);
        if (rc < 0) {
            forget(wm);
            return rc;
        }
        snprintf(wm->hash, sizeof(wm->hash), "%s", which->hash);
    }
    wm->used = ++fetches;
    *ret = wm;
    return 0;
}
