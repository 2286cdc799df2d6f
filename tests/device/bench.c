/* bench-device: what a GPU gives, each figure beside another of the same run: steps of decoding
 * recorded against computed anew, and both against the weights' bytes at the memory's own
 * speed (a copy within it); training in tokens/s. Time is shown, never tested. */
#include "common.h"

#include "learn/engine_decode.h"
#include "learn/trainer.h"
#include <time.h>

enum { STEPS = 64, PLACES = 512, PACK = 8192, LENGTH = 512, LAYERS = 16, WIDTH = 1024 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* About 0.3 B parameters. */
static struct model *make(void) {
    struct hf_config c = tiny_config(false);
    struct model *m;
    c.vocab_size = 32000;
    c.hidden_size = WIDTH;
    c.intermediate_size = 4 * WIDTH;
    c.num_layers = LAYERS;
    c.num_heads = 16;
    c.num_kv_heads = 4;
    c.head_dim = 64;
    c.max_positions = 4096;
    must(model_new(&c, cai_key_make(1, 0, "bench", 0, 0), &m));
    return m;
}

/* Bytes per second, read and written, of a copy within the GPU. */
static double memory_speed(void) {
    int64_t n = (int64_t)1 << 28;
    ct_scope *s = ct_scope_open();
    ct_tensor *a = ct_zeros(s, CT_F32, &n, 1), *b = ct_zeros(s, CT_F32, &n, 1);
    must(ct_scope_status(s));
    must(ct_copy_(a, b));
    must(ct_device_sync());
    double start = now();
    for (int i = 0; i < 20; i++)
        must(ct_copy_(a, b));
    must(ct_device_sync());
    double seconds = now() - start;
    ct_scope_close(s);
    return 20 * 8.0 * (double)n / seconds;
}

/* Seconds per step of so many rows. */
static double decode(const struct model *m, int64_t rows, bool record) {
    struct decoder_options o = {.rows = rows, .spare = rows, .record = record};
    struct kv_cache *c;
    struct decoder *d;
    int32_t ids[256] = {0};
    int64_t slots[256], at[256];
    const float *logits;
    double start = 0;
    must(kv_cache_new(m, rows + 1, PLACES, &c));
    must(decoder_new(m, c, &o, &d));
    for (int64_t i = 0; i < rows; i++)
        slots[i] = i;
    for (int step = -4; step < STEPS; step++) {
        if (step == 0)
            start = now();
        for (int64_t i = 0; i < rows; i++)
            at[i] = 256 + step;
        must(decoder_step(d, ids, slots, at, rows, &logits));
    }
    double seconds = (now() - start) / STEPS;
    decoder_free(d);
    kv_cache_free(c);
    return seconds;
}

static void bench_decoding(const struct model *m, const char *dtype, double width, double speed) {
    static const int64_t rows[] = {1, 8, 64, 256};
    double least = width * (double)(m->n - ct_numel(m->embedding)) / speed;
    for (size_t i = 0; i < CAI_COUNT(rows); i++) {
        double anew = decode(m, rows[i], false), recorded = decode(m, rows[i], true);
        printf("decode %s, %3lld rows: recorded %.2f ms, %.0f tokens/s; %.2fx of computed anew "
               "(%.2f ms); %.0f %% of the memory's limit for the weights (%.2f ms)\n",
               dtype, (long long)rows[i], recorded * 1e3, (double)rows[i] / recorded,
               anew / recorded, anew * 1e3, 100 * least / recorded, least * 1e3);
        fflush(stdout);
    }
}

static int likelihood(void *context, const double *out, double *grad, int64_t n) {
    (void)context, (void)out;
    for (int64_t i = 0; i < n; i++)
        grad[i] = -1.0 / (double)n;
    return 0;
}

static void bench_training(struct model *m) {
    struct trainer_options o = {.beta1 = .9, .beta2 = .999, .eps = 1e-8, .clip_norm = 1,
                                .temperature = 1};
    static int32_t ids[PACK];
    struct span s[PACK / LENGTH];
    struct trainer *t;
    struct micro *b;
    struct trainer_report r;
    struct ct_memory memory;
    double start = 0;
    for (int i = 0; i < PACK; i++)
        ids[i] = 3 + i * 7 % 30000;
    for (int i = 0; i < PACK / LENGTH; i++)
        s[i] = (struct span){ids + i * LENGTH, LENGTH, 1, LENGTH};
    must(micro_new(m, s, CAI_COUNT(s), &b));
    must(trainer_new(m, &o, &t));
    for (int step = -2; step < 8; step++) {
        if (step == 0)
            start = now();
        must(trainer_backward(t, b, likelihood, NULL));
        must(trainer_step(t, 1e-6, &r));
    }
    must(ct_device_sync());
    double seconds = (now() - start) / 8;
    must(ct_device_memory(&memory));
    printf("train fp32, %d tokens in %d sequences: %.0f ms, %.0f tokens/s, %.1f TFLOP/s, peak "
           "memory %.1f GB\n", PACK, PACK / LENGTH, seconds * 1e3, PACK / seconds,
           6.0 * (double)m->n * PACK / seconds * 1e-12, (double)memory.peak / 1e9);
    trainer_free(t);
    micro_free(b);
}

int main(void) {
    int without = without_gpu();
    if (without)
        return without;
    use(the_gpu);
    double speed = memory_speed();
    printf("numeric class %s; memory %.2f TB/s\n", ct_numeric_class(), speed * 1e-12);
    struct model *m = make();
    struct model_half *half;
    printf("model: %.2f B parameters, %d layers x %d\n", (double)m->n * 1e-9, LAYERS, WIDTH);
    bench_decoding(m, "fp32", 4, speed);
    must(model_half_new(m, &half));
    bench_decoding(model_half_seen(half), "bfloat16", 2, speed);
    model_half_free(half);
    bench_training(m);
    model_free(m);
    return 0;
}
