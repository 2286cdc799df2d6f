/* Adapters trained by every stage: the base stays as it is and is held once, states hold the
 * adapters alone and belong to one base, and a run that is cut ends with the same bytes. */
#include "folder.h"

#include "learn/ppo.h"

#include <sys/stat.h>

#define LORA "\"lora\":{\"rank\":3,\"alpha\":6,\"targets\":\"q_proj, v_proj,down_proj\"},"
#define SFT "{\"lr\":0.02,\"batch\":6,\"epochs\":2,\"checkpoint_every\":2," LORA OPTIMIZER_JSON "}"
#define PM                                                                                         \
    "{\"lr\":0.02,\"batch\":6,\"epochs\":2,\"members\":2,\"checkpoint_every\":2," LORA             \
        OPTIMIZER_JSON "}"
#define PPO(lora)                                                                                  \
    "{\"lr\":0.005,\"value_lr\":0.005,\"steps\":4,\"rollouts\":8,\"epochs\":2,\"minibatches\":2,"  \
    "\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,\"value_coef\":1,"                \
    "\"kl\":{\"coef\":0.05,\"target\":0.5,\"horizon\":100},\"whiten_advantages\":true,"            \
    "\"whiten_rewards\":false,\"reward_clip\":10,\"no_end_reward\":-1,\"helpful\":0.5,"            \
    "\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":8},\"kl_budget\":0,"                \
    "\"checkpoint_every\":2," lora OPTIMIZER_JSON "}"

static struct job sft_job(void) {
    return (struct job){.kind = "sft", .init = "base", .dataset = "sft.jsonl", .options = SFT};
}
static struct job pm_job(void) {
    return (struct job){.kind = "pm", .init = "base", .dataset = "pm.jsonl", .options = PM};
}
static struct job lora_ppo_job(const char *policy) {
    return (struct job){.kind = "ppo", .init = policy, .reference = policy, .pm = "out/pm/0",
                        .dataset = "ppo.jsonl", .options = PPO(LORA)};
}

static int64_t size_of(const char *folder, const char *name) {
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Whole, then cut after its first state and continued: the same outputs. Returns how many
 * bytes of tensors the state has. */
static int64_t cut_and_continued(struct job j, const char *name) {
    CAI_AUTO(mem) char *cut = cai_format("%s-cut", name);
    struct seen first = {.stop_after = 1};
    Cai__V1__Trained *a, *b;
    must(run_job(&j, name, &a));
    j.seen = &first;
    assert_int_equal(run_job(&j, cut, &b), CAI_ESTATE);
    int64_t size = size_of(first.folder, "tensors-0.safetensors");
    j.seen = NULL;
    j.resume = first.folder;
    j.resume_hash = first.hash;
    must(run_job(&j, cut, &b));
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (size_t i = 0; i < a->n_outputs; i++)
        assert_string_equal(a->outputs[i]->hash, b->outputs[i]->hash);
    free_trained(a);
    free_trained(b);
    return size;
}

static int open_lora_world(void **state) {
    open_world(state);
    CAI_AUTO(mem) char *base = at_root("base");
    char before[65], after[65];
    must(hf_model_hash(base, before));
    /* Parameters and moments of the adapter, nothing of the base. */
    int64_t size = cut_and_continued(sft_job(), "sft");
    assert_true(size < size_of(base, "model.safetensors") / 2);
    cut_and_continued(pm_job(), "pm");
    must(hf_model_hash(base, after));
    assert_string_equal(before, after);
    return 0;
}

static void stages_write_adapters(void **state) {
    (void)state;
    static const char *const names[] = {"out/sft", "out/pm/0", "out/pm/1"};
    enum { FACTOR = 32 * 3 }; /* q_proj's B */
    float plain[FACTOR], moved[FACTOR];
    for (int i = 0; i < 3; i++) {
        CAI_AUTO(mem) char *folder = at_root(names[i]);
        struct hf_adapter how;
        struct model *m;
        must(hf_adapter_load(folder, &how));
        assert_true(how.rank == 3 && how.alpha == 6 && how.n_targets == 3 && how.scalar == (i > 0));
        must(model_load(folder, &m));
        assert_true(m->base && m->n < m->base->n / 2);
        must(ct_read_f32(m->params[1].view, moved, FACTOR)); /* zero at first */
        double sum = 0;
        for (int k = 0; k < FACTOR; k++)
            sum += fabs((double)moved[k]);
        assert_true(sum > 0);
        if (i == 1)
            memcpy(plain, moved, sizeof plain);
        if (i == 2) /* members differ */
            assert_true(worst_difference(plain, moved, FACTOR) > 0);
        model_free(m);
    }
}

static int shares(const struct learn_task *t, Cai__V1__Trained **ret) {
    struct ppo *p;
    (void)ret;
    must(ppo_open(t, &p));
    struct model *base = p->policy->base, *reference = p->reference;
    assert_non_null(base);
    assert_ptr_equal(reference->base ? reference->base : reference, base);
    assert_ptr_equal(p->value->base, base);
    assert_ptr_equal(p->models.pm[0].m->base, base);
    assert_ptr_not_equal(p->policy->flat, reference->flat);
    struct trainer_state policy, value;
    trainer_state(p->models.policy, &policy);
    trainer_state(p->models.value, &value);
    assert_int_equal(ct_numel(policy.exp_avg), p->policy->n);
    assert_int_equal(ct_numel(value.exp_avg), p->value->n);
    /* A step moves the adapters and nothing else, and asserts that ratios begin at 1. */
    float *flat = ct_host_data(base->flat), *own = ct_host_data(p->policy->flat);
    size_t bytes = (size_t)base->n * sizeof(float), own_bytes = (size_t)p->policy->n * sizeof(float);
    CAI_AUTO(mem) float *before = malloc(bytes), *own_before = malloc(own_bytes);
    memcpy(before, flat, bytes);
    memcpy(own_before, own, own_bytes);
    must(ppo_step(p));
    assert_memory_equal(before, flat, bytes);
    assert_memory_not_equal(own_before, own, own_bytes);
    ppo_close(p);
    return 0;
}

/* The reference is the SFT adapter, frozen; or the base, where the policy has none yet. */
static void four_models_share_a_base(void **state) {
    (void)state;
    static const char *const policies[] = {"out/sft", "base"};
    for (int i = 0; i < 2; i++) {
        struct job j = lora_ppo_job(policies[i]);
        must(with_job(&j, "shared", shares, NULL));
    }
}

static void ppo_cut_and_continued(void **state) {
    (void)state;
    cut_and_continued(lora_ppo_job("out/sft"), "ppo");
    cut_and_continued(lora_ppo_job("base"), "ppo-fresh");
}

/* Without "lora" an adapter's folder is trained on as it is. */
static void an_adapter_is_trained_on(void **state) {
    (void)state;
    CAI_AUTO(mem) char *first = at_root("out/sft");
    CAI_AUTO(mem) char *second = at_root("out/ppo-on");
    struct job j = lora_ppo_job("out/sft");
    Cai__V1__Trained *t;
    char a[65], b[65];
    j.options = PPO("");
    must(run_job(&j, "ppo-on", &t));
    free_trained(t);
    assert_true(hf_adapter_is(second));
    must(hf_model_hash(first, a));
    must(hf_model_hash(second, b));
    assert_string_not_equal(a, b);
}

/* The last test: it changes the base. */
static void states_belong_to_a_base(void **state) {
    (void)state;
    struct seen first = {.stop_after = 1};
    struct job j = sft_job();
    Cai__V1__Trained *t;
    j.seen = &first;
    assert_int_equal(run_job(&j, "moved", &t), CAI_ESTATE);
    write_model("base", false, 99);
    j.seen = NULL;
    j.resume = first.folder;
    j.resume_hash = first.hash;
    assert_int_equal(run_job(&j, "moved", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "was trained over a base with hash"));
    j.options = "{\"lr\":0.02,\"batch\":6,\"epochs\":2," OPTIMIZER_JSON "}";
    assert_int_equal(run_job(&j, "moved", &t), CAI_EINPUT); /* another size */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_write_adapters),   cmocka_unit_test(four_models_share_a_base),
        cmocka_unit_test(ppo_cut_and_continued),   cmocka_unit_test(an_adapter_is_trained_on),
        cmocka_unit_test(states_belong_to_a_base),
    };
    return cmocka_run_group_tests(tests, open_lora_world, close_world);
}
