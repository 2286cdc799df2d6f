/* host.c: see host.h. */
#include "learn/host.h"

#include "base/check.h"
#include "base/error.h"
#include "hf/hf.h"

#include <math.h>
#include <stdarg.h>

int learn_stopping(const struct learn_task *t) {
    if (t->host != NULL && t->host->stopping != NULL && t->host->stopping(t->host->context))
        return cai_fail(CAI_ESTATE, "the task was called back");
    return 0;
}

bool learn_wishes_to_leave(const struct learn_task *t) {
    return t->host != NULL && t->host->leaving != NULL && t->host->leaving(t->host->context);
}

int learn_left(const struct learn_task *t, uint64_t step) {
    if (t->host != NULL && t->host->left != NULL)
        t->host->left(t->host->context);
    return cai_fail(CAI_ESTATE, "the run was asked to leave and did, its state saved after step "
                    "%llu", (unsigned long long)step);
}

void metrics_add(struct metrics *m, double value, const char *format, ...) {
    if (!isfinite(value))
        return;
    CAI_CHECK(m->n < METRICS_MAX);
    va_list args;
    va_start(args, format);
    vsnprintf(m->item[m->n].name, METRIC_NAME, format, args);
    va_end(args);
    m->item[m->n++].value = value;
}

void learn_report(const struct learn_task *t, uint64_t done, uint64_t total, uint64_t step,
                  const struct metrics *m, Cai__V1__Sample **samples, size_t n_samples) {
    if (learn_rank(t) != 0 || t->host == NULL || t->host->report == NULL)
        return;
    Cai__V1__Metric item[METRICS_MAX], *list[METRICS_MAX];
    for (int i = 0; i < m->n; i++) {
        item[i] = (Cai__V1__Metric)CAI__V1__METRIC__INIT;
        item[i].name = (char *)(uintptr_t)m->item[i].name;
        item[i].step = step;
        item[i].value = m->item[i].value;
        list[i] = &item[i];
    }
    Cai__V1__Report r = CAI__V1__REPORT__INIT;
    r.done = done;
    r.total = total;
    r.step = step;
    r.n_metrics = (size_t)m->n;
    r.metrics = list;
    r.n_samples = n_samples;
    r.samples = samples;
    t->host->report(t->host->context, &r);
}

Cai__V1__Trained *trained_new(uint64_t steps, const struct metrics *m, const char *stopped) {
    Cai__V1__Trained *t = cai_alloc(sizeof *t);
    cai__v1__trained__init(t);
    t->steps = steps;
    t->stopped = cai_strdup(stopped);
    t->metrics = cai_realloc(NULL, (size_t)m->n + 1, sizeof *t->metrics);
    for (int i = 0; i < m->n; i++) {
        Cai__V1__Metric *x = cai_alloc(sizeof *x);
        cai__v1__metric__init(x);
        x->name = cai_strdup(m->item[i].name);
        x->step = steps;
        x->value = m->item[i].value;
        t->metrics[t->n_metrics++] = x;
    }
    return t;
}

int trained_add_output(const struct learn_task *task, Cai__V1__Trained *t, const char *dir) {
    char hash[65];
    CAI_TRY(hf_model_hash(dir, hash));
    if (learn_rank(task) == 0)
        CAI_TRY(hf_manifest_write(dir));
    Cai__V1__Model *m = cai_alloc(sizeof *m);
    cai__v1__model__init(m);
    m->path = cai_strdup(dir);
    m->hash = cai_strdup(hash);
    t->outputs = cai_realloc(t->outputs, t->n_outputs + 1, sizeof *t->outputs);
    t->outputs[t->n_outputs++] = m;
    return 0;
}
