/* train.c: see train.h. */
#include "learn/train.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "learn/heap.h"
#include "learn/held.h"
#include "learn/supervise.h"

#include <string.h>

int learn_train(const struct learn_task *t, Cai__V1__Trained **ret) {
    static const struct {
        const char *kind;
        int (*run)(const struct learn_task *t, Cai__V1__Trained **ret);
    } kinds[] = {{"sft", learn_sft}, {"pm", learn_pm}, {"classifier", learn_classifier},
                 {"ppo", learn_policy}, {"red", learn_ppo}};
    *ret = NULL;
    if (t->train->init == NULL || t->train->dataset == NULL)
        return cai_fail(CAI_EPROTO, "a training task without a model or dataset");
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        if (strcmp(t->train->kind, kinds[i].kind) == 0) {
            heap_keep(true);
            int rc = kinds[i].run(t, ret);
            heap_keep(false);
            return rc;
        }
    return cai_fail(CAI_EPROTO, "no such kind of training: %s", t->train->kind);
}

/* The ids of every sequence, and what a run keeps beside them for each row. */
static int64_t bytes_of(const struct dataset *d) {
    size_t all = d->n * (sizeof *d->rows + sizeof(struct example));
    for (size_t i = 0; i < d->n; i++)
        all += (size_t)(d->rows[i].seq[0].n + d->rows[i].seq[1].n) * sizeof *d->rows[i].seq[0].ids;
    return (int64_t)all;
}

int train_load_rows(const struct learn_task *t, const char *dir, const struct model *m,
                    enum dataset_kind kind, struct dataset *ret) {
    struct hf_tokenizer *tokenizer = NULL;
    struct hf_chat *chat = NULL;
    int rc = hf_tokenizer_load(dir, &tokenizer);
    if (rc == 0)
        rc = hf_chat_load(dir, tokenizer, &chat);
    if (rc == 0)
        rc = dataset_load(t->train->dataset->path, t->train->dataset->hash, kind, chat,
                          m->config.max_positions, ret);
    if (rc == 0)
        held_data(bytes_of(ret));
    hf_chat_free(chat);
    hf_tokenizer_free(tokenizer);
    return rc;
}

static int replace(const struct model *m, const char *dir) {
    CAI_AUTO(mem) char *parent = cai_strdup(dir);
    char *slash = strrchr(parent, '/');
    if (slash != NULL && slash != parent) {
        *slash = '\0';
        CAI_TRY(cai_dir_make(parent));
    }
    CAI_TRY(cai_dir_remove(dir));
    return model_save(m, dir);
}

int train_save(const struct learn_task *t, const struct model *m, const char *dir) {
    int rc = learn_rank(t) == 0 ? replace(m, dir) : 0;
    if (learn_world(t) == 1)
        return rc;
    int64_t failed = rc < 0;
    CAI_TRY(comm_all_reduce_max(t->comm, &failed, 1));
    if (rc == 0 && failed)
        return cai_fail(CAI_EIO, "rank 0 could not save %s", dir);
    return rc;
}
