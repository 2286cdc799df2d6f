/* admit.c: whether a job fits into the memory of the workers that are here. A job that fits
 * none is refused at submit, or, when no worker was known then, before its first task. Not
 * for: how much a job takes (stage/memory.h). */
#include "run/admit.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/memory.h"
#include "stage/disk.h"
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

int admit_disk(const struct run *r, const struct job_spec *job, json_t **ret_json) {
    struct disk_plan p;
    char need[16], room[16];
    CAI_TRY(disk_plan(job, &p));
    int64_t all = cai_dir_free_bytes(r->o.state_dir), kept = r->o.config.min_free_mb << 20;
    int64_t left = all < kept ? 0 : all - kept;
    if (ret_json)
        *ret_json = json_pack("{s:I, s:I, s:I, s:o, s:s}", "bytes", (json_int_t)p.bytes, "models",
                              (json_int_t)p.models, "states", (json_int_t)p.states, "free",
                              all < 0 ? json_null() : json_integer(left), "text", p.text);
    if (all < 0 || p.bytes <= left)
        return 0;
    hf_memory_text(p.bytes, need, sizeof need);
    hf_memory_text(left, room, sizeof room);
    return cai_fail(CAI_ELIMIT,
                    "the job does not fit on the disk: it takes %s (%s); %s has %s free beside the "
                    "%lld MB that stay free (min_free_mb): %s",
                    need, p.text, r->o.state_dir, room, (long long)r->o.config.min_free_mb,
                    p.lower);
}
