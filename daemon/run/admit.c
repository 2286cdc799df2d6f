/* admit.c: whether a job fits into the memory of the workers that are here. A job that fits
 * none is refused at submit, or, when no worker was known then, before its first task. Not
 * for: how much a job takes (stage/memory.h). */
#include "run/admit.h"
#include "base/error.h"
#include "hf/memory.h"
#include <string.h>

int64_t admit_share(const struct run *r, const struct worker *w) {
    bool own = strncmp(w->numeric_class, "cuda", 4) == 0; /* a device is nobody else's */
    int64_t n = 0;
    for (const struct worker *x = r->workers; x; x = x->next)
        n += x == w || (!own && strcmp(x->host, w->host) == 0 &&
                        strncmp(x->numeric_class, "cuda", 4) != 0);
    return (int64_t)(w->memory / (uint64_t)n);
}

bool admit_fits(const struct run *r, const struct worker *w, int64_t need) {
    int64_t share = admit_share(r, w);
    return share == 0 || share >= need;
}

struct room {
    uint32_t known, enough;
    int64_t most; /* that one worker has */
};

static struct room look(const struct run *r, int64_t need) {
    struct room x = {0};
    for (const struct worker *w = r->workers; w; w = w->next) {
        int64_t share = admit_share(r, w);
        x.known++;
        x.enough += admit_fits(r, w, need);
        x.most = share > x.most ? share : x.most;
    }
    return x;
}

int admit_check(const struct run *r, const struct job_spec *job, const struct memory_plan *plan) {
    const struct memory_phase *peak = &plan->phases[plan->peak];
    struct room x = look(r, peak->bytes);
    uint32_t ranks = (uint32_t)job->workers;
    char need[16], most[16];
    if (x.known == 0 || x.enough >= ranks || (x.enough > 0 && x.known < ranks))
        return 0;
    hf_memory_text(peak->bytes, need, sizeof need);
    hf_memory_text(x.most, most, sizeof most);
    return cai_fail(CAI_ELIMIT,
                    "the job does not fit: %s takes %s in each worker (%s); %u of %u workers here "
                    "%s so much, the largest has %s for itself: %s",
                    peak->name, need, peak->text, x.enough, x.known,
                    x.enough == 1 ? "has" : "have", most, plan->lower);
}

json_t *admit_json(const struct run *r, const struct memory_plan *plan) {
    struct room x = look(r, plan->phases[plan->peak].bytes);
    json_t *rows = json_array();
    for (size_t i = 0; i < plan->n; i++)
        json_array_append_new(rows, json_pack("{s:s, s:I, s:s}", "phase", plan->phases[i].name,
                                              "bytes", (json_int_t)plan->phases[i].bytes, "text",
                                              plan->phases[i].text));
    return json_pack("{s:I, s:s, s:o, s:o}", "bytes", (json_int_t)plan->phases[plan->peak].bytes,
                     "peak", plan->phases[plan->peak].name, "phases", rows, "workers",
                     x.known ? json_integer(x.most) : json_null());
}
