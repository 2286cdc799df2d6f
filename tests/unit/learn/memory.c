/* memory: what a training step takes at most is what the plan says, within 15 %: in fp32 and in
 * bfloat16, with graphs kept and with layers computed again, which takes far less. Each way is
 * a process of its own, this program started again, since memory that was given back is not
 * always the system's. */
#include "hf/memory.h"
#include "learn/trainer.h"

#include "peak.h"

enum { TOKENS = 1536, LENGTH = 96 };

static const char *program;
static int wrong; /* ways of which the plan is off by more than 15 % */

static struct hf_config config_of(bool scalar) {
    struct hf_config c = tiny_config(scalar);
    c.vocab_size = 4000;
    c.hidden_size = 192;
    c.intermediate_size = 512;
    c.num_layers = 8;
    c.num_heads = 6;
    c.num_kv_heads = 2;
    c.head_dim = 32;
    c.tie_word_embeddings = true;
    return c;
}

static double planned(const struct model *m, const struct hf_training *how) {
    return (4.0 * 4 * (double)m->n + (double)hf_memory_batch(&m->config, how)) / (1 << 20);
}

/* Two steps, since AdamW's moments are pages that nobody has written before the first. */
static double two_steps(const struct hf_config *c, const struct hf_training *how, int64_t tokens,
                        double *ret_planned) {
    struct trainer_options o = {.beta1 = .9, .beta2 = .99, .eps = 1e-8, .temperature = 1,
                                .clip_norm = 1, .recompute = how->recompute};
    struct trainer_report r;
    struct trainer *t;
    struct model *m;
    double before = peak_begin();
    must(model_new(c, cai_key_make(4, 0, "test", 0, 0), &m));
    m->half_products = how->half;
    must(trainer_new(m, &o, &t));
    struct micro *b = peak_micro(m, tokens, LENGTH);
    for (int i = 0; i < 2; i++) {
        must(trainer_backward(t, b, peak_loss, NULL));
        must(trainer_step(t, 1e-4, &r));
    }
    struct hf_training whole = *how;
    whole.normed = m->n;
    *ret_planned = planned(m, &whole);
    double taken = peak_since(before);
    micro_free(b);
    trainer_free(t);
    model_free(m);
    return taken;
}

static void one_way(const struct hf_training *how) {
    struct hf_config c = config_of(how->scalar), small = c;
    double plan;
    small.num_layers = 1;
    small.vocab_size = 300;
    small.hidden_size = small.intermediate_size = 32;
    small.num_heads = small.num_kv_heads = 1;
    (void)two_steps(&small, how, 2 * LENGTH, &plan); /* code and libraries' buffers */
    double taken = two_steps(&c, how, how->tokens, &plan);
    printf("%.2f %.2f\n", taken, plan);
}

static double measure(bool half, bool recompute, bool scalar) {
    char command[4096];
    double taken, plan;
    snprintf(command, sizeof command, "'%s' %d %d %d", program, half, recompute, scalar);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lf %lf", &taken, &plan), 2);
    assert_int_equal(pclose(f), 0);
    print_message("%s, %s, %s: %.1f MB, planned %.1f MB: %+.0f %%\n",
                  half ? "bfloat16" : "float32", recompute ? "layers again" : "graphs kept",
                  scalar ? "scores" : "tokens", taken, plan, 100 * (plan / taken - 1));
    wrong += !(fabs(plan / taken - 1) <= 0.15);
    return taken;
}

static void the_plan_is_what_is_taken(void **state) {
    (void)state;
    double kept = measure(false, false, false), again = measure(false, true, false);
    measure(false, false, true);
    measure(false, true, true);
    assert_true(again < 0.7 * kept);
    for (int way = 0; way < 4 && ct_half_pays(); way++)
        measure(true, way & 1, way & 2);
    assert_int_equal(wrong, 0);
}

/* A gradient's norm takes a copy in fp64 of a stretch only, of whatever size the gradient is. */
static void a_norm_takes_no_second_buffer(void **state) {
    (void)state;
    struct trainer_options o = {.beta1 = .9, .beta2 = .99, .eps = 1e-8, .temperature = 1};
    struct hf_config c = tiny_config(false);
    struct trainer_report r;
    struct trainer *t;
    struct model *m;
    c.vocab_size = 1000000;
    must(model_new(&c, cai_key_make(4, 0, "test", 0, 0), &m));
    must(trainer_new(m, &o, &t));
    must(trainer_step(t, 0, &r)); /* moments and gradients are written pages from here */
    double before = peak_begin();
    must(trainer_step(t, 0, &r));
    double taken = peak_since(before), whole = 8.0 * (double)m->n / (1 << 20);
    print_message("a step of gradients without any took %.1f MB; their copy would be %.1f MB\n", taken,
                  whole);
    assert_true(r.grad_norm == 0 && taken < 150 && whole > 230);
    trainer_free(t);
    model_free(m);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (ct_init(1) < 0)
        return 1;
    if (argc == 4) {
        struct hf_training how = {TOKENS, argv[2][0] == '1', argv[1][0] == '1', argv[3][0] == '1', 0};
        one_way(&how);
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_plan_is_what_is_taken),
                                       cmocka_unit_test(a_norm_takes_no_second_buffer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
