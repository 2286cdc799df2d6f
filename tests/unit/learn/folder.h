/* folder.h: a temporary world for whole training tasks: a model folder with a tokenizer of
 * single bytes, dataset files, a task, a host that records. */
#ifndef CAI_TEST_LEARN_FOLDER_H
#define CAI_TEST_LEARN_FOLDER_H

#include "common.h"

#include "base/file.h"
#include "learn/train.h"

#include <jansson.h>
#include <unistd.h>

enum { BYTE_END = 256, BYTE_PAD = 257, BYTE_VOCAB = 260 };

static char folder_root[64];

static inline char *at_root(const char *name) { return cai_path_join(folder_root, name); }

static inline void write_text(const char *path, const char *text) {
    must(cai_file_write_atomic(path, text, strlen(text)));
}

/* GPT-2's printable stand-in for a byte. */
static inline int byte_code(int byte) {
    int shifted = 0;
    for (int i = 0; i <= byte; i++) {
        bool plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        if (i == byte)
            return plain ? byte : 256 + shifted;
        shifted += !plain;
    }
    return 0;
}

static inline void write_tokenizer(const char *dir) {
    json_t *vocab = json_object();
    for (int b = 0; b < 256; b++) {
        int c = byte_code(b);
        char s[3] = {0};
        if (c < 0x80) {
            s[0] = (char)c;
        } else {
            s[0] = (char)(0xC0 | c >> 6);
            s[1] = (char)(0x80 | (c & 63));
        }
        json_object_set_new(vocab, s, json_integer(b));
    }
    const char *added = "{s:i, s:s, s:b, s:b, s:b, s:b, s:b}";
    json_t *end = json_pack(added, "id", BYTE_END, "content", "<|end|>", "single_word", 0,
                            "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
    json_t *pad = json_pack(added, "id", BYTE_PAD, "content", "<|pad|>", "single_word", 0,
                            "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
    const char *level = "{s:s, s:b, s:b, s:b}";
    json_t *before = json_pack(level, "type", "ByteLevel", "add_prefix_space", 0,
                               "trim_offsets", 1, "use_regex", 1);
    json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:[]}", "type", "BPE",
                              "dropout", "unk_token", "continuing_subword_prefix",
                              "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                              "ignore_merges", 0, "vocab", vocab, "merges");
    json_t *o = json_pack("{s:s, s:n, s:n, s:[o, o], s:n, s:o, s:n, s:O, s:o}", "version", "1.0",
                          "truncation", "padding", "added_tokens", end, pad, "normalizer",
                          "pre_tokenizer", before, "post_processor", "decoder", before, "model",
                          model);
    assert_non_null(o);
    CAI_AUTO(mem) char *path = cai_path_join(dir, "tokenizer.json");
    CAI_AUTO(mem) char *text = json_dumps(o, 0);
    write_text(path, text);
    json_decref(o);
    CAI_AUTO(mem) char *config = cai_path_join(dir, "tokenizer_config.json");
    write_text(config, "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"eos_token\": "
                       "\"<|end|>\", \"pad_token\": \"<|pad|>\"}");
}

static inline void write_model(const char *name, bool scalar, uint64_t seed) {
    struct hf_config c = tiny_config(scalar);
    CAI_AUTO(mem) char *dir = at_root(name);
    struct model *m;
    c.vocab_size = BYTE_VOCAB;
    c.eos_token_id = BYTE_END;
    c.pad_token_id = BYTE_PAD;
    must(model_new(&c, cai_key_make(seed, 0, "test", 0, 0), &m));
    ct_scope *s = ct_scope_open(); /* the end comes now and then */
    must(ct_scale_(ct_narrow(s, m->embedding, 0, BYTE_END, 1), 4));
    ct_scope_close(s);
    must(cai_dir_make(dir));
    write_tokenizer(dir);
    must(model_save(m, dir));
    model_free(m);
}

/* What a host saw. */
enum { SEEN_MAX = 64 };
struct seen {
    int reports, commits, stop_after; /* commits until `stopping`; 0 = never */
    size_t samples;
    char folder[256], hash[CAI_SHA256_HEX];
    struct {
        char figures[CAI_SHA256_HEX]; /* of step (over members) i + 1 */
        char state[CAI_SHA256_HEX];   /* of the state committed after it */
    } at[SEEN_MAX];
    uint64_t done;
};

static inline void seen_report(void *context, Cai__V1__Report *r) {
    struct seen *s = context;
    CAI_AUTO(buf) struct cai_buf text = {0};
    s->reports++;
    s->samples += r->n_samples;
    for (size_t i = 0; i < r->n_metrics; i++) {
        assert_true(isfinite(r->metrics[i]->value));
        cai_buf_printf(&text, "%s %.17g\n", r->metrics[i]->name, r->metrics[i]->value);
    }
    s->done = r->done;
    if (r->done > 0 && r->done <= SEEN_MAX)
        cai_sha256(text.data, text.len, s->at[r->done - 1].figures);
}

static inline int seen_commit(void *context, const char *folder, const char *hash,
                              uint64_t step) {
    struct seen *s = context;
    s->commits++;
    if (step > 0 && step <= SEEN_MAX)
        memcpy(s->at[step - 1].state, hash, CAI_SHA256_HEX);
    snprintf(s->folder, sizeof s->folder, "%s", folder);
    snprintf(s->hash, sizeof s->hash, "%s", hash);
    return 0;
}

static inline bool seen_stopping(void *context) {
    struct seen *s = context;
    return s->stop_after > 0 && s->commits >= s->stop_after;
}

/* A run of a task of `kind`; output and checkpoints are named after `name`. rc is learn's. */
struct job {
    const char *kind, *init, *reference, *pm, *target, *dataset, *mix, *options;
    struct comm *comm;
    struct seen *seen;
    const char *resume, *resume_hash;
    uint32_t keep;
};

/* Calls f with the task; its result is returned. */
static inline int with_job(const struct job *j, const char *name,
                           int (*f)(const struct learn_task *t, Cai__V1__Trained **ret),
                           Cai__V1__Trained **ret) {
    Cai__V1__Train t = CAI__V1__TRAIN__INIT;
    Cai__V1__Model init = CAI__V1__MODEL__INIT, reference = CAI__V1__MODEL__INIT,
                   pm = CAI__V1__MODEL__INIT, target = CAI__V1__MODEL__INIT, *pms[] = {&pm};
    Cai__V1__Dataset d = CAI__V1__DATASET__INIT, mix = CAI__V1__DATASET__INIT;
    char hash[CAI_SHA256_HEX];
    CAI_AUTO(mem) char *out = cai_format("%s/out/%s", folder_root, name);
    CAI_AUTO(mem) char *state = cai_format("%s/state/%s", folder_root, name);
    CAI_AUTO(mem) char *a = at_root(j->init);
    CAI_AUTO(mem) char *b = j->reference ? at_root(j->reference) : NULL;
    CAI_AUTO(mem) char *c = j->pm ? at_root(j->pm) : NULL;
    CAI_AUTO(mem) char *rows = at_root(j->dataset);
    must(cai_file_sha256(rows, hash));
    t.kind = (char *)(uintptr_t)j->kind;
    init.path = a;
    reference.path = b;
    pm.path = c;
    CAI_AUTO(mem) char *attacked = j->target ? at_root(j->target) : NULL;
    target.path = attacked;
    t.target = attacked ? &target : NULL;
    d.path = rows;
    d.hash = hash;
    t.init = &init;
    t.reference = b ? &reference : NULL;
    t.n_pm = c ? 1 : 0;
    t.pm = pms;
    CAI_AUTO(mem) char *mixed = j->mix ? at_root(j->mix) : NULL;
    mix.path = mixed;
    t.mix = mixed ? &mix : NULL;
    t.dataset = &d;
    t.options = (char *)(uintptr_t)j->options;
    t.output = out;
    t.checkpoints = state;
    t.keep = j->keep;
    struct learn_host host = {j->seen, seen_report, seen_commit, seen_stopping};
    struct learn_task task = {.train = &t, .seed = 11, .round = 1, .comm = j->comm,
                              .host = j->seen ? &host : NULL, .resume = j->resume,
                              .resume_hash = j->resume_hash};
    return f(&task, ret);
}

static inline int run_job(const struct job *j, const char *name, Cai__V1__Trained **ret) {
    return with_job(j, name, learn_train, ret);
}

static inline double figure(const Cai__V1__Trained *t, const char *name) {
    for (size_t i = 0; i < t->n_metrics; i++)
        if (strcmp(t->metrics[i]->name, name) == 0)
            return t->metrics[i]->value;
    return NAN;
}

static inline void free_trained(Cai__V1__Trained *t) {
    cai__v1__trained__free_unpacked(t, NULL);
}

#define OPTIMIZER_JSON                                                                             \
    "\"weight_decay\":0,\"beta1\":0.9,\"beta2\":0.999,\"eps\":1e-8,\"clip_norm\":1,\"warmup\":0.1," \
    "\"schedule\":\"linear\""

/* Rows of every kind. Replies to harmless "say X" are X; the preferred reply is longer. */
static inline void write_rows(void) {
    CAI_AUTO(buf) struct cai_buf sft = {0};
    CAI_AUTO(buf) struct cai_buf pm = {0};
    CAI_AUTO(buf) struct cai_buf classes = {0};
    CAI_AUTO(buf) struct cai_buf ppo = {0};
    for (int i = 0; i < 24; i++) {
        const char *m = "{\"item\":%d,\"messages\":[{\"role\":\"user\",\"text\":\"say %c\"}";
        char c = (char)('a' + i % 7), d = (char)('a' + i % 5);
        cai_buf_printf(&sft, m, i, c);
        cai_buf_printf(&sft, ",{\"role\":\"assistant\",\"text\":\"%c%c%c\"}]}\n", c, c, d);
        cai_buf_printf(&pm, m, i, c);
        cai_buf_printf(&pm, "],\"a\":\"%s\",\"b\":\"%s\",\"p\":%g,\"split\":\"%s\"}\n",
                       i % 2 ? "yes yes" : "no", i % 2 ? "no" : "yes yes", i % 2 ? 0.9 : 0.1,
                       i % 4 == 3 ? "held_out" : "train");
        cai_buf_printf(&classes, m, i, c);
        cai_buf_printf(&classes, ",{\"role\":\"assistant\",\"text\":\"%s\"}],\"label\":%d}\n",
                       i % 2 ? "yes yes" : "no", i % 2);
        cai_buf_printf(&ppo, m, i, c);
        cai_buf_printf(&ppo, "],\"kind\":\"%s\"}\n", i % 3 ? "harmful" : "helpful");
    }
    const char *const names[] = {"sft.jsonl", "pm.jsonl", "classifier.jsonl", "ppo.jsonl"};
    const char *const texts[] = {sft.data, pm.data, classes.data, ppo.data};
    for (int i = 0; i < 4; i++) {
        CAI_AUTO(mem) char *path = at_root(names[i]);
        write_text(path, texts[i]);
    }
}

static inline int open_world(void **state) {
    (void)state;
    snprintf(folder_root, sizeof folder_root, "/tmp/caid-learn-XXXXXX");
    assert_non_null(mkdtemp(folder_root));
    must(ct_init(1));
    write_model("base", false, 1);
    write_rows();
    return 0;
}

static inline int close_world(void **state) {
    (void)state;
    return cai_dir_remove(folder_root);
}

/* The world with a preference model of one member, trained into out/NAME. */
static inline int open_scored_world(void **state, const char *name) {
    open_world(state);
    struct job j = {.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                    .options = "{\"lr\":0.01,\"batch\":6,\"epochs\":4,\"members\":1," OPTIMIZER_JSON
                               "}"};
    Cai__V1__Trained *t;
    must(run_job(&j, name, &t));
    free_trained(t);
    return 0;
}

/* PPO in the world of open_scored_world(state, "pm"). */
static inline struct job ppo_job(const char *options) {
    return (struct job){.kind = "ppo", .init = "base", .reference = "base", .pm = "out/pm/0",
                        .dataset = "ppo.jsonl", .options = options};
}

/* A classifier in out/judge, and red.jsonl: what a red model is asked. */
static inline void add_judge(void) {
    struct job j = {.kind = "classifier", .init = "base", .dataset = "classifier.jsonl",
                    .options = "{\"lr\":0.01,\"batch\":6,\"epochs\":4,\"held_out\":0.2,"
                               OPTIMIZER_JSON "}"};
    Cai__V1__Trained *t;
    must(run_job(&j, "judge", &t));
    free_trained(t);
    CAI_AUTO(mem) char *path = at_root("red.jsonl");
    write_text(path, "{\"item\":1,\"messages\":[{\"role\":\"user\",\"text\":\"say a\"}],"
                     "\"kind\":\"harmful\"}\n");
}

/* Settings of a red model's run that PPO's have not. */
#define RED_JSON                                                                                   \
    "\"algorithm\":\"rloo\",\"group\":8,\"red\":{\"alpha\":0.3,\"penalty\":-3,"                    \
    "\"question\":false},\"reply\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":8}"

/* A red model in the world of add_judge(). */
static inline struct job red_job(const char *options) {
    return (struct job){.kind = "red", .init = "base", .reference = "base", .pm = "out/judge",
                        .target = "base", .dataset = "red.jsonl", .options = options};
}

static inline void same_trained(const Cai__V1__Trained *a, const Cai__V1__Trained *b) {
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (size_t i = 0; i < a->n_outputs; i++)
        assert_string_equal(a->outputs[i]->hash, b->outputs[i]->hash);
    assert_int_equal(a->n_metrics, b->n_metrics);
    for (size_t i = 0; i < a->n_metrics; i++)
        assert_true(a->metrics[i]->value == b->metrics[i]->value);
}

#endif
