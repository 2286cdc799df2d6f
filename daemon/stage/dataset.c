/* dataset.c: frozen training data. */
#include "stage/dataset.h"

#include "base/error.h"
void dataset_row(struct dataset *d, json_t *row) {
    CAI_CHECK(row);
    CAI_AUTO(mem) char *line = json_dumps(row, JSON_COMPACT | JSON_SORT_KEYS);
    CAI_CHECK(line);
    json_decref(row);
    cai_buf_puts(&d->text, line);
    cai_buf_putc(&d->text, '\n');
    d->rows++;
}

int dataset_freeze(const struct stage_context *c, struct dataset *d, const char *why_empty,
                   struct cai_arena *a, Cai__V1__Dataset *ret) {
    if (d->rows == 0)
        return cai_fail(CAI_ESTATE, "job %lld, round %u, %s: nothing to train on: %s",
                        (long long)c->job_id, c->round, c->stage, why_empty);
    CAI_TRY(cai_buf_status(&d->text));
    char hash[65];
    CAI_AUTO(mem) char *path = NULL;
    CAI_TRY(store_blob_put(c->store, d->text.data, d->text.len, hash, &path));
    cai__v1__dataset__init(ret);
    ret->path = cai_arena_strdup(a, path);
    ret->hash = cai_arena_strdup(a, hash);
    ret->rows = d->rows;
    return 0;
}

void dataset_free(struct dataset *d) {
    cai_buf_free(&d->text);
    d->rows = 0;
}
