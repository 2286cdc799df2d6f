/* job_list.c: the jobs in memory, in the order of their ids: a chain for whoever goes through
 * them, and an array for whoever looks for one, since ten thousand may wait. Not for what a
 * job holds (jobs.c). */
#include "run/state.h"
#include <string.h>

/* Where the first job is whose id is not less. */
static size_t place_of(const struct run *r, int64_t id) {
    size_t low = 0, high = r->n_jobs;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->by_id[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct job_run *job_find(const struct run *r, int64_t id) {
    size_t at = place_of(r, id);
    return at < r->n_jobs && r->by_id[at]->id == id ? r->by_id[at] : NULL;
}

void job_list_add(struct run *r, struct job_run *j) {
    size_t at = place_of(r, j->id);
    if (r->n_jobs == r->cap_jobs) {
        r->cap_jobs = r->cap_jobs ? 2 * r->cap_jobs : 64;
        r->by_id = cai_realloc(r->by_id, r->cap_jobs, sizeof(struct job_run *));
    }
    memmove(r->by_id + at + 1, r->by_id + at, (r->n_jobs - at) * sizeof(struct job_run *));
    r->by_id[at] = j;
    r->n_jobs++;
    struct job_run **link = at ? &r->by_id[at - 1]->next : &r->jobs;
    j->next = *link;
    *link = j;
    r->dirty = true;
}

void job_list_remove(struct run *r, struct job_run *j) {
    size_t at = place_of(r, j->id);
    *(at ? &r->by_id[at - 1]->next : &r->jobs) = j->next;
    r->n_jobs--;
    memmove(r->by_id + at, r->by_id + at + 1, (r->n_jobs - at) * sizeof(struct job_run *));
}

void job_list_free(struct run *r) {
    free(r->by_id);
    r->by_id = NULL;
    r->cap_jobs = 0;
}
