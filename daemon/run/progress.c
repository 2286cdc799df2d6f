/* progress.c: where a job stands, for people: the PROGRESS object of proto/control.h. */
#include "base/clock.h"
#include "run/state.h"
#include <string.h>

struct units {
    double done, total;
    bool steps;
};

/* A gang's task counts in its own steps; others in tasks, running ones by their part. */
static struct units count_units(struct run *r, int64_t job, uint32_t round, const char *stage) {
    struct units u = {0};
    int64_t done = 0, total = 0;
    if (*stage && store_task_counts(r->store, job, round, stage, &done, &total) == 0) {
        u.done = (double)done;
        u.total = (double)total;
    }
    for (const struct lease *l = r->leases; l; l = l->next) {
        if (l->job != job || l->revoked || !l->total || strcmp(l->stage, stage) != 0)
            continue;
        if (l->gang && l->rank == 0)
            return (struct units){(double)l->done, (double)l->total, true};
        if (!l->gang)
            u.done += (double)l->done / (double)l->total;
    }
    return u;
}

void progress_restart(struct run *r, struct job_run *j) {
    j->stage_since_ms = cai_now_ms();
    gauges_clear(&j->gauges);
    j->stage_base = -1;
    (void)r;
}

/* Units per second since this caid first looked at this stage; 0 = not known yet. */
static double rate_of(struct job_run *j, const struct units *u) {
    if (j->stage_base < 0 || u->done < j->stage_base) {
        j->stage_base = u->done;
        j->stage_since_ms = cai_now_ms();
    }
    double seconds = (double)(cai_now_ms() - j->stage_since_ms) / 1000;
    return seconds > 0.5 ? (u->done - j->stage_base) / seconds : 0;
}

static void put_rate(json_t *o, struct job_run *j, const struct units *u) {
    double rate = rate_of(j, u);
    json_object_set_new(o, "rate", rate > 0 ? json_real(rate) : json_null());
    json_object_set_new(o, "eta_s", rate > 0 ? json_real((u->total - u->done) / rate)
                                             : json_null());
}

static const char *stage_state(const struct store_job *row, uint32_t round, const char *stage,
                               bool *io_before) {
    if (row->state == JOB_COMPLETED)
        return "done";
    if (row->round == round && strcmp(row->stage, stage) == 0) {
        *io_before = false;
        return row->state == JOB_WAITING_REVIEW || row->state == JOB_SUSPENDED ? "waiting"
                                                                               : "running";
    }
    return *io_before && *row->stage ? "done" : "next";
}

static json_t *stages_json(const struct store_job *row, const struct job_spec *spec) {
    json_t *list = json_array();
    bool before = true;
    uint32_t round = 0;
    const struct stage *s = stage_after(spec, 0, NULL, &round);
    while (s) {
        json_array_append_new(list, json_pack("{s:i, s:s, s:s}", "round", (int)round, "stage",
                                              s->name, "state",
                                              stage_state(row, round, s->name, &before)));
        uint32_t next_round = 0;
        s = stage_after(spec, round, s->name, &next_round);
        round = next_round;
    }
    return list;
}

static double elapsed_s(const struct store_job *row) {
    if (!row->started_ms)
        return 0;
    int64_t end = row->finished_ms ? row->finished_ms : cai_wall_ms();
    return (double)(end - row->started_ms) / 1000;
}

static struct job_spec *spec_of(const struct store_job *row) {
    json_t *o = json_loads(row->spec, 0, NULL);
    struct job_spec *spec = NULL;
    if (o && job_from_json(o, &spec) < 0)
        spec = NULL;
    json_decref(o);
    return spec;
}

json_t *progress_json(struct run *r, const struct store_job *row) {
    struct job_run *j = job_find(r, row->id);
    struct job_spec *own = j && j->spec ? NULL : spec_of(row);
    const struct job_spec *spec = own ? own : j ? j->spec : NULL;
    const struct stage *stage = *row->stage ? stage_find(row->stage) : NULL;
    struct units u = count_units(r, row->id, row->round, row->stage);
    bool full = j && j->full;
    char late[320] = "";
    const char *reason = *row->reason || !j ? row->reason : j->waits;
    if (row->state == JOB_RUNNING && !*reason && late_job(r, row->id, late, sizeof late))
        reason = late;
    json_t *o = json_pack("{s:I, s:s, s:s, s:s, s:s, s:i, s:I, s:s, s:s, s:f, s:f, s:s, s:f, s:I}",
                          "id", (json_int_t)row->id, "name", row->name, "state",
                          job_state_name(full ? JOB_SUSPENDED : row->state), "reason",
                          full ? j->waits : reason, "gate", row->gate, "round", (int)row->round,
                          "rounds", (json_int_t)(spec ? spec->rounds : 0), "stage", row->stage,
                          "title", stage ? stage->title : "", "done", u.done, "total", u.total,
                          "unit", u.steps ? "steps" : "tasks", "elapsed_s", elapsed_s(row),
                          "workers", (json_int_t)leases_of_job(r, row->id));
    if (j && row->state == JOB_RUNNING && !full)
        put_rate(o, j, &u);
    json_object_set_new(o, "figures", j ? gauges_json(&j->gauges) : json_object());
    json_object_set_new(o, "stages", spec ? stages_json(row, spec) : json_array());
    job_free(own);
    return o;
}
