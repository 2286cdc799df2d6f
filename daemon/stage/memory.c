/* memory.c: see memory.h. Sizes are hf's (hf/memory.h); which models a phase holds at once is
 * said here, as the worker and learn have it. */
#include "stage/memory.h"

#include "base/error.h"
#include "hf/memory.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    POSITIONS = 4096,    /* planned for a prompt and its reply */
    CACHED = 3,          /* models that a worker keeps between tasks */
    FLOAT = 4
};

struct sized {
    struct hf_footprint size;
    struct hf_config config;
};
struct models {
    struct sized start, generator, overseer, second, red, pm; /* pm: with its score head */
    struct sized start_scalar;
};

static bool is_word(const char *name) {
    return strcmp(name, "start") == 0 || strcmp(name, "latest") == 0;
}

static int load(const char *dir, bool scalar, struct sized *ret) {
    return hf_memory_footprint(dir, scalar, &ret->size, &ret->config);
}

/* What a name means that may be a word for the start, whose sizes are known. */
static int load_named(const char *name, bool scalar, const struct sized *start,
                      struct sized *ret) {
    if (!is_word(name))
        return load(name, scalar, ret);
    *ret = *start;
    return 0;
}

static int load_all(const struct job_spec *job, struct models *ret) {
    CAI_TRY(load(job->models.start, false, &ret->start));
    CAI_TRY(load(job->models.start, true, &ret->start_scalar));
    CAI_TRY(load_named(job->models.generator, false, &ret->start, &ret->generator));
    CAI_TRY(load_named(job->models.overseer, false, &ret->start, &ret->overseer));
    CAI_TRY(load_named(job->models.red, false, &ret->start, &ret->red));
    if (job->models.second_overseer)
        CAI_TRY(load_named(job->models.second_overseer, false, &ret->start, &ret->second));
    return load_named(job->models.pm, true, &ret->start_scalar, &ret->pm);
}

/* ---- one phase ----------------------------------------------------------------------- */

static struct memory_phase *begin(struct memory_plan *p, const char *name) {
    struct memory_phase *f = &p->phases[p->n++];
    f->name = name;
    return f;
}

/* Adds "WHAT SIZE", what the format makes; nothing of no bytes. */
__attribute__((format(printf, 3, 4))) static void part(struct memory_phase *f, int64_t bytes,
                                                        const char *format, ...) {
    char what[96], size[16];
    size_t at = strlen(f->text);
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    if (bytes == 0)
        return;
    hf_memory_text(bytes, size, sizeof size);
    snprintf(f->text + at, sizeof f->text - at, "%s%s %s", at ? " + " : "", what, size);
    f->bytes += bytes;
}

static void cache_part(struct memory_phase *f, const struct hf_config *c, int64_t wanted) {
    char many[48];
    int64_t positions = c->max_positions < POSITIONS ? c->max_positions : POSITIONS;
    int64_t slots = hf_memory_slots(c, wanted, positions);
    hf_memory_slots_text(slots, positions, many, sizeof many);
    part(f, hf_memory_kv(c, slots, positions), "KV");
    size_t at = strlen(f->text);
    snprintf(f->text + at, sizeof f->text - at, " for %s", many);
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Up to three models stay loaded; the largest that can meet. */
static void generate_phase(const struct job_spec *job, const struct models *m,
                           struct memory_plan *p) {
    struct memory_phase *f = begin(p, "generate");
    bool moves = job->sft.enabled || job->ppo.enabled;
    int64_t sizes[] = {m->start.size.all, moves ? m->start.size.all : 0,
                       is_word(job->models.generator) ? 0 : m->generator.size.all,
                       is_word(job->models.overseer) ? 0 : m->overseer.size.all,
                       !job->red_team.enabled || (is_word(job->models.red) && !job_red_learns(job))
                           ? 0 : m->red.size.all,
                       m->second.size.all,
                       job->prefer.enabled ? m->pm.size.all : 0};
    size_t n = sizeof sizes / sizeof *sizes, kept = 0;
    int64_t all = 0;
    for (; kept < CACHED; kept++) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (sizes[i] > sizes[best])
                best = i;
        if (sizes[best] == 0)
            break;
        all += sizes[best];
        sizes[best] = 0;
    }
    if (kept == 1)
        part(f, all * FLOAT, "model");
    else
        part(f, all * FLOAT, "%zu models", kept);
    if (strcmp(job->models.dtype, "bfloat16") == 0)
        part(f, 2 * larger(m->start.size.halved,
                           larger(m->generator.size.halved, m->overseer.size.halved)),
             "bfloat16 copy");
    const struct hf_config *c = &m->start.config;
    if (hf_memory_kv(&m->overseer.config, 1, 1) > hf_memory_kv(c, 1, 1))
        c = &m->overseer.config;
    cache_part(f, c, HF_SLOTS_MAX);
}

/* Weights, gradients and AdamW's two moments, which the ranks share unless the job says no. */
static void trained_parts(struct memory_phase *f, const struct hf_footprint *s,
                          const struct job_spec *job, const char *name) {
    int64_t ranks = job->models.zero ? job->workers : 1;
    part(f, s->all * FLOAT, "%s", name);
    part(f, s->trained * FLOAT, "gradients");
    part(f, 2 * FLOAT * ((s->trained + ranks - 1) / ranks), "moments");
}

/* What a micro-batch of so many tokens takes; the settings' tokens decide how it is computed. */
static int64_t micro_of(const struct job_spec *job, const struct sized *m, bool scalar,
                        int64_t tokens) {
    const struct hf_config *c = &m->config;
    int64_t most = job->models.micro_batch_tokens;
    struct hf_training how = {tokens, hf_memory_recomputes(c, most, job->models.recompute),
                              strcmp(job->models.train_dtype, "bfloat16") == 0, scalar,
                              m->size.trained};
    return hf_memory_batch(c, &how);
}

static int64_t batch_of(const struct job_spec *job, const struct sized *m, bool scalar) {
    return micro_of(job, m, scalar, job->models.micro_batch_tokens);
}

static void train_phase(const struct job_spec *job, const struct sized *m, bool scalar,
                        const char *name, struct memory_plan *p) {
    struct memory_phase *f = begin(p, name);
    trained_parts(f, &m->size, job, "model");
    part(f, batch_of(job, m, scalar), "activations");
}

static void ppo_phase(const struct job_spec *job, const struct models *m, struct memory_plan *p) {
    struct memory_phase *f = begin(p, "ppo");
    int64_t chunk = (job->ppo.rollouts + 3) / 4, members = job->prefer.members;
    trained_parts(f, &m->start.size, job, "policy");
    trained_parts(f, &m->pm.size, job, "value model");
    part(f, m->start.size.all * FLOAT, "reference");
    if (members == 1)
        part(f, m->pm.size.all * FLOAT, "preference model");
    else
        part(f, members * m->pm.size.all * FLOAT, "%lld preference models", (long long)members);
    if (strcmp(job->models.dtype, "bfloat16") == 0)
        part(f, 2 * m->start.size.halved, "bfloat16 copy");
    cache_part(f, &m->start.config, chunk < HF_SLOTS_MAX ? chunk : HF_SLOTS_MAX);
    part(f, larger(batch_of(job, &m->start, false), batch_of(job, &m->pm, true)),
         "activations");
}

static void red_phase(const struct job_spec *job, const struct models *m, struct memory_plan *p) {
    struct memory_phase *f = begin(p, "red team");
    int64_t chunk = (job->red_team.rl.rollouts + 3) / 4;
    trained_parts(f, &m->red.size, job, "red model");
    if (!job_red_reinforces(job)) {
        part(f, batch_of(job, &m->red, false), "activations");
        return;
    }
    part(f, m->red.size.all * FLOAT, "reference");
    part(f, m->generator.size.all * FLOAT, "target");
    part(f, m->start_scalar.size.all * FLOAT, "classifier");
    if (strcmp(job->models.dtype, "bfloat16") == 0)
        part(f, 2 * (m->red.size.halved + m->generator.size.halved), "bfloat16 copies");
    chunk = chunk < HF_SLOTS_MAX ? chunk : HF_SLOTS_MAX;
    cache_part(f, &m->red.config, chunk);
    cache_part(f, &m->generator.config, chunk);
    part(f, larger(batch_of(job, &m->red, false), batch_of(job, &m->start_scalar, true)),
         "activations");
}

/* ---- all of them --------------------------------------------------------------------- */

static void advise(const struct job_spec *job, struct memory_plan *p) {
    const char *name = p->phases[p->peak].name;
    bool half = strcmp(job->models.dtype, "bfloat16") == 0;
    snprintf(p->lower, sizeof p->lower, "%s%s%s%s",
             strcmp(name, "generate") == 0
                 ? "take smaller models, or the same folder for more of them"
                 : "lower models.micro_batch_tokens, set models.recompute: always, take a smaller "
                   "model or train an adapter, or raise workers (they share the moments, unless "
                   "models.zero is 0)",
             strcmp(name, "ppo") == 0 && job->prefer.members > 1
                 ? ", or lower stages.prefer.members"
                 : "",
             strcmp(name, "ppo") == 0 ? ", or switch stages.ppo off" : "",
             half && (strcmp(name, "generate") == 0 || strcmp(name, "ppo") == 0)
                 ? ", or models.dtype: float32"
                 : "");
}

int memory_plan(const struct job_spec *job, struct memory_plan *ret) {
    CAI_AUTO(mem) struct models *m = cai_alloc(sizeof *m);
    *ret = (struct memory_plan){0};
    CAI_TRY(load_all(job, m));
    generate_phase(job, m, ret);
    if (job->sft.enabled)
        train_phase(job, &m->start, false, "sft", ret);
    if (job->rounds > 0 && job_red_learns(job))
        red_phase(job, m, ret);
    if (job->skill.enabled)
        train_phase(job, &m->start, false, "skill", ret);
    if (job->data.classifier)
        train_phase(job, &m->start_scalar, true, "classifier", ret);
    if (job->prefer.enabled)
        train_phase(job, &m->pm, true, "prefer", ret);
    if (job->ppo.enabled)
        ppo_phase(job, m, ret);
    for (size_t i = 1; i < ret->n; i++)
        if (ret->phases[i].bytes > ret->phases[ret->peak].bytes)
            ret->peak = i;
    advise(job, ret);
    return 0;
}

int64_t memory_micro(const struct job_spec *job, const char *phase, int64_t tokens) {
    CAI_AUTO(mem) struct models *m = cai_alloc(sizeof *m);
    if (load_all(job, m) < 0) {
        cai_error_clear();
        return 0;
    }
    if (strcmp(phase, "sft") == 0 || strcmp(phase, "skill") == 0)
        return micro_of(job, &m->start, false, tokens);
    if (strcmp(phase, "classifier") == 0)
        return micro_of(job, &m->start_scalar, true, tokens);
    if (strcmp(phase, "prefer") == 0)
        return micro_of(job, &m->pm, true, tokens);
    if (strcmp(phase, "ppo") == 0)
        return larger(micro_of(job, &m->start, false, tokens), micro_of(job, &m->pm, true, tokens));
    return strcmp(phase, "red team") == 0 ? micro_of(job, &m->red, false, tokens) : 0;
}
