/* disk.c: see disk.h. A model is written in float32; of an adapter only its own weights. A
 * resumable state has the weights that move and AdamW's two moments, however many ranks write
 * it; PPO's has the value model's too. One more than keep.checkpoints exists for a moment. */
#include "stage/disk.h"

#include "base/error.h"
#include "hf/adapter.h"
#include "hf/memory.h"
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

enum { FLOAT = 4, STATE = 3 };

struct sizes {
    int64_t policy, pm, red; /* elements that a training moves */
};

static int size_of(const struct job_spec *job, const char *dir, bool scalar, int64_t *ret) {
    struct hf_footprint f;
    struct hf_config c;
    CAI_TRY(hf_memory_footprint(dir, scalar, &f, &c));
    *ret = f.trained;
    if (job->models.lora.rank == 0 || f.trained < f.all)
        return 0;
    struct hf_adapter a;
    struct hf_param *p = NULL;
    int n = 0;
    CAI_TRY(hf_adapter_make(job->models.lora.rank, job->models.lora.alpha,
                            job->models.lora.targets, &a));
    CAI_TRY(hf_adapter_params(&c, &a, &p, &n));
    *ret = scalar ? c.hidden_size : 0;
    for (int i = 0; i < n; i++)
        *ret += p[i].ndim == 2 ? p[i].shape[0] * p[i].shape[1] : p[i].shape[0];
    free(p);
    return 0;
}

/* Adds "N WHAT SIZE"; nothing for none. */
static void part(struct disk_plan *p, int64_t *sum, int64_t n, int64_t each, const char *one,
                 const char *many) {
    char size[16];
    size_t at = strlen(p->text);
    if (n <= 0 || each <= 0)
        return;
    hf_memory_text(n * each, size, sizeof size);
    snprintf(p->text + at, sizeof p->text - at, "%s%lld %s %s", at ? " + " : "", (long long)n,
             n == 1 ? one : many, size);
    *sum += n * each;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static const char *red_folder(const struct job_spec *job) {
    const char *red = job->models.red;
    return strcmp(red, "start") != 0 && strcmp(red, "latest") != 0 ? red : job->models.start;
}

int disk_plan(const struct job_spec *job, struct disk_plan *ret) {
    struct sizes s;
    const char *pm = job->models.pm;
    bool own = strcmp(pm, "start") != 0 && strcmp(pm, "latest") != 0;
    bool rl = job->ppo.enabled, values = rl && strcmp(job->ppo.algorithm, "ppo") == 0;
    *ret = (struct disk_plan){0};
    CAI_TRY(size_of(job, job->models.start, false, &s.policy));
    CAI_TRY(size_of(job, own ? pm : job->models.start, true, &s.pm));
    CAI_TRY(size_of(job, red_folder(job), false, &s.red));
    int64_t rounds = job->rounds, members = job->prefer.average ? 1 : job->prefer.members;
    int64_t policies = (job->sft.enabled ? rounds : 0) + rl;
    part(ret, &ret->models, policies, FLOAT * s.policy, "policy", "policies");
    part(ret, &ret->models, job->prefer.enabled ? rounds * members : 0, FLOAT * s.pm,
         "preference model", "preference models");
    part(ret, &ret->models, job->data.classifier != NULL, FLOAT * s.policy, "classifier",
         "classifiers");
    int64_t red = (job_red_learns(job) ? rounds : 0) + (job_red_reinforces(job) ? rounds : 0);
    part(ret, &ret->models, red, FLOAT * s.red, "red model", "red models");
    int64_t trained = 0;
    if (rl)
        trained = s.policy + (values ? s.pm : 0);
    if (rounds > 0 && job->sft.enabled)
        trained = larger(trained, s.policy);
    if (rounds > 0 && job->prefer.enabled)
        trained = larger(trained, s.pm);
    if (rounds > 0 && job_red_learns(job))
        trained = larger(trained, s.red);
    part(ret, &ret->states, job->keep.checkpoints + 1, STATE * FLOAT * trained, "resumable state",
         "resumable states");
    ret->bytes = ret->models + ret->states;
    snprintf(ret->lower, sizeof ret->lower, "%s%s%s",
             job->keep.checkpoints > 1 ? "lower keep.checkpoints, " : "",
             rounds > 1 ? "take fewer rounds, " : "",
             job->models.lora.rank == 0 ? "train an adapter (models.lora.rank), or free some space"
                                        : "or free some space");
    return 0;
}
