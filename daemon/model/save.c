/* save.c: folders that transformers opens. Not for: manifests and pruning (learn). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names under which tokenizers reserve an id for padding; content never holds them. */
static const char *const pad_names[] = {
    "<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>", "<|pad_token|>",
};

static bool usable_pad(const struct model *m, const struct hf_tokenizer *t, int64_t id)
{
    const struct hf_config *c = &m->config;
    if (id < 0 || id >= c->vocab_size || id == c->eos_token_id || id == c->bos_token_id)
        return false;
    return !t || id >= hf_tokenizer_size(t) || hf_tokenizer_is_special(t, (int32_t)id);
}

/* The pad id a scalar-head model is exported with. It must never occur as content, since
 * transformers takes the score at the last token that is not padding. Equal to
 * vocab_size when no id is free: then a row is added. */
static int choose_pad(const struct model *m, int64_t *ret)
{
    struct hf_tokenizer *t = NULL;
    struct hf_chat *chat = NULL;
    int64_t end = -1, pad = m->config.vocab_size;
    if (m->dir) {
        CAI_AUTO(mem) char *path = cai_path_join(m->dir, "tokenizer.json");
        if (cai_file_exists(path)) {
            CAI_TRY(hf_tokenizer_load(m->dir, &t));
            int rc = hf_chat_load(m->dir, t, &chat);
            if (rc < 0) {
                hf_tokenizer_free(t);
                return rc;
            }
            end = hf_chat_end_id(chat);
        }
    }
    if (usable_pad(m, t, m->config.pad_token_id) && m->config.pad_token_id != end)
        pad = m->config.pad_token_id;
    for (size_t i = 0; pad == m->config.vocab_size && t && i < CAI_COUNT(pad_names); i++) {
        int32_t id = hf_tokenizer_id(t, pad_names[i]);
        if (usable_pad(m, t, id) && id != end)
            pad = id;
    }
    /* Rows beyond the tokenizer's ids, which some checkpoints have for alignment. */
    if (pad == m->config.vocab_size && t && hf_tokenizer_size(t) < m->config.vocab_size)
        pad = m->config.vocab_size - 1;
    hf_chat_free(chat);
    hf_tokenizer_free(t);
    *ret = pad;
    return 0;
}

static void describe(const struct model *m, const float *flat, struct hf_tensor *out)
{
    for (int i = 0; i < m->n_params; i++) {
        const struct model_param *p = &m->params[i];
        out[i] = (struct hf_tensor){.name = p->name, .dtype = HF_F32, .ndim = p->ndim,
                                    .data = flat + p->offset,
                                    .bytes = (size_t)p->numel * sizeof(float)};
        memcpy(out[i].shape, p->shape, sizeof(p->shape));
    }
}

/* config: as it shall stand in the folder; its vocab_size may ask for one row more. */
static int save_weights(const struct model *m, const struct hf_config *config, const char *dir)
{
    const float *flat = model_host(m);
    if (!flat)
        return CAI_ESTATE;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "model.safetensors");
    CAI_AUTO(mem) struct hf_tensor *tensors =
        cai_alloc((size_t)m->n_params * sizeof(*tensors));
    CAI_AUTO(mem) float *embedding = NULL;
    describe(m, flat, tensors);
    CAI_CHECK(!strcmp(tensors[0].name, "model.embed_tokens.weight"));
    if (config->vocab_size > m->config.vocab_size) { /* the new row stays zero */
        tensors[0].shape[0] = config->vocab_size;
        tensors[0].bytes =
            (size_t)(config->vocab_size * m->config.hidden_size) * sizeof(float);
        embedding = cai_alloc(tensors[0].bytes);
        memcpy(embedding, flat + m->params[0].offset,
               (size_t)m->params[0].numel * sizeof(float));
        tensors[0].data = embedding;
    }
    static const char *const metadata[] = {"format", "pt", NULL};
    return hf_weights_save(path, tensors, (size_t)m->n_params, metadata);
}

static int save_into(const struct model *m, const struct hf_config *config, const char *dir)
{
    CAI_TRY(save_weights(m, config, dir));
    CAI_TRY(hf_config_save(dir, config));
    if (m->dir && strcmp(m->dir, dir))
        CAI_TRY(hf_copy_tokenizer(m->dir, dir));
    return cai_file_sync(dir);
}

/* A new folder appears whole or not at all; in one that exists, file by file. */
int model_save(const struct model *m, const char *dir)
{
    struct hf_config config = m->config;
    if (m->head == MODEL_HEAD_SCALAR) {
        CAI_TRY(choose_pad(m, &config.pad_token_id));
        if (config.pad_token_id == config.vocab_size)
            config.vocab_size++;
    }
    struct stat st;
    if (stat(dir, &st) == 0)
        return save_into(m, &config, dir);
    CAI_AUTO(mem) char *partial = cai_format("%s.partial", dir);
    CAI_TRY(cai_dir_remove(partial));
    CAI_TRY(cai_dir_make(partial));
    int rc = save_into(m, &config, partial);
    if (rc == 0)
        rc = cai_file_rename_durable(partial, dir);
    return rc < 0 ? cai_fail_in("saving %s", dir) : 0;
}
