/* pack.c: sequences laid end to end. Not for: which sequences go together (learn). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"

static int check(const struct model *m, const int32_t *const *ids, const int64_t *lengths,
                 int64_t n)
{
    if (n < 1)
        return cai_fail(CAI_EINPUT, "a pack needs at least one sequence");
    for (int64_t i = 0; i < n; i++) {
        if (lengths[i] < 1)
            return cai_fail(CAI_EINPUT, "sequence %lld is empty", (long long)i);
        if (lengths[i] > m->config.max_positions)
            return cai_fail(CAI_ELIMIT, "sequence %lld has %lld tokens, the model takes %lld",
                            (long long)i, (long long)lengths[i],
                            (long long)m->config.max_positions);
        for (int64_t j = 0; j < lengths[i]; j++)
            if (ids[i][j] < 0 || ids[i][j] >= m->config.vocab_size)
                return cai_fail(CAI_EINPUT, "token id %ld is outside the vocabulary of %lld",
                                (long)ids[i][j], (long long)m->config.vocab_size);
    }
    return 0;
}

static int keep_rows(struct rope_rows rows, struct rope_rows *ret)
{
    if (!rows.cos)
        return 0;
    CAI_TRY(ct_keep(rows.cos, &ret->cos));
    return ct_keep(rows.sin, &ret->sin);
}

static int keep_tensors(struct pack *p, const struct model *m, const int64_t *ids,
                        const int64_t *positions, const int64_t *lengths)
{
    ct_scope *s = ct_scope_open();
    ct_tensor *id_tensor = ct_from_i64(s, ids, p->t); /* [T] */
    ct_tensor *at = ct_from_i64(s, positions, p->t);  /* [T] */
    struct rope_rows rope = rope_rows(s, m->rope, positions, lengths, p->t);
    struct rope_rows local = rope_rows(s, m->rope_local, positions, lengths, p->t);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(id_tensor, &p->ids);
    if (rc == 0)
        rc = ct_keep(at, &p->positions);
    if (rc == 0)
        rc = keep_rows(rope, &p->rope);
    if (rc == 0)
        rc = keep_rows(local, &p->rope_local);
    ct_scope_close(s);
    return rc;
}

int pack_new(const struct model *m, const int32_t *const *ids, const int64_t *lengths, int64_t n,
             struct pack **ret)
{
    CAI_TRY(check(m, ids, lengths, n));
    struct pack *p = cai_alloc(sizeof(*p));
    p->n = n;
    p->starts = cai_realloc(NULL, (size_t)n + 1, sizeof(*p->starts));
    p->starts[0] = 0;
    for (int64_t i = 0; i < n; i++)
        p->starts[i + 1] = p->starts[i] + lengths[i];
    p->t = p->starts[n];
    p->host_ids = cai_realloc(NULL, (size_t)p->t, sizeof(*p->host_ids));
    CAI_AUTO(mem) int64_t *wide = cai_realloc(NULL, (size_t)p->t, sizeof(*wide));
    CAI_AUTO(mem) int64_t *positions = cai_realloc(NULL, (size_t)p->t, sizeof(*positions));
    CAI_AUTO(mem) int64_t *of = cai_realloc(NULL, (size_t)p->t, sizeof(*of)); /* row → length */
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < lengths[i]; j++) {
            int64_t row = p->starts[i] + j;
            p->host_ids[row] = ids[i][j];
            wide[row] = ids[i][j];
            positions[row] = j;
            of[row] = lengths[i];
        }
    int rc = keep_tensors(p, m, wide, positions, of);
    if (rc < 0) {
        pack_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

void pack_free(struct pack *p)
{
    if (!p)
        return;
    ct_free(p->ids);
    ct_free(p->positions);
    ct_free(p->rope.cos);
    ct_free(p->rope.sin);
    ct_free(p->rope_local.cos);
    ct_free(p->rope_local.sin);
    free(p->starts);
    free(p->host_ids);
    free(p);
}
