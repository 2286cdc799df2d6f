/* trainer: gradients against differences, micro-batches against one batch, both ways of
 * backward, junk in neighbours, one AdamW step against the formula, the guard against NaN. */
#include "common.h"

#include "learn/trainer.h"

static struct rows rows;

static int setup(void **state) {
    (void)state;
    make_rows(&rows, 7);
    return ct_init(1);
}

static struct trainer *open_trainer(struct model *m, bool recompute, double decay, double clip) {
    struct trainer_options o = {.beta1 = .9, .beta2 = .999, .eps = 1e-8, .weight_decay = decay,
                                .clip_norm = clip, .temperature = 1, .recompute = recompute};
    struct trainer *t;
    must(trainer_new(m, &o, &t));
    return t;
}

static struct micro *open_micro(const struct model *m, int first, int n) {
    struct span s[ROWS_MAX];
    bool scalar = m->head == MODEL_HEAD_SCALAR;
    for (int i = 0; i < n; i++) {
        int64_t len = rows.n[first + i];
        s[i] = (struct span){rows.ids[first + i], len, scalar ? len - 1 : 1 + i % 3, len};
    }
    struct micro *b;
    must(micro_new(m, s, (size_t)n, &b));
    return b;
}

/* Σ c · out², so that every gradient depends on the output. */
static int squares(void *context, const double *out, double *grad, int64_t n) {
    double *sum = context;
    for (int64_t i = 0; i < n; i++) {
        *sum += 0.01 * out[i] * out[i];
        grad[i] = 0.02 * out[i];
    }
    return 0;
}

static double loss_now(struct trainer *t, const struct micro *b) {
    double out[ROWS_MAX * ROW_MAX], grad[ROWS_MAX * ROW_MAX], sum = 0;
    must(trainer_evaluate(t, b, out, NULL));
    squares(&sum, out, grad, b->n_rows);
    return sum;
}

/* The parameters after one plain step tell the gradient: with fresh moments AdamW moves
 * each by lr · g / (|g| + eps), so gradients are compared through a large eps. */
static float *after_step(struct model *m, struct micro *const *b, int n, bool recompute,
                         struct trainer_report *r) {
    struct trainer_options o = {.beta1 = 0, .beta2 = 0, .eps = 1e3, .temperature = 1,
                                .recompute = recompute};
    struct trainer *t;
    double sum = 0;
    must(trainer_new(m, &o, &t));
    for (int i = 0; i < n; i++)
        must(trainer_backward(t, b[i], squares, &sum));
    must(trainer_step(t, 1e3, r));
    float *out = cai_alloc((size_t)m->n * sizeof *out);
    must(ct_read_f32(m->flat, out, m->n));
    trainer_free(t);
    return out;
}

static void gradient_is_the_slope(void **state) {
    (void)state;
    for (int scalar = 0; scalar < 2; scalar++) {
        struct model *m = tiny_model(scalar, 1), *copy;
        must(model_clone(m, &copy));
        struct micro *b = open_micro(m, 0, 5);
        struct trainer *t = open_trainer(m, false, 0, 0);
        struct trainer_report r;
        float *moved = after_step(copy, &b, 1, false, &r);
        float *flat = ct_host_data(m->flat);
        for (int i = 0; i < m->n_params; i++) {
            int64_t at = m->params[i].offset + m->params[i].numel / 3;
            float old = flat[at], h = 1e-2f;
            /* moved = old − 1e3 · g / (|g| + 1e3) */
            double x = (double)old - moved[at], g = x / (1 - fabs(x) / 1e3);
            flat[at] = old + h;
            double up = loss_now(t, b);
            flat[at] = old - h;
            double down = loss_now(t, b);
            flat[at] = old;
            double slope = (up - down) / (2 * (double)h);
            if (fabs(slope - g) > 0.02 * fabs(slope) + 5e-3)
                fail_msg("%s: slope %g, gradient %g", m->params[i].file.name, slope, g);
        }
        free(moved);
        trainer_free(t);
        micro_free(b);
        model_free(copy);
        model_free(m);
    }
}

static void batch_of_eight_is_eight_of_one(void **state) {
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        struct model *a = tiny_model(false, 2), *b = tiny_model(false, 2);
        struct micro *whole = open_micro(a, 0, 8), *parts[8];
        struct trainer_report ra, rb;
        for (int i = 0; i < 8; i++) {
            struct span s = {rows.ids[i], rows.n[i], 1 + i % 3, rows.n[i]};
            must(micro_new(a, &s, 1, &parts[i]));
        }
        float *x = after_step(a, &whole, 1, recompute, &ra);
        float *y = after_step(b, parts, 8, recompute, &rb);
        assert_true(ra.grad_norm > 0.1);
        assert_true(worst_difference(x, y, a->n) < 2e-5 * ra.grad_norm);
        assert_true(fabs(ra.grad_norm - rb.grad_norm) < 1e-4 * ra.grad_norm);
        for (int i = 0; i < 8; i++)
            micro_free(parts[i]);
        micro_free(whole);
        free(x);
        free(y);
        model_free(a);
        model_free(b);
    }
}

static void recompute_gives_the_same(void **state) {
    (void)state;
    for (int scalar = 0; scalar < 2; scalar++) {
        struct model *a = tiny_model(scalar, 3), *b = tiny_model(scalar, 3);
        struct micro *micro = open_micro(a, 3, 6);
        struct trainer_report ra, rb;
        float *x = after_step(a, &micro, 1, false, &ra);
        float *y = after_step(b, &micro, 1, true, &rb);
        assert_true(worst_difference(x, y, a->n) < 1e-5 * ra.grad_norm);
        micro_free(micro);
        free(x);
        free(y);
        model_free(a);
        model_free(b);
    }
}

static void runs_are_equal(void **state) {
    (void)state;
    float *seen[2];
    int64_t n = 0;
    for (int run = 0; run < 2; run++) {
        struct model *m = tiny_model(false, 4);
        struct micro *b = open_micro(m, 0, 12);
        struct trainer *t = open_trainer(m, false, 0.01, 0.5);
        struct trainer_report r;
        double sum = 0;
        for (int step = 0; step < 3; step++) {
            must(trainer_backward(t, b, squares, &sum));
            must(trainer_step(t, 1e-2, &r));
        }
        n = m->n;
        seen[run] = cai_alloc((size_t)n * sizeof **seen);
        must(ct_read_f32(m->flat, seen[run], n));
        trainer_free(t);
        micro_free(b);
        model_free(m);
    }
    assert_memory_equal(seen[0], seen[1], (size_t)n * sizeof **seen);
    free(seen[0]);
    free(seen[1]);
}

static void neighbours_do_not_matter(void **state) {
    (void)state;
    struct model *m = tiny_model(false, 5);
    struct trainer *t = open_trainer(m, false, 0, 0);
    double x[3 * ROW_MAX], y[3 * ROW_MAX];
    int64_t at = rows.n[0] - 1, n = rows.n[1] - 1;
    struct span s[3];
    for (int i = 0; i < 3; i++)
        s[i] = (struct span){rows.ids[i], rows.n[i], 1, rows.n[i]};
    struct micro *b;
    must(micro_new(m, s, 3, &b));
    must(trainer_evaluate(t, b, x, NULL));
    micro_free(b);
    int32_t junk[2][ROW_MAX];
    for (int j = 0; j < ROW_MAX; j++)
        junk[0][j] = junk[1][j] = 63;
    s[0].ids = junk[0];
    s[2].ids = junk[1];
    must(micro_new(m, s, 3, &b));
    must(trainer_evaluate(t, b, y, NULL));
    micro_free(b);
    assert_memory_equal(x + at, y + at, (size_t)n * sizeof *x);
    assert_memory_not_equal(x, y, (size_t)at * sizeof *x);
    trainer_free(t);
    model_free(m);
}

static void adamw_is_the_formula(void **state) {
    (void)state;
    struct model *m = tiny_model(false, 6);
    float *before = cai_alloc((size_t)m->n * sizeof *before);
    must(ct_read_f32(m->flat, before, m->n));
    struct model *probe = tiny_model(false, 6);
    struct micro *b = open_micro(m, 0, 6);
    struct trainer_report r;
    float *moved = after_step(probe, &b, 1, false, &r);
    struct trainer *t = open_trainer(m, false, 0.1, 0.25 * r.grad_norm);
    double sum = 0, lr = 0.01;
    must(trainer_backward(t, b, squares, &sum));
    must(trainer_step(t, lr, &r));
    float *after = ct_host_data(m->flat);
    for (int i = 0; i < m->n_params; i++)
        for (int64_t j = 0; j < m->params[i].numel; j += 37) {
            int64_t at = m->params[i].offset + j;
            double x = (double)before[at] - moved[at], g = x / (1 - fabs(x) / 1e3) * 0.25;
            if (fabs(g) < 1e-3) /* too little to know its sign */
                continue;
            double p = before[at] * (1 - lr * (m->params[i].decay ? 0.1 : 0));
            assert_true(fabs(p - lr * g / (fabs(g) + 1e-8) - after[at]) < 1e-5);
        }
    free(before);
    free(moved);
    trainer_free(t);
    micro_free(b);
    model_free(probe);
    model_free(m);
}

static int poison(void *context, const double *out, double *grad, int64_t n) {
    (void)out;
    for (int64_t i = 0; i < n; i++)
        grad[i] = *(double *)context;
    return 0;
}

static void nan_is_skipped_then_refused(void **state) {
    (void)state;
    struct model *m = tiny_model(false, 8);
    float *before = cai_alloc((size_t)m->n * sizeof *before);
    must(ct_read_f32(m->flat, before, m->n));
    struct micro *b = open_micro(m, 0, 4);
    struct trainer *t = open_trainer(m, false, 0, 1);
    struct trainer_report r;
    double bad = NAN, good = 0.001;
    for (int i = 0; i < 2; i++) {
        must(trainer_backward(t, b, poison, &bad));
        must(trainer_step(t, 0.1, &r));
        assert_int_equal(r.outcome, TRAINER_SKIPPED);
    }
    assert_memory_equal(before, ct_host_data(m->flat), (size_t)m->n * sizeof *before);
    must(trainer_backward(t, b, poison, &good));
    must(trainer_step(t, 0.1, &r)); /* the count starts again */
    assert_int_equal(r.outcome, TRAINER_STEPPED);
    for (int i = 0; i < 2; i++) {
        must(trainer_backward(t, b, poison, &bad));
        must(trainer_step(t, 0.1, &r));
    }
    must(trainer_backward(t, b, poison, &bad));
    assert_int_equal(trainer_step(t, 0.1, &r), CAI_ENUMERIC);
    free(before);
    trainer_free(t);
    micro_free(b);
    model_free(m);
}

static void packs_are_even_and_whole(void **state) {
    (void)state;
    const int64_t lengths[] = {9, 1, 1, 5, 4, 4, 8};
    struct packing p;
    must(packing_make(lengths, 7, 16, 2, &p));
    assert_int_equal(p.n_bins, 2);
    int64_t load[2] = {0};
    int seen[7] = {0};
    for (size_t b = 0; b < 2; b++)
        for (size_t i = p.starts[b]; i < p.starts[b + 1]; i++) {
            assert_true(i == p.starts[b] || p.units[i] > p.units[i - 1]);
            load[b] += lengths[p.units[i]];
            seen[p.units[i]]++;
        }
    assert_int_equal(load[0], 17); /* 9 + 4 + 4 */
    assert_int_equal(load[1], 15);
    for (int i = 0; i < 7; i++)
        assert_int_equal(seen[i], 1);
    packing_free(&p);
    must(packing_make(lengths, 0, 16, 3, &p));
    assert_int_equal(p.n_bins, 3);
    packing_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_the_slope), cmocka_unit_test(batch_of_eight_is_eight_of_one),
        cmocka_unit_test(recompute_gives_the_same), cmocka_unit_test(runs_are_equal),
        cmocka_unit_test(neighbours_do_not_matter), cmocka_unit_test(adamw_is_the_formula),
        cmocka_unit_test(nan_is_skipped_then_refused), cmocka_unit_test(packs_are_even_and_whole),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
