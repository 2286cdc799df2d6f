/* probes_keep.c: what comes back about held-out prompts, kept as examples: replies with the kind of
 * their prompt, and a grader's probability of each. Not for reading them again (probes.c). */
#include "stage/probes.h"

#include "stage/classifier.h"

#include <string.h>

static int kind_of(const struct stage_context *c, uint64_t item, bool by_row, struct cai_arena *a,
                   const char **ret) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(c, item, a, &d));
    const char *kind = json_string_value(json_object_get(d.row, "kind"));
    const char *source = data_item_source(item);
    bool said = kind && (by_row || strcmp(source, "evaluate") == 0);
    *ret = said ? cai_arena_strdup(a, kind) : source;
    return 0;
}

int probes_keep_replies(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Result *result, const char *as, bool by_row) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        const char *kind;
        if (g[i]->finish == CAI__V1__FINISH__FINISH_TOO_LONG)
            continue;
        CAI_TRY(kind_of(c, g[i]->item, by_row, &a, &kind));
        CAI_TRY(example_put(c, g[i]->item, g[i]->k, as, g[i]->text, NULL,
                            task->generate->model->hash,
                            json_pack("{s:s, s:b}", "kind", kind, "cut",
                                      g[i]->finish == CAI__V1__FINISH__FINISH_LENGTH)));
    }
    return 0;
}

int probes_keep_scores(const struct stage_context *c, const Cai__V1__Task *task,
                       const Cai__V1__Result *result, const char *as, const char *grader) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct verdict *v;
    size_t n;
    CAI_TRY(classifier_read(task, result, &a, &v, &n));
    for (size_t i = 0; i < n; i++)
        if (!v[i].too_long)
            CAI_TRY(example_put(c, v[i].item, v[i].k, as, "", NULL, grader,
                                json_pack("{s:f}", "p", v[i].p)));
    return 0;
}
