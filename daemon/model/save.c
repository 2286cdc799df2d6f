/* save.c: folders that transformers opens. Not for: manifests and pruning (learn). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include "base/failpoint.h"
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

/* Tensors of a folder being written; those that are not the parameter itself are copies. */
struct writing {
    const struct model *m;
    const struct hf_config *config; /* as it shall stand in the folder */
    const float *flat;
    struct hf_tensor *tensors;
    float **copies; /* [n_params], NULL where the flat buffer serves */
    int n;
};

static bool is_whole(const struct hf_param *p)
{
    return !p->transposed && p->file_rows == p->shape[0];
}

/* The parameter's rows to where the file has them. */
static void write_param(const struct hf_param *p, const float *in, float *out)
{
    int64_t cols = p->ndim == 2 ? p->shape[1] : 1;
    for (int64_t r = 0; r < p->shape[0]; r++) {
        int64_t at = hf_param_file_row(p, r);
        if (!p->transposed)
            memcpy(out + at * cols, in + r * cols, (size_t)cols * sizeof(float));
        for (int64_t c = 0; p->transposed && c < cols; c++)
            out[c * p->file_rows + at] = in[r * cols + c];
    }
}

/* The tensor that a parameter is part of: the last one, if it shares its name. */
static void add_param(struct writing *w, const struct model_param *p)
{
    const struct hf_param *f = &p->file;
    bool grown = f->slot == HF_EMBEDDING && w->config->vocab_size > w->m->config.vocab_size;
    int64_t shape[2], rows = grown ? w->config->vocab_size : f->file_rows;
    if (w->n && !strcmp(w->tensors[w->n - 1].name, f->name)) {
        write_param(f, w->flat + p->offset, w->copies[w->n - 1]);
        return;
    }
    int ndim = hf_param_file_shape(f, shape);
    shape[f->transposed] = rows;
    size_t bytes = (size_t)(rows * (ndim == 2 ? f->shape[1] : 1)) * sizeof(float);
    struct hf_tensor *t = &w->tensors[w->n];
    *t = (struct hf_tensor){.name = f->name, .dtype = HF_F32, .ndim = ndim, .bytes = bytes,
                            .data = w->flat + p->offset};
    memcpy(t->shape, shape, sizeof(shape));
    if (!is_whole(f) || grown) { /* a row that was added stays zero */
        t->data = w->copies[w->n] = cai_alloc(bytes);
        write_param(f, w->flat + p->offset, w->copies[w->n]);
    }
    w->n++;
}

/* Which base it belongs to is said by hash as well. */
static int save_adapter(const struct model *m, const struct hf_tensor *tensors, size_t n,
                        const char *dir)
{
    struct hf_adapter how = m->adapter;
    const char *hash;
    CAI_TRY(model_folder_hash(m->base, &hash));
    snprintf(how.base_hash, sizeof(how.base_hash), "%s", hash);
    return hf_adapter_save_weights(dir, &how, tensors, n);
}

/* config: as it shall stand in the folder; its vocab_size may ask for one row more. */
static int save_flat(const struct model *m, const struct hf_config *config, const char *dir,
                     size_t shard_bytes, const float *flat)
{
    struct writing w = {.m = m, .config = config, .flat = flat};
    w.tensors = cai_alloc((size_t)m->n_params * sizeof(*w.tensors));
    w.copies = cai_alloc((size_t)m->n_params * sizeof(*w.copies));
    for (int i = 0; i < m->n_params; i++)
        add_param(&w, &m->params[i]);
    int rc = m->base ? save_adapter(m, w.tensors, (size_t)w.n, dir)
                     : hf_weights_save_folder(dir, w.tensors, (size_t)w.n, shard_bytes, NULL, NULL);
    for (int i = 0; i < w.n; i++)
        free(w.copies[i]);
    free(w.copies);
    free(w.tensors);
    return rc;
}

static int save_weights(const struct model *m, const struct hf_config *config, const char *dir,
                        size_t shard_bytes)
{
    float *flat;
    int rc = model_host_open(m, &flat);
    if (rc == 0)
        rc = save_flat(m, config, dir, shard_bytes, flat);
    model_host_close(m, flat, false);
    return rc;
}

static int save_into(const struct model *m, const struct hf_config *config, const char *dir,
                     size_t shard_bytes)
{
    CAI_TRY(CAI_FAILPOINT("model.weights.before"));
    CAI_TRY(save_weights(m, config, dir, shard_bytes));
    CAI_TRY(CAI_FAILPOINT("model.weights.after"));
    CAI_TRY(m->base ? hf_adapter_save(dir, &m->adapter, config) : hf_config_save(dir, config));
    if (m->dir && strcmp(m->dir, dir))
        CAI_TRY(hf_copy_tokenizer(m->dir, dir));
    return cai_file_sync(dir);
}

int model_save(const struct model *m, const char *dir)
{
    return model_save_sharded(m, dir, HF_SHARD_BYTES);
}

/* A new folder appears whole or not at all; in one that exists, file by file. */
int model_save_sharded(const struct model *m, const char *dir, size_t shard_bytes)
{
    struct hf_config config = m->config;
    if (m->head == MODEL_HEAD_SCALAR && !m->base) {
        CAI_TRY(choose_pad(m, &config.pad_token_id));
        if (config.pad_token_id == config.vocab_size)
            config.vocab_size++;
    }
    struct stat st;
    if (stat(dir, &st) == 0)
        return save_into(m, &config, dir, shard_bytes);
    CAI_AUTO(mem) char *partial = cai_format("%s.partial", dir);
    CAI_TRY(cai_dir_remove(partial));
    CAI_TRY(cai_dir_make(partial));
    int rc = save_into(m, &config, partial, shard_bytes);
    if (rc == 0)
        rc = CAI_FAILPOINT("model.rename.before");
    if (rc == 0)
        rc = cai_file_rename_durable(partial, dir);
    if (rc == 0)
        rc = CAI_FAILPOINT("model.rename.after");
    return rc < 0 ? cai_fail_in("saving %s", dir) : 0;
}
