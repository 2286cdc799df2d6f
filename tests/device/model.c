/* a model on a GPU: the forward pass, gradients, training steps and generation are those of
 * the processor; a recorded step is the step computed anew, to the bit; memory that does not
 * suffice is an error of its own, after which the process goes on. */
#include "common.h"

#include "learn/engine.h"
#include "learn/engine_decode.h"
#include "learn/trainer.h"

enum { SEQUENCES = 6, TOKENS_MAX = SEQUENCES * ROW_MAX, REQUESTS = 5, NEW = 10, VOCAB = 64 };

static struct rows rows;

static int setup(void **state) {
    (void)state;
    make_rows(&rows, 7);
    return 0;
}

static struct micro *open_micro(const struct model *m) {
    struct span s[SEQUENCES];
    struct micro *b;
    for (int i = 0; i < SEQUENCES; i++)
        s[i] = (struct span){rows.ids[i], rows.n[i], m->head == MODEL_HEAD_SCALAR ? rows.n[i] - 1 : 1,
                             rows.n[i]};
    must(micro_new(m, s, SEQUENCES, &b));
    return b;
}

static void the_class_names_the_gpu(void **state) {
    struct ct_memory before, during;
    int64_t n = 1 << 20;
    (void)state;
    use(the_gpu);
    print_message("numeric class %s\n", ct_numeric_class());
    assert_int_equal(strncmp(ct_numeric_class(), "cuda/", 5), 0);
    assert_int_equal(strncmp(ct_numeric_class(), "cuda//", 6) == 0, 0);
    must(ct_device_memory(&before));
    ct_scope *s = ct_scope_open();
    ct_tensor *t = ct_zeros(s, CT_F32, &n, 1);
    must(ct_scope_status(s));
    assert_true(ct_device_of(t).cuda);
    assert_null(ct_host_data(t));
    must(ct_device_memory(&during));
    assert_true(during.allocated >= before.allocated + 4 * n);
    assert_true(during.total > 0 && during.free > 0 && during.peak >= during.allocated);
    ct_scope_close(s);
    must(ct_device_trim());
    must(ct_device_sync());
}

static void too_much_is_refused_and_life_goes_on(void **state) {
    struct ct_memory m;
    (void)state;
    use(the_gpu);
    must(ct_device_memory(&m));
    int64_t n = m.total / 2; /* of 4 bytes each */
    ct_scope *s = ct_scope_open();
    ct_zeros(s, CT_F32, &n, 1);
    assert_int_equal(ct_scope_status(s), CAI_ENOMEM);
    ct_scope_close(s);
    s = ct_scope_open();
    ct_tensor *t = ct_full(s, CT_F32, (int64_t[]){8}, 1, 2);
    double sum;
    must(ct_item(ct_sum(s, t), &sum));
    assert_true(sum == 16);
    ct_scope_close(s);
    struct engine_options o = {.slots = 1 << 20, .capacity = 96, .end_id = 1};
    struct model *model = tiny_model(false, 3);
    struct engine *e;
    assert_int_equal(engine_new(model, NULL, &o, &e), CAI_ELIMIT); /* planned on GPU memory */
    model_free(model);
}

/* Log-probabilities, entropies of the rows of a pack, or scores. */
static void outputs(struct model *m, double *out, double *entropy) {
    struct micro *b = open_micro(m);
    must(model_outputs(m, b, 0.7, out, m->head == MODEL_HEAD_LM ? entropy : NULL));
    micro_free(b);
}

static void forward_passes_agree(void **state) {
    double a[2][TOKENS_MAX] = {{0}}, b[2][TOKENS_MAX] = {{0}};
    (void)state;
    for (int scalar = 0; scalar < 2; scalar++) {
        struct twins t = twins_new(scalar, 1);
        use(the_processor);
        outputs(t.cpu, a[0], a[1]);
        use(the_gpu);
        outputs(t.gpu, b[0], b[1]);
        for (int i = 0; i < TOKENS_MAX; i++) {
            assert_true(fabs(a[0][i] - b[0][i]) < 1e-4);
            assert_true(fabs(a[1][i] - b[1][i]) < 1e-4);
        }
        twins_free(&t);
    }
}

static int squares(void *context, const double *out, double *grad, int64_t n) {
    double *sum = context;
    for (int64_t i = 0; i < n; i++) {
        *sum += 0.01 * out[i] * out[i];
        grad[i] = 0.02 * out[i];
    }
    return 0;
}

/* Three steps; large eps: Adam turns any rounding of a tiny gradient into a whole step. */
static void train(struct model *m, bool recompute, double *sum, struct trainer_report *r) {
    struct trainer_options o = {.beta1 = .9, .beta2 = .999, .eps = 1e-2, .weight_decay = .01,
                                .clip_norm = 1, .temperature = 1, .recompute = recompute};
    struct trainer *t;
    struct micro *b = open_micro(m);
    must(trainer_new(m, &o, &t));
    for (int i = 0; i < 3; i++) {
        must(trainer_backward(t, b, squares, sum));
        must(trainer_step(t, 1e-2, r));
    }
    trainer_free(t);
    micro_free(b);
}

static void training_steps_agree(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct twins t = twins_new(way & 1, 2);
        double a = 0, b = 0;
        struct trainer_report ra, rb;
        use(the_processor);
        train(t.cpu, way & 2, &a, &ra);
        use(the_gpu);
        train(t.gpu, way & 2, &b, &rb);
        print_message("loss %.8g %.8g, gradient %.8g %.8g\n", a, b, ra.grad_norm, rb.grad_norm);
        assert_true(fabs(a - b) < 1e-4 * (1 + fabs(a)));
        assert_true(fabs(ra.grad_norm - rb.grad_norm) < 1e-3 * (1e-3 + ra.grad_norm));
        float *x = read_all(t.cpu->flat), *y = read_all(t.gpu->flat);
        assert_near(x, y, t.cpu->n, 1e-3, "weights after three steps");
        free(x);
        free(y);
        twins_free(&t);
    }
}

static void the_same_run_gives_the_same_bits(void **state) {
    float *seen[2];
    int64_t n = 0;
    (void)state;
    use(the_gpu);
    for (int i = 0; i < 2; i++) {
        struct model *m = tiny_model(false, 2);
        double sum = 0;
        struct trainer_report r;
        train(m, false, &sum, &r);
        seen[i] = read_all(m->flat);
        n = m->n;
        model_free(m);
    }
    assert_memory_equal(seen[0], seen[1], (size_t)n * sizeof(float));
    free(seen[0]);
    free(seen[1]);
}

static void generate(const struct model *m, bool half, double temperature, struct gen_result *r) {
    struct engine_options o = {.slots = 3, .capacity = 64, .end_id = 1, .bfloat16 = half};
    struct sampling how = {.temperature = temperature, .top_p = 1, .max_tokens = NEW};
    struct gen_request q[REQUESTS];
    struct engine *e;
    for (int i = 0; i < REQUESTS; i++)
        q[i] = (struct gen_request){.ids = rows.ids[i], .n_ids = (size_t)rows.n[i],
                                    .key = cai_key_make(3, 0, "r", (uint64_t)i, 0)};
    must(engine_new(m, NULL, &o, &e));
    must(engine_generate(e, q, REQUESTS, &how, NULL, NULL, r));
    engine_free(e);
}

static void free_all(struct gen_result *r) {
    for (int i = 0; i < REQUESTS; i++)
        gen_result_free(&r[i]);
}

static void generation_agrees(void **state) {
    struct twins t = twins_new(false, 5);
    struct gen_result a[REQUESTS], b[REQUESTS], again[REQUESTS];
    (void)state;
    for (int sampled = 0; sampled < 2; sampled++) {
        use(the_processor);
        generate(t.cpu, false, sampled, a);
        use(the_gpu);
        generate(t.gpu, false, sampled, b);
        generate(t.gpu, false, sampled, again);
        for (int i = 0; i < REQUESTS; i++) {
            assert_int_equal(a[i].n, b[i].n);
            assert_memory_equal(a[i].ids, b[i].ids, a[i].n * sizeof(int32_t));
            assert_near(a[i].logprobs, b[i].logprobs, (int64_t)a[i].n, 1e-3, "log-probabilities");
            assert_memory_equal(b[i].logprobs, again[i].logprobs, b[i].n * sizeof(float));
        }
        free_all(a);
        free_all(b);
        free_all(again);
    }
    twins_free(&t);
}

static void generation_in_bfloat16_is_near(void **state) {
    struct twins t = twins_new(false, 5);
    struct gen_result a[REQUESTS], b[REQUESTS];
    (void)state;
    use(the_gpu);
    generate(t.gpu, false, 0, a);
    generate(t.gpu, true, 0, b);
    for (int i = 0; i < REQUESTS; i++) /* later tokens may follow another first one */
        assert_true(a[i].ids[0] != b[i].ids[0] ||
                    fabs((double)a[i].logprobs[0] - (double)b[i].logprobs[0]) < 0.1);
    free_all(a);
    free_all(b);
    twins_free(&t);
}

/* Steps of a decoder, recorded or not, into `ret` [steps, n, V]. */
static void steps(const struct model *m, bool record, enum ct_dtype dtype, float *ret) {
    static const int64_t slots[3] = {0, 1, 2};
    struct decoder_options o = {.rows = 4, .spare = 4, .record = record};
    struct kv_cache *c;
    struct decoder *d;
    must(kv_cache_new_of(m, dtype, 5, 32, &c));
    must(decoder_new(m, c, &o, &d));
    for (int step = 0; step < 8; step++) {
        int32_t ids[3] = {step, step + 7, step + 20};
        int64_t at[3] = {step, step, step};
        const float *logits;
        int64_t n = step == 3 ? 1 : 3;
        must(decoder_step(d, ids, slots, at, n, &logits));
        memcpy(ret + step * 3 * VOCAB, logits, (size_t)(n * VOCAB) * sizeof(float));
        if (step == 5) /* weights that change in place are seen by what was recorded before */
            must(ct_scale_(m->flat, 1.01));
    }
    must(ct_scale_(m->flat, 1 / 1.01));
    decoder_free(d);
    kv_cache_free(c);
}

static void a_recorded_step_is_the_step(void **state) {
    static float a[8 * 3 * VOCAB], b[8 * 3 * VOCAB];
    (void)state;
    use(the_gpu);
    for (int half = 0; half < 2; half++) {
        struct model *m = tiny_model(false, 9);
        steps(m, false, half ? CT_BF16 : CT_F32, a);
        model_free(m);
        m = tiny_model(false, 9);
        steps(m, true, half ? CT_BF16 : CT_F32, b);
        model_free(m);
        assert_memory_equal(a, b, sizeof a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_class_names_the_gpu),
        cmocka_unit_test(too_much_is_refused_and_life_goes_on),
        cmocka_unit_test(forward_passes_agree),
        cmocka_unit_test(training_steps_agree),
        cmocka_unit_test(the_same_run_gives_the_same_bits),
        cmocka_unit_test(generation_agrees),
        cmocka_unit_test(generation_in_bfloat16_is_near),
        cmocka_unit_test(a_recorded_step_is_the_step),
    };
    int without = without_gpu();
    return without ? without : cmocka_run_group_tests(tests, setup, NULL);
}
