/* table.c: the stages in their order. Not for what each of them uses (task.c): a program may have
 * a table of its own. */
#include "stage/table.h"

#include <string.h>

const struct stage *const stage_table[] = {
    &stage_red_team,
    &stage_revise,
    &stage_audit,
    &stage_review_texts,
    &stage_consist,
    &stage_sft,
    &stage_label,
    &stage_review,
    &stage_prefer,
    &stage_skill,
    &stage_evaluate,
    &stage_ppo,
    NULL};

const struct stage *stage_find(const char *name) {
    for (size_t i = 0; stage_table[i]; i++)
        if (name && strcmp(stage_table[i]->name, name) == 0)
            return stage_table[i];
    return NULL;
}

/* The first enabled row from `i` on with the given `once`, or NULL. */
static const struct stage *first_from(const struct job_spec *job, size_t i, bool once) {
    for (; stage_table[i]; i++)
        if (stage_table[i]->once == once && stage_table[i]->enabled(job))
            return stage_table[i];
    return NULL;
}

static size_t index_of(const struct stage *s) {
    size_t i = 0;
    while (stage_table[i] != s)
        i++;
    return i;
}

const struct stage *stage_after(const struct job_spec *job, uint32_t round, const char *name,
                                uint32_t *ret_round) {
    const struct stage *at = stage_find(name), *next = NULL;
    uint32_t last = (uint32_t)job->rounds;
    if (round > last) { /* ppo, then its evaluation, then the end */
        if (at && at->once && stage_evaluate.enabled(job))
            next = &stage_evaluate;
        *ret_round = round;
        return next;
    }
    if (round > 0)
        next = first_from(job, at ? index_of(at) + 1 : 0, false);
    if (next) {
        *ret_round = round;
        return next;
    }
    next = round < last ? first_from(job, 0, false) : NULL;
    *ret_round = next ? round + 1 : last + 1;
    return next ? next : first_from(job, 0, true);
}
