/* consist_teach.c: which questions of known answer teach (stages.consist.teach): the policy's own ways
 * to them that come to that answer are learned, as in STaR (Zelikman et al. 2022, arXiv 2203.14465,
 * §3), beside the ways that votes keep. The others fit the threshold of votes and say how often
 * those are right, which no question that is learned can: so one that is like another goes to the
 * same side. When they have done that for the last time they teach too, as a model is fitted to
 * all data once its choices are made on a part. Not for: reading answers and counting (consist.c),
 * rows (consist_rows.c). */
#include "stage/consist.h"

#include "base/error.h"
#include "base/rng.h"
#include <stdlib.h>

struct known { /* a labelled question, and the first of those that it is like */
    uint64_t group, item;
};

static int by_group(const void *x, const void *y) {
    const struct known *a = x, *b = y;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    return a->item < b->item ? -1 : a->item > b->item;
}

static int known_of(const struct stage_context *c, struct cai_arena *a, struct known **ret,
                    size_t *ret_n) {
    struct items all;
    CAI_TRY(data_pool(c, JOB_DATA_QUESTIONS, a, &all));
    *ret = cai_arena_array(a, all.n + 1, sizeof **ret);
    *ret_n = 0;
    for (size_t i = 0; i < all.n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, all.at[i], a, &d));
        if (json_object_get(d.row, "reply") || !json_object_get(d.row, "answer"))
            continue;
        struct known *k = &(*ret)[(*ret_n)++];
        k->item = all.at[i];
        CAI_TRY(data_group(c, k->item, &k->group));
    }
    qsort(*ret, *ret_n, sizeof **ret, by_group);
    return 0;
}

int consist_teaching(const struct stage_context *c, struct cai_arena *a, struct items *ret) {
    struct known *k;
    size_t n, groups = 0;
    *ret = (struct items){0};
    if (c->job->consist.teach <= 0)
        return 0;
    CAI_TRY(known_of(c, a, &k, &n));
    size_t most = (size_t)(c->job->consist.teach * (double)n);
    size_t *first = cai_arena_array(a, n + 1, sizeof *first); /* place of each group's first */
    uint32_t *order = cai_arena_array(a, n + 1, sizeof *order);
    ret->at = cai_arena_array(a, n + 1, sizeof *ret->at);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || k[i].group != k[i - 1].group)
            first[groups++] = i;
    first[groups] = n;
    cai_rng_permutation(cai_key_make(c->job->seed, 0, "consist/teach", 0, 0), groups, order);
    for (size_t i = 0; i < groups; i++) {
        size_t from = first[order[i]], to = first[order[i] + 1];
        for (size_t j = from; j < to && ret->n + (to - j) <= most; j++)
            ret->at[ret->n++] = k[j].item;
    }
    items_sort(ret);
    return 0;
}

bool consist_labels_first(const struct job_spec *j, uint32_t round) {
    return j->consist.teach > 0 && round == 1 && j->rounds > 1;
}

bool consist_all_teach(const struct stage_context *c) {
    return c->job->consist.teach > 0 && c->round >= c->job->rounds;
}
