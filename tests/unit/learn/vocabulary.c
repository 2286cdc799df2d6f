/* vocabulary: with 152,000 tokens no way through the head holds [rows × vocabulary] whole: not
 * training (SFT, DPO and PPO's policy: trainer_backward), not PPO's old log-probabilities and
 * entropies (trainer_evaluate), not the reference and what is held out (model_outputs). Each
 * takes less than a twentieth of the whole logits, in fp32 and in bfloat16. */
#include "learn/trainer.h"

#include "peak.h"

enum { VOCABULARY = 152000, ROWS = 2048, LENGTH = 64 };

static struct model *wide_model(int64_t vocabulary) {
    struct hf_config c = tiny_config(false);
    struct model *m;
    c.vocab_size = vocabulary;
    c.hidden_size = 8;
    c.intermediate_size = 16;
    c.num_layers = 1;
    c.num_heads = c.num_kv_heads = 1;
    must(model_new(&c, cai_key_make(3, 0, "test", 0, 0), &m));
    return m;
}

struct way {
    struct trainer *t;
    struct micro *b;
    double *out, *entropy;
};

static void train(struct way *w) {
    must(trainer_backward(w->t, w->b, peak_loss, NULL));
}
static void policy(struct way *w) {
    must(trainer_evaluate(w->t, w->b, w->out, w->entropy));
}
static void reference(struct way *w) {
    must(model_outputs(trainer_model(w->t), w->b, 0.7, w->out, NULL));
}

static void way_open(struct way *w, int64_t vocabulary, int64_t rows, bool half) {
    struct trainer_options o = {.beta1 = .9, .beta2 = .99, .eps = 1e-8, .temperature = 1};
    struct model *m = wide_model(vocabulary);
    m->half_products = half;
    must(trainer_new(m, &o, &w->t));
    w->b = peak_micro(m, rows, LENGTH);
    w->out = cai_alloc((size_t)rows * sizeof *w->out);
    w->entropy = cai_alloc((size_t)rows * sizeof *w->entropy);
}

static void way_close(struct way *w) {
    struct model *m = trainer_model(w->t);
    trainer_free(w->t);
    micro_free(w->b);
    model_free(m);
    free(w->out);
    free(w->entropy);
}

static void all_ways(bool half) {
    static const struct {
        const char *name;
        void (*f)(struct way *w);
    } ways[] = {{"training", train}, {"the policy's old numbers", policy},
                {"the reference", reference}};
    struct way small, w;
    int64_t rows = half ? 2 * ROWS : ROWS;
    double whole = (double)rows * VOCABULARY * 4 / (1 << 20);
    way_open(&small, 500, 2 * LENGTH, half); /* code is read in, buffers of libraries are made */
    for (size_t i = 0; i < CAI_COUNT(ways); i++)
        ways[i].f(&small);
    way_close(&small);
    way_open(&w, VOCABULARY, rows, half);
    for (size_t i = 0; i < CAI_COUNT(ways); i++) {
        double before = peak_begin();
        ways[i].f(&w);
        double taken = peak_since(before);
        print_message("%s%s: %.1f MB of %.0f MB: %.1f %%\n", ways[i].name,
                      half ? " in bfloat16" : "", taken, whole, 100 * taken / whole);
        assert_true(taken > 1 && taken < 0.05 * whole);
    }
    way_close(&w);
}

static void in_float32(void **state) {
    (void)state;
    all_ways(false);
}

static void in_bfloat16(void **state) {
    (void)state;
    if (!ct_half_pays())
        skip();
    all_ways(true);
}

int main(void) {
    if (ct_init(1) < 0)
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_float32), cmocka_unit_test(in_bfloat16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
