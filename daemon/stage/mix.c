/* mix.c: see mix.h. Not for: how the rows are learned (daemon/learn/ppo_mix.c). */
#include "stage/mix.h"

#include "stage/data.h"
#include "stage/dataset.h"

#include <stdio.h>
#include <string.h>

struct last_sft {
    uint32_t round;
    char hash[65]; /* "" = no fine-tuning ran */
};

static int take_model(void *context, const struct store_model *m) {
    struct last_sft *o = context;
    if (strcmp(m->stage, "sft") != 0 || strcmp(m->kind, "policy") != 0 || m->round < o->round)
        return 0;
    json_t *about = json_loads(m->provenance, 0, NULL);
    const char *hash = json_string_value(json_object_get(about, "dataset"));
    o->round = m->round;
    snprintf(o->hash, sizeof o->hash, "%s", hash ? hash : "");
    json_decref(about);
    return 0;
}

static int freeze_helpful(const struct stage_context *c, struct cai_arena *a,
                          Cai__V1__Dataset *ret) {
    CAI_AUTO(dataset) struct dataset d = {0};
    struct items pool;
    CAI_TRY(data_pool(c, JOB_DATA_HELPFUL, a, &pool));
    for (size_t i = 0; i < pool.n; i++) {
        CAI_AUTO(dialog) struct dialog o = {0};
        CAI_TRY(data_dialog(c, pool.at[i], a, &o));
        const char *reply = json_string_value(json_object_get(o.row, "reply"));
        if (!reply || !*reply)
            continue;
        json_t *messages = data_messages(o.turns, o.n);
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", "assistant", "text", reply));
        dataset_row(&d, json_pack("{s:I, s:o}", "item", (json_int_t)pool.at[i], "messages",
                                  messages));
    }
    return dataset_freeze(c, &d, "there are no rows for stages.ppo.ptx: sft did not run, and no row "
                          "of data.helpful has a reply; set stages.ppo.ptx.coef: 0, or give "
                          "replies", a, ret);
}

int mix_freeze(const struct stage_context *c, struct cai_arena *a, Cai__V1__Dataset *own,
               Cai__V1__Dataset **ret) {
    struct last_sft sft = {0};
    *ret = NULL;
    if (c->job->ppo.ptx_coef <= 0 || job_ppo_from_labels(c->job))
        return 0;
    CAI_TRY(store_models_each(c->store, c->job_id, take_model, &sft));
    if (sft.hash[0]) {
        CAI_AUTO(mem) char *path = store_blob_path(c->store, sft.hash);
        cai__v1__dataset__init(own);
        own->path = cai_arena_strdup(a, path);
        own->hash = cai_arena_strdup(a, sft.hash);
    } else {
        CAI_TRY(freeze_helpful(c, a, own));
    }
    *ret = own;
    return 0;
}
