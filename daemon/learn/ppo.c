/* ppo.c: a run with rollouts from task to saved policy: models, resumable state, the loop.
 *
 * States: opened → (restored) → stepping, a checkpoint every so many steps → spent or
 * done → policy saved. */
#include "learn/ppo.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/checkpoint.h"
#include "learn/ppo_reward.h"
#include "learn/start.h"
#include "learn/train.h"

#include <stdlib.h>
#include <string.h>

/* ---- opening ------------------------------------------------------------------------- */

/* The models so far over whose bases others may lie: a policy of whole weights is none. */
static size_t untrained(const struct ppo *p, struct model *list[PPO_PM_MAX + 2]) {
    size_t n = 0;
    if (p->policy->base)
        list[n++] = p->policy;
    if (p->reference)
        list[n++] = p->reference;
    return n;
}

static int load_members(struct ppo *p) {
    const Cai__V1__Train *t = p->task->train;
    struct model *beside[PPO_PM_MAX + 2];
    size_t n = untrained(p, beside);
    if (t->n_pm == 0 || t->n_pm > PPO_PM_MAX)
        return cai_fail(CAI_EINPUT, "this needs 1 to %d preference models, the task names "
                        "%zu", PPO_PM_MAX, t->n_pm);
    p->models.pm = cai_alloc(t->n_pm * sizeof *p->models.pm);
    for (size_t i = 0; i < t->n_pm; i++) {
        CAI_TRY(reward_model_load_beside(t->pm[i]->path, beside, n, &p->models.pm[i]));
        beside[n++] = p->models.pm[i].m;
        p->models.n_pm = i + 1;
        struct hf_tokenizer *other = NULL;
        CAI_TRY(hf_tokenizer_load(t->pm[i]->path, &other));
        bool same = strcmp(hf_tokenizer_hash(other), hf_tokenizer_hash(p->tokenizer)) == 0;
        hf_tokenizer_free(other);
        if (!same)
            return cai_fail(CAI_EINPUT, "preference model %s has another tokenizer than policy %s",
                            t->pm[i]->path, t->init->path);
    }
    return 0;
}

static bool trains_red(const struct ppo *p) {
    return strcmp(p->task->train->kind, "red") == 0;
}

static int load_red(struct ppo *p) {
    struct model *beside[PPO_PM_MAX + 2];
    if (p->algorithm->values)
        return cai_fail(CAI_EINPUT, "a red model has no preference model for a value model to "
                        "begin with; its algorithm cannot be %s", p->algorithm->name);
    return red_open(p->task, &p->o, beside, untrained(p, beside), &p->red);
}

/* The preference model again (Huang et al. 2024); one without a say starts with none: its head
 * at zero, or the advantages of the first steps would be its scores' after all. */
static int value_from_pm(struct ppo *p) {
    CAI_TRY(model_clone(p->models.pm[0].m, &p->value));
    return p->o.trust > 0 ? 0 : ct_fill_(p->value->score, 0);
}

/* That, or the policy with a fresh head. */
static int load_value(struct ppo *p) {
    const struct learn_task *t = p->task;
    if (!p->o.value_from_policy)
        return value_from_pm(p);
    struct cai_key key = cai_key_make(t->seed, t->round, "ppo/value", 0, 0);
    return p->policy->base ? model_adapt_scalar(p->policy, key, &p->value)
                           : model_load_scalar(t->train->init->path, key, &p->value);
}

/* All that are compared with one another compute alike. */
static void choose_products(struct ppo *p) {
    p->policy->half_products = p->reference->half_products = p->o.half;
    for (size_t i = 0; i < p->models.n_pm; i++)
        p->models.pm[i].m->half_products = p->o.half;
    if (p->value != NULL)
        p->value->half_products = p->o.half;
}

static int load_models(struct ppo *p) {
    const Cai__V1__Train *t = p->task->train;
    const char *reference = t->reference != NULL ? t->reference->path : t->init->path;
    CAI_TRY(hf_tokenizer_load(t->init->path, &p->tokenizer));
    CAI_TRY(hf_chat_load(t->init->path, p->tokenizer, &p->chat));
    struct cai_key key = cai_key_make(p->task->seed, p->task->round, "ppo/lora", 0, 0);
    struct model *beside[PPO_PM_MAX + 2];
    CAI_TRY(start_policy(t->init->path, &p->o.lora, key, &p->policy));
    CAI_TRY(model_load_beside(reference, beside, untrained(p, beside), &p->reference));
    if (p->reference->head != MODEL_HEAD_LM)
        return cai_fail(CAI_EINPUT, "policy and reference must be language models");
    if (!model_same_inputs(p->policy, p->reference))
        return cai_fail(CAI_EINPUT, "reference %s is not of the policy's kind", reference);
    CAI_TRY(trains_red(p) ? load_red(p) : load_members(p));
    p->models.reference = p->reference;
    if (p->red == NULL)
        ppo_reward_begin(&p->models, &p->o);
    if (p->algorithm->values)
        CAI_TRY(load_value(p));
    choose_products(p);
    return 0;
}

static int make_trainers(struct ppo *p) {
    const struct train_optimizer *o = &p->o.optimizer;
    struct trainer_options to = {.comm = p->task->comm, .beta1 = o->beta1, .beta2 = o->beta2,
                                 .eps = o->eps, .weight_decay = o->weight_decay,
                                 .clip_norm = o->clip_norm, .temperature = p->o.temperature,
                                 .recompute = trainer_should_recompute(p->policy, o),
                                 .eps_tensorflow = p->o.eps_tensorflow,
                                 .whole_moments = o->whole_moments, .bucket = o->bucket,
                                 .max_skipped = p->o.guard.max_skipped};
    CAI_TRY(trainer_new(p->policy, &to, &p->models.policy));
    if (p->value == NULL)
        return 0;
    to.temperature = 1;
    to.recompute = trainer_should_recompute(p->value, o);
    return trainer_new(p->value, &to, &p->models.value);
}

static int load_mix(struct ppo *p) {
    const Cai__V1__Dataset *d = p->task->train->mix;
    if (p->o.ptx_coef <= 0)
        return 0;
    if (d == NULL)
        return cai_fail(CAI_EINPUT, "ptx.coef is %g, but the task names no rows for it",
                        p->o.ptx_coef);
    return dataset_load(d->path, d->hash, DATASET_SFT, p->chat, p->policy->config.max_positions,
                        &p->mix);
}

static int load_prompts(struct ppo *p) {
    const Cai__V1__Dataset *d = p->task->train->dataset;
    int64_t room = p->policy->config.max_positions;
    for (size_t i = 0; i < p->models.n_pm; i++)
        if (p->models.pm[i].m->config.max_positions < room)
            room = p->models.pm[i].m->config.max_positions;
    if (room <= p->o.max_tokens)
        return cai_fail(CAI_EINPUT, "rollout.max_tokens is %lld, but the models take only %lld ids",
                        (long long)p->o.max_tokens, (long long)room);
    CAI_TRY(dataset_load(d->path, d->hash, DATASET_PPO, p->chat, room - p->o.max_tokens, &p->data));
    prompts_make(&p->data, p->o.helpful, &p->prompts);
    int64_t longest = 0;
    for (size_t i = 0; i < p->data.n; i++)
        if (p->data.rows[i].seq[0].n > longest)
            longest = p->data.rows[i].seq[0].n;
    int64_t capacity = longest + p->o.max_tokens;
    size_t chunk = rollout_chunk((size_t)p->o.rollouts);
    struct engine_options eo = {.slots = engine_slots(p->policy, chunk, capacity),
                                .capacity = capacity,
                                .end_id = hf_chat_end_id(p->chat),
                                .bfloat16 = p->task->bfloat16};
    return engine_new(p->policy, p->tokenizer, &eo, &p->engine);
}

/* ---- resumable state -------------------------------------------------------------------- */

enum { STATE_TENSORS = 6 };

static struct checkpoint checkpoint_of(const struct ppo *p) {
    const Cai__V1__Train *t = p->task->train;
    return (struct checkpoint){.folder = t->checkpoints, .keep = t->keep, .comm = p->task->comm,
                               .host = p->task->host};
}

static size_t list_state(const struct ppo *p, struct checkpoint_tensor *tensors, json_t *state) {
    size_t n = checkpoint_add_trainer(p->models.policy, "policy", tensors, 0, state);
    return p->models.value == NULL
               ? n : checkpoint_add_trainer(p->models.value, "value", tensors, n, state);
}

static int save(struct ppo *p) {
    struct checkpoint c = checkpoint_of(p);
    struct checkpoint_tensor tensors[STATE_TENSORS];
    json_t *window = json_array();
    for (int i = 0; i < PPO_KL_WINDOW; i++)
        json_array_append_new(window, json_real(p->kl_window[i]));
    json_t *state = json_pack("{s:s, s:I, s:f, s:o, s:o}", "kind", p->algorithm->name, "done",
                              (json_int_t)p->done, "kl_coef", p->kl_coef, "kl_window", window,
                              "reward", ppo_reward_state(&p->models));
    CAI_CHECK(state != NULL);
    size_t n = list_state(p, tensors, state);
    int rc = checkpoint_add_base(p->models.policy, "policy", state);
    if (rc == 0 && p->models.value)
        rc = checkpoint_add_base(p->models.value, "value", state);
    saving_start(&p->saving);
    if (rc == 0)
        rc = checkpoint_save(&c, (uint64_t)p->done, tensors, n, state);
    saving_done(&p->saving);
    json_decref(state);
    return rc;
}

static int read_state(struct ppo *p, const json_t *state) {
    const char *kind = json_string_value(json_object_get(state, "kind"));
    const json_t *window = json_object_get(state, "kl_window");
    const json_t *done = json_object_get(state, "done"), *coef = json_object_get(state, "kl_coef");
    if (kind == NULL || strcmp(kind, p->algorithm->name) != 0 || json_array_size(window) != PPO_KL_WINDOW ||
        !json_is_integer(done) || !json_is_number(coef) ||
        !ppo_reward_restore(&p->models, json_object_get(state, "reward")))
        return cai_fail(CAI_EINPUT, "%s: not the state of a run of %s", p->task->resume,
                        p->algorithm->name);
    p->done = json_integer_value(done);
    p->kl_coef = json_number_value(coef);
    for (int i = 0; i < PPO_KL_WINDOW; i++)
        p->kl_window[i] = json_number_value(json_array_get(window, (size_t)i));
    CAI_TRY(checkpoint_set_trainer(p->models.policy, "policy", state));
    return p->models.value == NULL ? 0 : checkpoint_set_trainer(p->models.value, "value", state);
}

static int restore(struct ppo *p) {
    struct checkpoint c = checkpoint_of(p);
    struct checkpoint_tensor tensors[STATE_TENSORS];
    json_t *names = json_object(), *state = NULL;
    size_t n = list_state(p, tensors, names);
    json_decref(names);
    CAI_TRY(checkpoint_load(&c, p->task->resume, p->task->resume_hash, tensors, n, &state));
    int rc = read_state(p, state);
    json_decref(state);
    return rc;
}

/* ---- the run -------------------------------------------------------------------------------- */

int ppo_open(const struct learn_task *t, struct ppo **ret) {
    struct ppo *p = cai_alloc(sizeof *p);
    p->task = t;
    *ret = NULL;
    int rc = options_ppo(t->train->options, &p->o);
    p->algorithm = policy_algorithm(p->o.algorithm);
    p->kl_coef = p->o.kl_coef;
    if (rc == 0)
        rc = load_models(p);
    if (rc == 0)
        rc = make_trainers(p);
    if (rc == 0)
        rc = load_prompts(p);
    if (rc == 0)
        rc = load_mix(p);
    if (rc == 0 && t->resume != NULL && t->resume[0] != '\0')
        rc = restore(p);
    if (rc < 0) {
        ppo_close(p);
        return rc;
    }
    saving_begin(&p->saving, p->o.checkpoint_every, p->o.optimizer.fault_every);
    if (t->host != NULL && t->host->stopping != NULL)
        engine_on_stop(p->engine, t->host->stopping, t->host->context);
    if (p->red != NULL)
        red_on_stop(p->red);
    *ret = p;
    return 0;
}

void ppo_close(struct ppo *p) {
    if (p == NULL)
        return;
    engine_free(p->engine);
    red_close(p->red);
    trainer_free(p->models.policy);
    trainer_free(p->models.value);
    for (size_t i = 0; i < p->models.n_pm; i++)
        reward_model_free(&p->models.pm[i]);
    free(p->models.pm);
    model_free(p->policy);
    model_free(p->value);
    model_free(p->reference);
    prompts_free(&p->prompts);
    dataset_free(&p->data);
    dataset_free(&p->mix);
    hf_chat_free(p->chat);
    hf_tokenizer_free(p->tokenizer);
    free(p);
}

static int loop(struct ppo *p, const char **ret_stopped) {
    *ret_stopped = "";
    while (p->done < p->o.steps) {
        CAI_TRY(learn_stopping(p->task));
        CAI_TRY(ppo_step(p));
        if (ppo_spent(p)) {
            *ret_stopped = "kl budget";
            return 0;
        }
        if (p->done == p->o.steps)
            break;
        if (p->leaving || p->due)
            CAI_TRY(save(p));
        if (p->leaving)
            return learn_left(p->task, (uint64_t)p->done);
    }
    return 0;
}

int learn_ppo(const struct learn_task *t, Cai__V1__Trained **ret) {
    struct ppo *p;
    const char *stopped;
    CAI_TRY(ppo_open(t, &p));
    int rc = loop(p, &stopped);
    if (rc == 0)
        rc = train_save(t, p->policy, t->train->output);
    if (rc == 0) {
        metrics_add(&p->last, (double)p->data.n, "prompts");
        metrics_add(&p->last, (double)p->data.skipped, "skipped");
        *ret = trained_new((uint64_t)p->done, &p->last, stopped);
        rc = trained_add_output(t, *ret, t->train->output);
    }
    ppo_close(p);
    return rc;
}
