/* methods.c: see methods.h. */
#include "stage/methods.h"

#include "base/error.h"
#include "stage/data.h"
#include "stage/debate.h"
#include "stage/rates.h"
#include <string.h>

enum { METHODS = 3, RESAMPLES = 2000 };
static const struct {
    const char *name, *kind, *phase;
} methods[METHODS] = {{"debate", "gate", "gate"},
                      {"direct", "gate_direct", "gate-direct"},
                      {"cot", "gate_cot", "gate-cot"}};

const char *methods_kind(const char *phase) {
    for (size_t i = 0; i < METHODS; i++)
        if (strcmp(methods[i].phase, phase) == 0)
            return methods[i].kind;
    return "gate";
}

/* Both orders' reasons. */
static int reason_tokens(const struct stage_context *c, uint64_t item, double *ret_generated,
                         double *ret_read) {
    *ret_generated = *ret_read = 0;
    for (uint32_t k = 0; k < 2; k++) {
        CAI_AUTO(mem) char *detail = NULL;
        CAI_TRY(store_example_get(c->store, c->job_id, c->round, "label", item, "reasons", k, NULL,
                                  &detail));
        json_auto_t *o = json_loads(detail, 0, NULL);
        *ret_generated += json_number_value(json_object_get(o, "generated"));
        *ret_read += json_number_value(json_object_get(o, "read"));
    }
    return 0;
}

int methods_tokens(const struct stage_context *c, const char *kind, uint64_t item,
                   double *ret_generated, double *ret_read) {
    *ret_generated = *ret_read = 0;
    if (strcmp(kind, "gate_cot") == 0)
        return reason_tokens(c, item, ret_generated, ret_read);
    return strcmp(kind, "gate") == 0 ? debate_tokens(c, item, 0, ret_generated, ret_read) : 0;
}

static int put_gain(const struct stage_context *c, const char *name, const struct examples *debate,
                    const struct examples *other, struct cai_arena *a) {
    double *gain = cai_arena_array(a, debate->n + 1, sizeof *gain), sum = 0, low, high;
    size_t n = 0;
    for (size_t i = 0; i < debate->n; i++) {
        const struct store_example *e = examples_find(other, debate->at[i].item, 0);
        if (!e)
            continue;
        gain[n] = example_flag(&debate->at[i], "right") - example_flag(e, "right");
        sum += gain[n++];
    }
    if (n == 0)
        return 0;
    rates_bootstrap(cai_key_make(c->job->seed, c->round, "label/methods", 0, 0), gain, n, RESAMPLES,
                    0.95, &low, &high);
    CAI_TRY(rates_value(c, cai_arena_printf(a, "gain_%s", name), sum / (double)n));
    CAI_TRY(rates_value(c, cai_arena_printf(a, "gain_%s_low", name), low));
    return rates_value(c, cai_arena_printf(a, "gain_%s_high", name), high);
}

int methods_figures(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct examples e[METHODS];
    for (size_t m = 0; m < METHODS; m++) {
        const char *name = methods[m].name;
        uint64_t right = 0;
        double generated = 0, read = 0;
        CAI_TRY(examples_load(c, c->round, "label", methods[m].kind, &a, &e[m]));
        for (size_t i = 0; i < e[m].n; i++) {
            right += example_flag(&e[m].at[i], "right");
            generated += example_number(&e[m].at[i], "generated", 0);
            read += example_number(&e[m].at[i], "read", 0);
        }
        if (e[m].n == 0)
            continue;
        double n = (double)e[m].n;
        CAI_TRY(rates_metric(c, c->round, "label", cai_arena_printf(&a, "method_%s_accuracy", name),
                             right, e[m].n));
        CAI_TRY(rates_value(c, cai_arena_printf(&a, "method_%s_generated", name), generated / n));
        CAI_TRY(rates_value(c, cai_arena_printf(&a, "method_%s_read", name), read / n));
        if (m > 0)
            CAI_TRY(put_gain(c, name, &e[0], &e[m], &a));
    }
    return 0;
}
