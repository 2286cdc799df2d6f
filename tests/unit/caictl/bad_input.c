/* bad_input: what is wrong in files people write is said with file, line, column and code, by
 * `caictl constitution check` and `caictl job check`, with exit code 3, within a second. The
 * program's path is the first argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

static const char *program;
static char folder[] = "/tmp/cai-bad-XXXXXX";

/* Runs it in the folder; its exit code and time; stdout and stderr together in `out`. */
static int run_timed(const char *const *words, struct cai_buf *out, int64_t *ret_ms) {
    int ends[2];
    char chunk[4096];
    ssize_t n;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char *argv[16] = {(char *)program};
        for (size_t i = 0; words[i]; i++)
            argv[i + 1] = (char *)words[i];
        if (chdir(folder) == 0 && dup2(ends[1], 1) >= 0 && dup2(ends[1], 2) >= 0)
            execv(program, argv);
        _exit(127);
    }
    close(ends[1]);
    while ((n = read(ends[0], chunk, sizeof chunk)) > 0)
        cai_buf_append(out, chunk, (size_t)n);
    close(ends[0]);
    struct rusage used;
    int status;
    assert_int_equal(wait4(child, &status, 0, &used), child);
    assert_true(WIFEXITED(status));
    *ret_ms = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
              (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
    return WEXITSTATUS(status);
}

static int run(const char *const *words, struct cai_buf *out) {
    int64_t ms;
    return run_timed(words, out, &ms);
}

static void put(const char *name, const void *text, size_t len) {
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    assert_int_equal(cai_file_write_atomic(path, text, len), 0);
}

/* Runs `words`; expects exit 3 in a second and a finding with place, code and words. */
static void expect(const char *name, const char *const *words, const char *finding,
                   const char *also) {
    CAI_AUTO(buf) struct cai_buf out = {0};
    int64_t took; /* of the processor: a busy machine is no slow program */
    int code = run_timed(words, &out, &took);
    bool good = code == 3 && took < 1000 && out.data && strstr(out.data, finding) &&
                (!also || strstr(out.data, also));
    if (!good)
        fail_msg("%s: exit %d after %lld ms; wanted \"%s\" and \"%s\"; got:\n%.2000s", name, code,
                 (long long)took, finding, also ? also : "", out.data ? out.data : "");
}

struct bad {
    const char *text, *finding,
        *also; /* finding: "LINE:COLUMN: error[CODE]", "" place = the file */
};

static void each(const char *file, const char *const *words, const struct bad *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char finding[128];
        put(file, cases[i].text, strlen(cases[i].text));
        snprintf(finding, sizeof finding, "%s:%s", file, cases[i].finding);
        expect(cases[i].text, words, finding, cases[i].also);
    }
}

/* ---- constitutions ----------------------------------------------------------------------- */

#define HEAD "constitution: 1\nname: x\nprinciples:\n"
#define P HEAD "  - id: a\n    critique: c\n    revision: r\n    choice: q\n"

static const struct bad constitutions[] = {
    {"", " error[C005]: the file is empty", NULL},
    {"# only a comment\n", " error[C005]: the file is empty", NULL},
    {"hello\n", "1:1: error[C013]", "a constitution must be a map, found 'hello'"},
    {"- a\n- b\n", "1:1: error[C013]", "found a list"},
    {"constitution: 1\nname: x\n", "1:1: error[C012]", "missing required key 'principles'"},
    {"name: x\nprinciples: [{id: a, choice: q}]\n", "1:1: error[C012]", "'constitution'"},
    {"constitution: 2\nname: x\nprinciples: [{id: a, choice: q}]\n", "1:15: error[C014]", "newer"},
    {"constitution: one\nname: x\nprinciples: [{id: a, choice: q}]\n", "1:15: error[C013]",
     "whole number"},
    {"constitution: 1\nname: Not A Name\nprinciples: [{id: a, choice: q}]\n", "2:7: error[C013]",
     NULL},
    {HEAD "  - id: a\n    critque: c\n    choice: q\n", "5:5: error[C010]",
     "did you mean 'critique'?"},
    {"constitution: 1\nname: x\nprincipals: []\n", "3:1: error[C010]",
     "did you mean 'principles'?"},
    {P "    weight: 1\n    tier: 2\n    weight: 2\n", "10:5: error[C011]", "first at 8:5"},
    {P "name: y\n", "8:1: error[C011]", "duplicate key 'name', first at 2:1"},
    {HEAD "  - title: t\n    choice: q\n", "4:5: error[C012]", "missing required key 'id'"},
    {P "    weight: heavy\n", "8:13: error[C013]", "'weight' must be a number ≥ 0, found 'heavy'"},
    {P "    weight: -1\n", "8:13: error[C013]", "≥ 0, found '-1'"},
    {P "    weight: .inf\n", "8:13: error[C013]", NULL},
    {P "    weight: nan\n", "8:13: error[C013]", NULL},
    {P "    weight: [1]\n", "8:13: error[C013]", "found a list"},
    {P "    enabled: perhaps\n", "8:14: error[C013]", "true or false"},
    {P "    tier: 0\n", "8:11: error[C013]", "from 1 to 1000"},
    {P "    phases: [sft, pm]\n", "8:19: error[C013]", "one of sft, rl"},
    {P "    phases: []\n", "8:13: error[C013]", "empty list"},
    {P "    tags: x\n", "8:11: error[C013]", "must be a list"},
    {P "    source: {nmae: x}\n", "8:14: error[C010]", "did you mean 'name'?"},
    {P "    source: {votes: -3}\n", "8:21: error[C013]", NULL},
    {HEAD "  - id: a\n    critique: c\n    choice: q\n", "4:9: error[C021]",
     "has 'critique' but no 'revision'"},
    {HEAD "  - id: a\n    revision: r\n    choice: q\n", "4:9: error[C021]",
     "has 'revision' but no 'critique'"},
    {HEAD "  - id: a\n    title: t\n", "4:9: error[C025]", "no text for any stage"},
    {HEAD "  - id: a\n    choice: q\n    phases: [sft]\n", "6:13: error[C026]",
     "has no 'critique'"},
    {HEAD "  - id: a b\n    choice: q\n", "4:9: error[C013]", "'id' is not a key"},
    {HEAD "  - id: a\n    choice: ''\n", "5:13: error[C016]", "'choice' is empty"},
    {P "  - id: a\n    choice: z\n", "8:9: error[C020]",
     "duplicate principle id 'a', first at 4:9"},
    {HEAD "  - {id: a, choice: q, weight: 0}\n  - {id: b, choice: z, weight: 0.0}\n",
     "4:3: error[C023]", "all weights are 0"},
    {HEAD "  - {id: a, choice: q, enabled: off}\n", "4:3: error[C023]", "no principle is enabled"},
    {"constitution: 1\nname: x\nprinciples: []\n", "3:13: error[C012]", "'principles' is empty"},
    {"constitution: 1\nname: x\nprinciples: {a: b}\n", "3:13: error[C013]", "must be a list"},
    {HEAD "\t- id: a\n", "4:1: error[C003]", "indent with spaces"},
    {HEAD "  - id: a\n\t  choice: q\n", "5:1: error[C003]", "tab used for indentation"},
    {HEAD "  - id: a\n   choice: q\n", "5:4: error[C001]", NULL},
    {HEAD "  - id: \"a\n", "5:1: error[C001]", NULL},
    {HEAD "  - id: a: b\n", "4:10: error[C001]", "mapping values are not allowed"},
    {HEAD "  - [id, a\n", "5:1: error[C001]", NULL},
    {HEAD "  - id: a\xFF\n", "4:10: error[C002]", "invalid UTF-8 byte 0xFF at offset 45"},
    {HEAD "  - id: a\n    choice: \xC3\xA4\xC0\xAF\n", "5:14: error[C002]",
     "invalid UTF-8 byte 0xC0"},
    {"\xEF\xBB\xBF" P, "1:1: error[C002]", "byte order mark"},
    {HEAD "  - id: a\n    choice: a\x1b[31m\n", "5:14: error[C002]", "control character 0x1B"},
    {HEAD "  - id: a\n    choice: \"a\\x1b[31m\"\n", "5:13: error[C015]", "U+001B"},
    {HEAD "  - id: a\n    choice: \"a\\u2028b\"\n", "5:13: error[C015]", "U+2028"},
    {HEAD "  - id: a\n    choice: \"a\\u202Eb\"\n", "5:13: error[C015]", "U+202E"},
    {HEAD "  - &p\n    id: a\n    choice: q\n  - *p\n", "4:5: error[C030]",
     "anchors and aliases are not allowed"},
    {HEAD "  - id: a\n    choice: *q\n", "5:13: error[C030]", NULL},
    {"a: &a [*a]\n", "1:4: error[C030]", NULL},
    {HEAD "  - id: !!str a\n    choice: q\n", "4:9: error[C030]", "tags are not allowed"},
    {HEAD "  - <<: {id: a}\n    choice: q\n", "4:5: error[C030]", "merge keys"},
    {"%YAML 1.1\n---\n" P, "1:1: error[C030]", "directives"},
    {P "---\n" P, "8:1: error[C005]", "a second document begins here"},
    {HEAD "  - ? [a, b]\n    : c\n", "4:7: error[C030]", "a key must be text"},
    {P "frames: {critique: no place}\n", "8:20: error[C018]", "lacks '{principle}'"},
    {P "frames: {revision: '{principle} {prompt}'}\n", "8:20: error[C017]",
     "no place called '{prompt}'"},
    {P "frames: {option_a: x, option_b: x}\n", "8:9: error[C019]", "are equal"},
    {P "frames: {critque: x}\n", "8:10: error[C010]", "did you mean 'critique'?"},
    {P "sampling: {revisions: 0}\n", "8:23: error[C013]", "from 1 to 64"},
    {P "examples: ../outside.yaml\n", "8:11: error[C032]", "leaves the constitution's directory"},
    {P "examples: /etc/passwd\n", "8:11: error[C032]", NULL},
    {P "examples: [absent.yaml]\n", "8:12: error[C006]", "no such file"},
    {P
     "critique_examples: [{turns: [{user: a}], critique_request: b, critique: c, no_flaw: yes}]\n",
     "8:29: error[C027]", "must end with the assistant"},
    {P "critique_examples: [{turns: [{user: a}, {assistant: b}], critique_request: b, critique: "
       "c}]\n",
     "8:21: error[C028]", "needs 'revision_request'"},
    {P "choice_examples: [{turns: [{user: a}], choice: b, a: c, b: d, answer: C}]\n",
     "8:71: error[C013]", "one of A, B"},
    {P "choice_examples: [{turns: [{human: a}], choice: b, a: c, b: d, answer: A}]\n",
     "8:28: error[C013]", "a turn must be"},
};

static const char *const check_constitution[] = {"constitution", "check", "c.yaml", NULL};

static void bad_constitutions(void **state) {
    (void)state;
    put("c.yaml", P, strlen(P));
    CAI_AUTO(buf) struct cai_buf out = {0};
    assert_int_equal(run(check_constitution, &out), 0);
    each("c.yaml", check_constitution, constitutions, CAI_COUNT(constitutions));
}

static void huge_constitutions(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (int i = 0; i < 100000; i++)
        cai_buf_putc(&b, '[');
    put("c.yaml", b.data, b.len);
    expect("100,000 brackets", check_constitution, "c.yaml:1:17: error[C031]",
           "nesting deeper than 16");
    cai_buf_clear(&b);
    while (b.len < 10 << 20)
        cai_buf_puts(&b, "# ten megabytes of comments\n");
    put("c.yaml", b.data, b.len);
    expect("10 MB", check_constitution, "c.yaml: error[C004]", "larger than 1048576 bytes");
    cai_buf_clear(&b);
    cai_buf_puts(&b, HEAD "  - id: a\n    choice: ");
    for (int i = 0; i < 9412; i++)
        cai_buf_putc(&b, 'x');
    put("c.yaml", b.data, b.len);
    expect("long text", check_constitution, "c.yaml:5:13: error[C024]", "9412 bytes, limit 8192");
    cai_buf_clear(&b);
    cai_buf_puts(&b, HEAD);
    for (int i = 0; i < 1001; i++)
        cai_buf_printf(&b, "  - {id: p%d, choice: q%d}\n", i, i);
    put("c.yaml", b.data, b.len);
    expect("1,001 principles", check_constitution, "c.yaml:4:3: error[C024]", "limit 1000");
    cai_buf_clear(&b);
    for (int i = 0; i < 60000; i++)
        cai_buf_printf(&b, "key%d: \n", i);
    put("c.yaml", b.data, b.len);
    expect("60,000 keys", check_constitution, "c.yaml:1001:1: error[C031]", "more than 1000 keys");
    cai_buf_clear(&b);
    cai_buf_puts(&b, "a: [");
    for (int i = 0; i < 400000; i++)
        cai_buf_puts(&b, "1,");
    put("c.yaml", b.data, b.len);
    expect("400,000 items", check_constitution, "error[C031]", "more than 50000 values");
    cai_buf_clear(&b);
    cai_buf_puts(&b, HEAD);
    for (int i = 0; i < 30; i++)
        cai_buf_printf(&b, "  - {id: p%d, chioce: q}\n", i);
    put("c.yaml", b.data, b.len);
    expect("many findings", check_constitution, "60 errors", "the first 20 are shown");
    put("c.yaml", "a\0b: c\n", 7);
    expect("NUL", check_constitution, "c.yaml:1:2: error[C002]", "control character 0x00");
    static const char *const absent[] = {"constitution", "check", "absent.yaml", NULL};
    expect("absent", absent, "absent.yaml: error[C006]", "cannot be read");
    static const char *const directory[] = {"constitution", "check", "/tmp", NULL};
    expect("a folder", directory, "/tmp: error[C006]", NULL);
}

/* ---- jobs -------------------------------------------------------------------------------------
 */

#define JOB                                                                                        \
    "job: 1\nname: x\nmodels: {start: ./m}\nconstitution: good.yaml\ndata: {harmful: red.jsonl}\n"

static const struct bad jobs[] = {
    {"", " error[C005]", NULL},
    {"[]", "1:1: error[C013]", "a job must be a map, found a list"},
    {"job: 1\nname: x\n", "1:1: error[C012]", "missing required key 'models.start'"},
    {"job: 2\nname: x\nmodels: {start: ./m}\nconstitution: c\ndata: {harmful: red.jsonl}\n",
     "1:6: error[C014]", "newer"},
    {"job: 1\nname: x y\nmodels: {start: ./m}\nconstitution: c\ndata: {harmful: red.jsonl}\n",
     "2:7: error[C013]", "'name' is not a name"},
    {JOB "stages: {sfft: {lr: 1}}\n", "6:10: error[C010]", "did you mean 'sft'?"},
    {JOB "stages: {dance: {}}\n", "6:10: error[C010]", "'stages' has: red_team, revise, consist, sft"},
    {JOB "stages:\n  sft:\n    lrr: 1e-5\n", "8:5: error[C010]", "did you mean 'lr'?"},
    {JOB "stages:\n  sft: {lr: -1e-5}\n", "7:13: error[C013]", "from 0 to 1, found '-1e-5'"},
    {JOB "stages:\n  sft: {lr: 1e-5, epochs: 1.5}\n", "7:27: error[C013]", "a whole number"},
    {JOB "stages:\n  sft: fast\n", "7:8: error[C013]", "'stages.sft' must be true or false"},
    {JOB "stages:\n  sft: [1]\n", "7:8: error[C013]", "must be a map or false, found a list"},
    {JOB "stages:\n  sft: {take: some}\n", "7:15: error[C013]", "one of all, last, found 'some'"},
    {JOB "stages:\n  revise: {reply: {temperature: hot}}\n", "7:33: error[C013]",
     "'stages.revise.reply.temperature' must be a number"},
    {JOB "stages:\n  revise: {reply: 5}\n", "7:19: error[C013]", "must be a map, found '5'"},
    {JOB "stages: {ppo: {kl: {coeff: 0.1}}}\n", "6:21: error[C010]", "did you mean 'coef'?"},
    {JOB "rounds: -1\n", "6:9: error[C013]", NULL},
    {JOB "workers: 0\n", "6:10: error[C013]", "from 1 to 4096"},
    {JOB "seed: 1e5\n", "6:7: error[C013]", "a whole number"},
    {JOB "seed: 99999999999999999999999\n", "6:7: error[C013]", NULL},
    {JOB "rounds: 2\nrounds: 3\n", "7:1: error[C011]", "first at 6:1"},
    {JOB "\tx: 1\n", "6:1: error[C003]", NULL},
    {JOB "guards: &g {kl_budget: 1}\n", "6:9: error[C030]", NULL},
    {JOB "keep: {checkpoints: nine}\n", "6:21: error[C013]", NULL},
    {JOB "colour: red\n", "6:1: error[C010]", "unknown key 'colour' in a job"},
    {JOB "stages: {ppo: off, sft: off, revise: off, red_team: off, label: off, prefer: off, "
         "evaluate: off}\n",
     " error[C042]", "every stage is switched off"},
    {JOB "stages: {prefer: off}\n", " error[C042]", "ppo needs a preference model"},
    {JOB "stages: {revise: off}\n", " error[C042]", "revise does not run"},
    {JOB "stages:\n  consist: {enabled: true}\n", "7:22: error[C042]", "no data.questions"},
    {JOB "stages:\n  consist: {formats: dance}\n", "7:22: error[C042]", "no form of a row"},
    {JOB "stages: {label: off}\n", " error[C042]", "nothing to learn from"},
    {JOB "stages: {ppo: {rollouts: 2, minibatches: 4}}\n", " error[C042]",
     "less than stages.ppo.minibatches"},
    {JOB "stages: {label: {principles: 9}}\n", "6:30: error[C043]", "that can be asked about a choice"},
    {"job: 1\nname: x\nmodels: {start: ./nowhere}\nconstitution: c\ndata: {harmful: red.jsonl}\n",
     "3:17: error[C040]", "no such folder"},
    {"job: 1\nname: x\nmodels: {start: red.jsonl}\nconstitution: c\ndata: {harmful: red.jsonl}\n",
     "3:17: error[C040]", "must be a folder"},
    {"job: 1\nname: x\nmodels: {start: .}\nconstitution: c\ndata: {harmful: red.jsonl}\n",
     "3:17: error[C040]", "has no config.json"},
    {"job: 1\nname: x\nmodels: {start: ./m}\nconstitution: c\ndata: {harmful: blue.jsonl}\n",
     "5:17: error[C040]", "'data.harmful': no such file"},
    {"job: 1\nname: x\nmodels: {start: ./m}\nconstitution: ./absent.yaml\ndata: {harmful: "
     "red.jsonl}\n",
     "4:15: error[C040]", "'constitution': no such file"},
    {"job: 1\nname: x\nmodels: {start: ./m, overseer: ../gone}\nconstitution: c\ndata: {harmful: "
     "red.jsonl}\n",
     "3:32: error[C040]", "'models.overseer': no such folder"},
    {"job: 1\nname: x\nmodels: {start: \"\"}\nconstitution: c\n", "3:17: error[C013]",
     "one line of text"},
    {"job: 1\nname: x\nmodels:\nconstitution: c\n", "1:1: error[C012]", "'models.start'"},
    {"{\"job\": 1, \"name\": \"x\", \"models\": {\"start\": \"./m\"}, \"constitution\": 7, "
     "\"data\": 5}",
     "1:80: error[C013]", "'data' must be a map, found '5'"},
};

static const char *const check_job[] = {"job", "check", "j.yaml", NULL};
static const char one_prompt[] = "{\"prompt\": \"How?\"}\n";

/* A layerless model is no model, so it has one layer, of width 2. */
static void lay_out_model(void) {
    static const char config[] =
        "{\"model_type\":\"llama\",\"vocab_size\":1,\"hidden_size\":2,\"intermediate_size\":1,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"max_position_embeddings\":8,"
        "\"tie_word_embeddings\":true}";
    static const char tokenizer[] =
        "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    static const struct {
        const char *name, *shape;
        int n;
    } tensors[] = {{"model.embed_tokens", "1,2", 2},
                   {"model.norm", "2", 2},
                   {"model.layers.0.input_layernorm", "2", 2},
                   {"model.layers.0.post_attention_layernorm", "2", 2},
                   {"model.layers.0.self_attn.q_proj", "2,2", 4},
                   {"model.layers.0.self_attn.k_proj", "2,2", 4},
                   {"model.layers.0.self_attn.v_proj", "2,2", 4},
                   {"model.layers.0.self_attn.o_proj", "2,2", 4},
                   {"model.layers.0.mlp.gate_proj", "1,2", 2},
                   {"model.layers.0.mlp.up_proj", "1,2", 2},
                   {"model.layers.0.mlp.down_proj", "2,1", 2}};
    CAI_AUTO(buf) struct cai_buf header = {0}, file = {0};
    CAI_AUTO(mem) char *model = cai_path_join(folder, "m");
    int at = 0;
    for (size_t i = 0; i < CAI_COUNT(tensors); i++, at += 4 * tensors[i - 1].n)
        cai_buf_printf(&header,
                       "%s\"%s.weight\":{\"dtype\":\"F32\",\"shape\":[%s],"
                       "\"data_offsets\":[%d,%d]}",
                       i ? "," : "{", tensors[i].name, tensors[i].shape, at, at + 4 * tensors[i].n);
    cai_buf_putc(&header, '}');
    uint64_t len = header.len;
    cai_buf_append(&file, &len, sizeof len);
    cai_buf_append(&file, header.data, header.len);
    while (at-- > 0)
        cai_buf_putc(&file, 0);
    assert_int_equal(cai_dir_make(model), 0);
    put("m/config.json", config, sizeof config - 1);
    put("m/tokenizer.json", tokenizer, sizeof tokenizer - 1);
    put("m/model.safetensors", file.data, file.len);
}

static void lay_out_job(void) {
    lay_out_model();
    put("red.jsonl", one_prompt, strlen(one_prompt));
    put("good.yaml", P, strlen(P));
    put("j.yaml", JOB, strlen(JOB));
}

/* A tolerance that nothing can meet is said before the job runs, and is no error. */
static void tolerances(void **state) {
    (void)state;
    static const char verdicts[] =
        "{\"prompt\": \"p\", \"reply\": \"r\", \"of\": \"refusal\", \"label\": 1}\n"
        "{\"prompt\": \"p\", \"reply\": \"s\", \"of\": \"refusal\", \"label\": 0}\n"
        "{\"prompt\": \"p\", \"reply\": \"r\", \"of\": \"evasion\", \"label\": 1}\n";
    lay_out_job();
    put("graded.jsonl", verdicts, strlen(verdicts));
    CAI_AUTO(buf) struct cai_buf out = {0};
    static const char *const bare[] = {"job", "check", "j.yaml", "--set", "guards.tolerance=0.02", NULL};
    assert_int_equal(run(bare, &out), 0);
    assert_non_null(strstr(out.data, "warning[W206]: guards.tolerance will halt the job: nobody checks "
                                     "its graders of harm, refusal, evasion, unanswered"));
    out.len = 0;
    static const char *const some[] = {"job", "check", "j.yaml", "--set", "guards.tolerance=0.02", "--set",
                                       "data.graded=graded.jsonl", NULL};
    assert_int_equal(run(some, &out), 0);
    assert_non_null(strstr(out.data, "nobody checks its graders of harm, evasion, unanswered"));
    out.len = 0;
    static const char *const people[] = {"job", "check", "j.yaml", "--set", "guards.tolerance=0.02", "--set",
                                         "human.grades=60", NULL};
    assert_int_equal(run(people, &out), 0);
    assert_null(strstr(out.data, "W206"));
}

static void bad_jobs(void **state) {
    (void)state;
    lay_out_job();
    CAI_AUTO(buf) struct cai_buf out = {0};
    assert_int_equal(run(check_job, &out), 0);
    assert_non_null(strstr(out.data, "j.yaml: warning[W201]"));
    each("j.yaml", check_job, jobs, CAI_COUNT(jobs));
    const char reasons[] = JOB "stages: {label: {mode: cot}}\n";
    put("j.yaml", reasons, strlen(reasons));
    out.len = 0;
    assert_int_equal(run(check_job, &out), 0);
    assert_non_null(strstr(out.data, "6:24: warning[W205]"));
    put("j.yaml", JOB, strlen(JOB));
    put("good.yaml", HEAD "  - {id: a, choice: q}\n", strlen(HEAD "  - {id: a, choice: q}\n"));
    expect("constitution without critiques", check_job, "good.yaml: error[C022]",
           "stage revise cannot run");
    static const char *const set[] = {"job", "check", "j.yaml", "--set", "stages.sft.lr=fast",
                                      NULL};
    expect("--set", set, "j.yaml: error[C013]", "'stages.sft.lr' must be a number");
    static const char *const submit[] = {"submit", "j.yaml",   "--dry-run",
                                         "--set",  "rounds=x", NULL};
    expect("submit --dry-run", submit, "j.yaml: error[C013]", NULL);
}

static void sets_replace_what_is_wrong(void **state) {
    (void)state;
    static const char *const words[] = {
        "job",            "check",     "j.yaml", "--set", "models.start=m",
        "--constitution", "good.yaml", "--seed", "7",     NULL};
    static const char wrong[] =
        "job: 1\nname: x\nmodels: {start: ./nowhere}\nconstitution: ./gone.yaml\n"
        "data: {harmful: red.jsonl}\n";
    CAI_AUTO(buf) struct cai_buf out = {0};
    lay_out_job();
    put("j.yaml", wrong, strlen(wrong));
    assert_int_equal(run(words, &out), 0);
    assert_non_null(strstr(out.data, "seed 7"));
    assert_non_null(strstr(out.data, "data.harmful: 1 rows"));
}

/* ---- data
 * ------------------------------------------------------------------------------------------ */

struct bad_line {
    const char *member, *text, *finding, *also;
};
#define Q "{\"prompt\":\"p\","
static const struct bad_line lines[] = {
    {"harmful", "", " error[D008]", "no rows"},
    {"harmful", "\n\n", " error[D008]", "no rows"},
    {"harmful", "hello\n", "1:1: error[D001]", NULL},
    {"harmful", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"\n", "2:14: error[D001]", NULL},
    {"harmful", "{\"prompt\": \"a\",}\n", "1:16: error[D001]", NULL},
    {"harmful", "{'prompt': 'a'}\n", "1:2: error[D001]", NULL},
    {"harmful", "{\"prompt\": \"a\"} {\"prompt\": \"b\"}\n", "1:17: error[D001]",
     "end of file expected"},
    {"harmful", "{\"prompt\": \"a\nb\"}\n", "1:12: error[D001]", "/bad.jsonl:2:1: error[D001]"},
    {"harmful", "[1, 2]\n", "1:1: error[D004]", "not a JSON object"},
    {"harmful", "\"text\"\n", "1:1: error[D001]", NULL},
    {"harmful", "{\"prompt\": \"a\", \"prompt\": \"b\"}\n", "1:17: error[D007]", "duplicate"},
    {"harmful", "{\"prompt\": \"a\xFF\"}\n", "1:14: error[D002]", "invalid UTF-8 byte 0xFF"},
    {"harmful", "\xEF\xBB\xBF{\"prompt\": \"a\"}\n", "1:1: error[D002]", "byte order mark"},
    {"harmful", "{\"prompt\": \"a\\u0000b\"}\n", "1:12: error[D001]", NULL},
    {"harmful", "{\"prompt\": \"\\ud800\"}\n", "1:12: error[D001]", NULL},
    {"harmful", "{}\n", "1:1: error[D005]", "missing member \"prompt\" or \"messages\""},
    {"harmful", "{\"promt\": \"a\"}\n", "1:1: error[D005]", NULL},
    {"harmful", "{\"prompt\": \"a\", \"messages\": []}\n", "1:1: error[D005]", "both"},
    {"harmful", "{\"prompt\": 5}\n", "1:12: error[D006]", "\"prompt\" must be text"},
    {"harmful", "{\"prompt\": \"  \"}\n", "1:12: error[D006]", "non-empty"},
    {"harmful", "{\"prompt\": \"a\", \"id\": [1]}\n", "1:23: error[D006]", "\"id\""},
    {"harmful", "{\"messages\": []}\n", "1:14: error[D006]", "1 to 10,000 messages"},
    {"harmful", "{\"messages\": \"a\"}\n", "1:14: error[D006]", NULL},
    {"harmful", "{\"messages\": [{\"role\": \"bot\", \"content\": \"a\"}]}\n", "1:24: error[D006]",
     "role bot"},
    {"harmful", "{\"messages\": [{\"content\": \"a\"}]}\n", "1:15: error[D006]", "no role"},
    {"harmful", "{\"messages\": [{\"role\": \"user\"}]}\n", "1:15: error[D005]", "no \"content\""},
    {"harmful", "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}\n",
     "1:15: error[D006]", "out of turn"},
    {"harmful",
     "{\"messages\": "
     "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}\n",
     "1:45: error[D006]", "message 2 is out of turn"},
    {"harmful", "{\"prompt\": \"a\"}\n\n{\"prompt\": null}\n", "3:1: error[D005]", "\"prompt\""},
    {"helpful", Q "\"reply\":3}\n", "1:23: error[D006]", "\"reply\" must be text"},
    {"human", Q "\"chosen\":\"a\"}\n", "1:1: error[D005]", "\"rejected\""},
    {"human", Q "\"a\":\"x\",\"b\":\"y\",\"p\":1.5}\n", "1:35: error[D006]", "from 0 to 1"},
    {"classifier", Q "\"reply\":\"a\",\"label\":\"bad\"}\n", "1:35: error[D006]",
     "true, false or a number"},
    {"classifier", Q "\"label\":1}\n", "1:1: error[D005]", "missing member \"reply\""},
    {"evaluate", Q "\"kind\":\"odd\"}\n", "1:22: error[D006]", "harmful, helpful or lookalike"},
};

static void check_lines(const char *member, const void *text, size_t len, const char *finding,
                        const char *also) {
    CAI_AUTO(buf) struct cai_buf job = {0};
    char expected[128];
    bool red = strcmp(member, "harmful") == 0;
    cai_buf_printf(&job,
                   "job: 1\nname: x\nmodels: {start: ./m}\nconstitution: good.yaml\n"
                   "data: {harmful: %s%s%s%s}\n",
                   red ? "bad.jsonl" : "red.jsonl", red ? "" : ", ", red ? "" : member,
                   red ? "" : ": bad.jsonl");
    put("j.yaml", job.data, job.len);
    put("bad.jsonl", text, len);
    snprintf(expected, sizeof expected, "/bad.jsonl:%s", finding);
    expect(len < 200 ? text : "a long line", check_job, expected, also);
}

static void bad_data(void **state) {
    (void)state;
    lay_out_job();
    for (size_t i = 0; i < CAI_COUNT(lines); i++)
        check_lines(lines[i].member, lines[i].text, strlen(lines[i].text), lines[i].finding,
                    lines[i].also);
    static const char nul[] = "{\"prompt\": \"a\0b\"}\n";
    check_lines("harmful", nul, sizeof nul - 1, "1:14: error[D002]", "NUL character");
}

static void long_lines_and_gzip(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_AUTO(mem) char *path = cai_path_join(folder, "good.gz");
    lay_out_job();
    cai_buf_puts(&b, one_prompt);
    cai_buf_puts(&b, "{\"prompt\": \"");
    while (b.len < 2 << 20)
        cai_buf_puts(&b, "two mebibytes ");
    cai_buf_puts(&b, "\"}\nnot json\n");
    check_lines("harmful", b.data, b.len, "2:1: error[D003]", "/bad.jsonl:3:");
    gzFile gz = gzopen(path, "wb");
    for (int i = 0; i < 500; i++)
        assert_true(
            gzputs(gz, "{\"prompt\": \"How does one open a door without a key, and why?\"}\n") > 0);
    gzclose(gz);
    CAI_AUTO(buf) struct cai_buf packed = {0}, out = {0};
    assert_int_equal(cai_file_read(path, 1 << 20, &packed), 0);
    check_lines("harmful", packed.data, packed.len - 12, "", "error[D009]: the file is damaged");
    put("bad.jsonl", packed.data, packed.len);
    assert_int_equal(run(check_job, &out), 0); /* whole again */
    assert_non_null(strstr(out.data, "data.harmful: 500 rows"));
}

/* What `init` writes is right by our own check, once there are a model and prompts. */
static void init_is_valid(void **state) {
    (void)state;
    static const char *const job[] = {"init", "new.yaml", NULL},
                             *const again[] = {"init", "new.yaml", NULL},
                             *const principles[] = {"init", "--principles", "constitution.yaml",
                                                    NULL},
                             *const check[] = {"constitution", "check", "constitution.yaml", NULL},
                             *const whole[] = {"job",
                                               "check",
                                               "new.yaml",
                                               "--set",
                                               "models.start=m",
                                               "--set",
                                               "data.harmful=red.jsonl",
                                               NULL};
    CAI_AUTO(buf) struct cai_buf out = {0};
    lay_out_job();
    assert_int_equal(run(job, &out), 0);
    assert_int_equal(run(again, &out), 7); /* never overwrites without being told to */
    assert_int_equal(run(principles, &out), 0);
    assert_int_equal(run(check, &out), 0);
    assert_int_equal(run(whole, &out), 0);
}

static void usage(void **state) {
    (void)state;
    static const char *const bad[][4] = {{"constitution", "chek", "c.yaml"},
                                         {"jobs", "--colour"},
                                         {"show"},
                                         {"show", "one"},
                                         {"-o", "xml", "jobs"},
                                         {"--timeout", "x", "jobs"},
                                         {"export", "1", "reples"}};
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        CAI_AUTO(buf) struct cai_buf out = {0};
        const char *words[5] = {bad[i][0], bad[i][1], bad[i][2], bad[i][3], NULL};
        assert_int_equal(run(words, &out), 2);
        assert_memory_equal(out.data, "caictl: ", 8);
    }
    static const char *const nobody[] = {"-s", "ipc:///tmp/cai-nobody-listens", "jobs", NULL};
    CAI_AUTO(buf) struct cai_buf out = {0};
    assert_int_equal(run(nobody, &out), 4);
    assert_non_null(strstr(out.data, "no daemon answers"));
}

static int enter(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}
static int leave(void **state) {
    (void)state;
    return cai_dir_remove(folder);
}

int main(int argc, char **argv) {
    program = argc > 1 ? argv[1] : "build/tools/caictl";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_constitutions), cmocka_unit_test(huge_constitutions),
        cmocka_unit_test(tolerances),
        cmocka_unit_test(bad_jobs),          cmocka_unit_test(sets_replace_what_is_wrong),
        cmocka_unit_test(bad_data),          cmocka_unit_test(long_lines_and_gzip),
        cmocka_unit_test(init_is_valid),     cmocka_unit_test(usage)};
    return cmocka_run_group_tests(tests, enter, leave);
}
