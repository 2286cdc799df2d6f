/* caiprobe.c: one model, no daemon: JSON Lines in on stdin, JSON Lines out on stdout, one
 * for one and in order. Errors go to stderr: exit code 2 for wrong usage, 3 for a wrong
 * folder or line, 1 for anything else. Not for: jobs, training. */
#include "base/check.h"
#include "base/error.h"
#include "hf/hf.h"
#include "learn/engine.h"
#include "model/model.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "caiprobe: look at one model; JSON Lines in, JSON Lines out.\n"
    "\n"
    "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}' |\n"
    "      caiprobe generate --model DIR --temperature 0.7 --max-new-tokens 64\n"
    "\n"
    "  tokenize   --model DIR [--no-special]           {\"text\"} -> {\"ids\"}\n"
    "  detokenize --model DIR [--skip-special]         {\"ids\"} -> {\"text\"}\n"
    "  chat       --model DIR [--add-generation-prompt]\n"
    "                          {\"messages\":[{\"role\",\"content\"}]} -> {\"text\",\"ids\"}\n"
    "  logits     --model DIR [--dtype float32] [--top K]\n"
    "                          {\"ids\"} -> {\"logprobs\": of ids[1…],\n"
    "                                    \"top\": [[id, logprob]] at the last}\n"
    "  generate   --model DIR --temperature T --max-new-tokens N [--seed S] [--top-k K]\n"
    "             [--top-p P] [--min-p P] [--stop TEXT]… [--slots N]\n"
    "                          {\"ids\"} or {\"messages\"} -> {\"ids\", \"text\", \"stop\"}\n"
    "  options    --model DIR  {\"ids\" or \"messages\", \"options\": [text or ids]}\n"
    "                          -> {\"logprobs\"}\n"
    "  score      --model DIR  {\"ids\"} or {\"messages\"} -> {\"score\"} of a scalar-head model\n"
    "  resave     --model DIR --to DIR                 loads a folder and writes it again\n"
    "\n"
    "  --threads N    CPU threads (default: all)\n"
    "\n"
    "Exit codes: 0 done, 2 wrong usage, 3 a folder or line is wrong, 1 anything else.\n";

enum { LINE_MAX_BYTES = 16 << 20, STOPS_MAX = 16 };

struct arguments {
    const char *model, *to, *dtype;
    bool no_special, skip_special, generation_prompt;
    int64_t top, threads, seed, slots;
    struct sampling sampling;
    const char *stop[STOPS_MAX];
    size_t n_stop;
};

struct probe {
    const struct arguments *a;
    struct hf_tokenizer *t;
    struct hf_chat *chat;
    struct model *m;
};

static int bad_usage(const char *text)
{
    fprintf(stderr, "caiprobe: %s\nTry 'caiprobe --help'.\n", text);
    return 2;
}

/* ---- reading lines -------------------------------------------------------------------- */
static int get_ids(const json_t *array, struct hf_ids *ret)
{
    if (!json_is_array(array))
        return cai_fail(CAI_EINPUT, "\"ids\" must be a list of whole numbers");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
            return cai_fail(CAI_EINPUT, "\"ids\"[%zu] is not a token id", i);
        hf_ids_push(ret, (int32_t)id);
    }
    return 0;
}

/* Texts are borrowed from the line; *ret is the caller's. */
static int get_messages(const json_t *line, struct hf_message **ret, size_t *ret_n)
{
    const json_t *list = json_object_get(line, "messages");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return cai_fail(CAI_EINPUT, "\"messages\" must be a list of {\"role\", \"content\"}");
    size_t n = json_array_size(list);
    struct hf_message *out = cai_alloc(n * sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(list, i);
        out[i].role = json_string_value(json_object_get(m, "role"));
        out[i].text = json_string_value(json_object_get(m, "content"));
        if (!out[i].role || !out[i].text) {
            free(out);
            return cai_fail(CAI_EINPUT, "\"messages\"[%zu] needs texts \"role\" and \"content\"",
                            i);
        }
    }
    *ret = out;
    *ret_n = n;
    return 0;
}

/* {"ids"}, or {"messages"} followed by the opening of a reply. */
static int get_prompt(const struct probe *p, const json_t *line, struct hf_ids *ret)
{
    if (json_object_get(line, "ids"))
        return get_ids(json_object_get(line, "ids"), ret);
    CAI_AUTO(mem) struct hf_message *messages = NULL;
    size_t n;
    CAI_TRY(get_messages(line, &messages, &n));
    return hf_chat_encode(p->chat, messages, n, true, NULL, ret, NULL, NULL);
}

static json_t *ids_json(const int32_t *ids, size_t n)
{
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_integer(ids[i]));
    return out;
}

static void print_json(json_t *out)
{
    char *text = json_dumps(out, JSON_COMPACT | JSON_REAL_PRECISION(17));
    CAI_CHECK(text);
    puts(text);
    free(text);
    json_decref(out);
}

typedef int (*line_function)(struct probe *p, const json_t *line);

/* Calls f for every line of stdin; the error names the line. */
static int each_line(struct probe *p, line_function f)
{
    CAI_AUTO(mem) char *text = NULL;
    size_t cap = 0;
    ssize_t len;
    for (size_t number = 1; (len = getline(&text, &cap, stdin)) >= 0; number++) {
        json_error_t error;
        if (len > LINE_MAX_BYTES) {
            cai_fail(CAI_ELIMIT, "longer than %d bytes", LINE_MAX_BYTES);
            return cai_fail_in("line %zu", number);
        }
        json_t *line = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                                  &error);
        int rc = line && json_is_object(line)
                     ? f(p, line)
                     : cai_fail(CAI_EINPUT, "not a JSON object: %s",
                                line ? "another kind of value" : error.text);
        json_decref(line);
        fflush(stdout);
        if (rc < 0)
            return cai_fail_in("line %zu", number);
    }
    return 0;
}

/* ---- text ------------------------------------------------------------------------------- */
static int tokenize(struct probe *p, const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    CAI_AUTO(mem) int32_t *owned = NULL;
    struct hf_ids ids = {0};
    if (!json_is_string(text))
        return cai_fail(CAI_EINPUT, "\"text\" is missing");
    int rc = hf_tokenizer_encode(p->t, json_string_value(text), json_string_length(text),
                                 !p->a->no_special, &ids);
    owned = ids.data;
    if (rc == 0)
        print_json(json_pack("{s:o}", "ids", ids_json(ids.data, ids.n)));
    return rc;
}

static int detokenize(struct probe *p, const json_t *line)
{
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct hf_ids ids = {0};
    int rc = get_ids(json_object_get(line, "ids"), &ids);
    if (rc == 0)
        rc = hf_tokenizer_decode(p->t, ids.data, ids.n, p->a->skip_special, &text);
    hf_ids_free(&ids);
    CAI_TRY(rc);
    CAI_TRY(cai_buf_status(&text));
    print_json(json_pack("{s:o}", "text", json_stringn(text.data ? text.data : "", text.len)));
    return 0;
}

static int chat(struct probe *p, const json_t *line)
{
    CAI_AUTO(mem) struct hf_message *messages = NULL;
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct hf_ids ids = {0};
    size_t n;
    CAI_TRY(get_messages(line, &messages, &n));
    CAI_TRY(hf_chat_render(p->chat, messages, n, p->a->generation_prompt, NULL, &text));
    CAI_TRY(cai_buf_status(&text));
    int rc = hf_chat_encode(p->chat, messages, n, p->a->generation_prompt, NULL, &ids, NULL, NULL);
    if (rc == 0)
        print_json(json_pack("{s:o, s:o}", "text",
                             json_stringn(text.data ? text.data : "", text.len), "ids",
                             ids_json(ids.data, ids.n)));
    hf_ids_free(&ids);
    return rc;
}

/* ---- numbers ------------------------------------------------------------------------------ */
/* The K most probable ids of a row, ties by id. */
static json_t *top_of(const float *row, int64_t vocab, int64_t k)
{
    json_t *out = json_array();
    CAI_AUTO(mem) bool *taken = cai_alloc((size_t)vocab);
    for (int64_t i = 0; i < k && i < vocab; i++) {
        int64_t best = -1;
        for (int64_t j = 0; j < vocab; j++)
            if (!taken[j] && (best < 0 || row[j] > row[best]))
                best = j;
        taken[best] = true;
        json_array_append_new(out, json_pack("[I, f]", (json_int_t)best, (double)row[best]));
    }
    return out;
}

/* Log-softmax over all rows of one sequence: [n, V] on the host, the caller's. */
static int log_probabilities(const struct model *m, const struct hf_ids *ids, float **ret)
{
    const int32_t *list[1] = {ids->data};
    int64_t n = (int64_t)ids->n;
    struct pack *pack;
    CAI_TRY(pack_new(m, list, &n, 1, &pack));
    ct_scope *s = ct_scope_open();
    ct_tensor *hidden = transformer_hidden(s, m, pack);                    /* [n, D] */
    ct_tensor *logprobs = ct_log_softmax(s, head_logits(s, m, hidden));    /* [n, V] */
    int rc = ct_scope_status(s);
    if (rc == 0) {
        *ret = cai_realloc(NULL, (size_t)(n * m->config.vocab_size), sizeof(float));
        rc = ct_read_f32(logprobs, *ret, n * m->config.vocab_size);
    }
    ct_scope_close(s);
    pack_free(pack);
    return rc;
}

static int logits(struct probe *p, const json_t *line)
{
    struct hf_ids ids = {0};
    CAI_AUTO(mem) float *rows = NULL;
    int64_t vocab = p->m->config.vocab_size;
    int rc = get_ids(json_object_get(line, "ids"), &ids);
    if (rc == 0)
        rc = log_probabilities(p->m, &ids, &rows);
    if (rc == 0) {
        json_t *out = json_object(), *list = json_array();
        for (size_t i = 0; i + 1 < ids.n; i++)
            json_array_append_new(
                list, json_real((double)rows[(int64_t)i * vocab + ids.data[i + 1]]));
        json_object_set_new(out, "logprobs", list);
        if (p->a->top > 0)
            json_object_set_new(out, "top",
                                top_of(rows + ((int64_t)ids.n - 1) * vocab, vocab, p->a->top));
        print_json(out);
    }
    hf_ids_free(&ids);
    return rc;
}

static int score(struct probe *p, const json_t *line)
{
    struct hf_ids ids = {0};
    float value = 0;
    int rc;
    if (json_object_get(line, "ids")) {
        rc = get_ids(json_object_get(line, "ids"), &ids);
    } else { /* up to the end-of-turn marker of the last message */
        CAI_AUTO(mem) struct hf_message *messages = NULL;
        size_t n;
        CAI_TRY(get_messages(line, &messages, &n));
        CAI_AUTO(mem) size_t *starts = cai_alloc(n * sizeof(*starts));
        CAI_AUTO(mem) size_t *ends = cai_alloc(n * sizeof(*ends));
        rc = hf_chat_encode(p->chat, messages, n, false, NULL, &ids, starts, ends);
        if (rc == 0)
            ids.n = ends[n - 1];
    }
    const int32_t *list[1] = {ids.data};
    int64_t n = (int64_t)ids.n, last = n - 1;
    struct pack *pack = NULL;
    if (rc == 0)
        rc = pack_new(p->m, list, &n, 1, &pack);
    if (rc == 0) {
        ct_scope *s = ct_scope_open();
        ct_tensor *hidden = transformer_hidden(s, p->m, pack); /* [n, D] */
        ct_tensor *out = head_scalar(s, p->m, ct_narrow(s, hidden, 0, last, 1));
        rc = ct_scope_status(s);
        if (rc == 0)
            rc = ct_read_f32(out, &value, 1);
        ct_scope_close(s);
    }
    pack_free(pack);
    hf_ids_free(&ids);
    CAI_TRY(rc);
    print_json(json_pack("{s:f}", "score", (double)value));
    return 0;
}

/* ---- the engine ---------------------------------------------------------------------------- */
static int options_of(const struct probe *p, const json_t *line, struct hf_ids **ret, size_t *ret_n)
{
    const json_t *list = json_object_get(line, "options");
    size_t n = json_array_size(list);
    struct hf_ids *out = cai_alloc((n + 1) * sizeof(*out));
    *ret = out;
    *ret_n = n;
    if (n == 0)
        return cai_fail(CAI_EINPUT, "\"options\" must be a list of texts or lists of ids");
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        if (json_is_string(o))
            CAI_TRY(hf_tokenizer_encode(p->t, json_string_value(o), json_string_length(o), false,
                                        &out[i]));
        else
            CAI_TRY(get_ids(o, &out[i]));
    }
    return 0;
}

static int options(struct probe *p, const json_t *line)
{
    struct hf_ids prompt = {0}, *list = NULL;
    size_t n = 0, longest = 0;
    struct engine *e = NULL;
    int rc = get_prompt(p, line, &prompt);
    if (rc == 0)
        rc = options_of(p, line, &list, &n);
    for (size_t i = 0; i < n; i++)
        longest = list[i].n > longest ? list[i].n : longest;
    CAI_AUTO(mem) double *logprobs = cai_alloc((n + 1) * sizeof(*logprobs));
    struct engine_options o = {.slots = 4, .capacity = (int64_t)(prompt.n + longest + 1),
                               .end_id = -1};
    struct score_request request = {prompt.data, prompt.n, list, n};
    if (rc == 0)
        rc = engine_new(p->m, p->t, &o, &e);
    if (rc == 0)
        rc = engine_score(e, &request, 1, &logprobs);
    engine_free(e);
    for (size_t i = 0; i < n; i++)
        hf_ids_free(&list[i]);
    free(list);
    hf_ids_free(&prompt);
    CAI_TRY(rc);
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_real(logprobs[i]));
    print_json(json_pack("{s:o}", "logprobs", out));
    return 0;
}

/* Lines of `generate` are read to the end and run together; results keep their order. */
struct batch {
    struct hf_ids *prompts;
    size_t n, cap, longest;
};
static struct batch waiting;

static int collect(struct probe *p, const json_t *line)
{
    struct batch *b = &waiting;
    if (b->n == b->cap) {
        b->cap = b->cap ? 2 * b->cap : 64;
        b->prompts = cai_realloc(b->prompts, b->cap, sizeof(*b->prompts));
    }
    struct hf_ids *ids = &b->prompts[b->n++];
    *ids = (struct hf_ids){0};
    CAI_TRY(get_prompt(p, line, ids));
    if (ids->n == 0)
        return cai_fail(CAI_EINPUT, "the prompt is empty");
    if ((int64_t)ids->n + p->a->sampling.max_tokens > p->m->config.max_positions)
        return cai_fail(CAI_ELIMIT, "%zu tokens and %d new ones; the model takes %lld", ids->n,
                        p->a->sampling.max_tokens, (long long)p->m->config.max_positions);
    for (size_t i = 0; i < ids->n; i++)
        if (ids->data[i] >= p->m->config.vocab_size)
            return cai_fail(CAI_EINPUT, "token id %ld is outside the vocabulary of %lld",
                            (long)ids->data[i], (long long)p->m->config.vocab_size);
    if (ids->n > b->longest)
        b->longest = ids->n;
    return 0;
}

static const char *stop_name(enum finish f)
{
    static const char *const names[] = {"end", "stop", "length", "too_long"};
    return names[f];
}

static int generate_waiting(struct probe *p)
{
    struct batch *b = &waiting;
    CAI_AUTO(mem) struct gen_request *requests = cai_alloc((b->n + 1) * sizeof(*requests));
    CAI_AUTO(mem) struct gen_result *results = cai_alloc((b->n + 1) * sizeof(*results));
    for (size_t i = 0; i < b->n; i++)
        requests[i] = (struct gen_request){
            .ids = b->prompts[i].data, .n_ids = b->prompts[i].n,
            .key = cai_key_make((uint64_t)p->a->seed, 0, "caiprobe/generate", i, 0),
            .stop = p->a->stop, .n_stop = p->a->n_stop};
    struct engine_options o = {
        .slots = (int)((int64_t)b->n < p->a->slots ? (int64_t)b->n : p->a->slots),
        .capacity = (int64_t)b->longest + p->a->sampling.max_tokens,
        .end_id = hf_chat_end_id(p->chat)};
    struct engine *e;
    if (b->n == 0)
        return 0;
    CAI_TRY(engine_new(p->m, p->t, &o, &e));
    int rc = engine_generate(e, requests, b->n, &p->a->sampling, NULL, NULL, results);
    engine_free(e);
    for (size_t i = 0; rc == 0 && i < b->n; i++) {
        print_json(json_pack("{s:o, s:s, s:s}", "ids", ids_json(results[i].ids, results[i].n),
                             "text", results[i].text, "stop", stop_name(results[i].finish)));
        gen_result_free(&results[i]);
    }
    return rc;
}

static int generate(struct probe *p)
{
    int rc = each_line(p, collect);
    if (rc == 0)
        rc = generate_waiting(p);
    for (size_t i = 0; i < waiting.n; i++)
        hf_ids_free(&waiting.prompts[i]);
    free(waiting.prompts);
    return rc;
}

static int resave(struct probe *p)
{
    return p->a->to ? model_save(p->m, p->a->to)
                    : cai_fail(CAI_EINPUT, "resave needs --to DIR");
}

/* ---- command line ----------------------------------------------------------------------------- */
enum needs { TEXT = 1, CHAT = 2, LM = 4, SCALAR = 8, ANY = 16 };

static const struct verb {
    const char *name;
    unsigned needs;
    line_function line;
    int (*whole)(struct probe *p);
} verbs[] = {
    {"tokenize", TEXT, tokenize, NULL},
    {"detokenize", TEXT, detokenize, NULL},
    {"chat", TEXT | CHAT, chat, NULL},
    {"logits", LM, logits, NULL},
    {"generate", TEXT | CHAT | LM, NULL, generate},
    {"options", TEXT | CHAT | LM, options, NULL},
    {"score", TEXT | CHAT | SCALAR, score, NULL},
    {"resave", ANY, NULL, resave},
};

static int whole(const char *name, const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max)
        return cai_fail(CAI_EINPUT, "--%s needs a whole number from %lld to %lld, not '%s'", name,
                        (long long)min, (long long)max, text);
    *ret = v;
    return 0;
}

static int real(const char *name, const char *text, double max, double *ret)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= 0 && v <= max))
        return cai_fail(CAI_EINPUT, "--%s needs a number from 0 to %g, not '%s'", name, max, text);
    *ret = v;
    return 0;
}

static int take_option(struct arguments *a, int c, const char *name, const char *text)
{
    int64_t v = 0;
    switch (c) {
    case 'm': a->model = text; return 0;
    case 'o': a->to = text; return 0;
    case 'd': a->dtype = text; return 0;
    case 'n': a->no_special = true; return 0;
    case 'k': a->skip_special = true; return 0;
    case 'g': a->generation_prompt = true; return 0;
    case 't': return whole(name, text, 0, 1 << 20, &a->top);
    case 'h': return whole(name, text, 1, 1024, &a->threads);
    case 'e': return whole(name, text, 0, INT64_MAX, &a->seed);
    case 'l': return whole(name, text, 1, 4096, &a->slots);
    case 'T': return real(name, text, 1000, &a->sampling.temperature);
    case 'P': return real(name, text, 1, &a->sampling.top_p);
    case 'M': return real(name, text, 1, &a->sampling.min_p);
    case 'K':
        CAI_TRY(whole(name, text, 0, 1 << 24, &v));
        a->sampling.top_k = (int)v;
        return 0;
    case 'N':
        CAI_TRY(whole(name, text, 1, 1 << 24, &v));
        a->sampling.max_tokens = (int)v;
        return 0;
    case 'S':
        if (a->n_stop == STOPS_MAX)
            return cai_fail(CAI_EINPUT, "at most %d --stop", STOPS_MAX);
        a->stop[a->n_stop++] = text;
        return 0;
    default: return cai_fail(CAI_EINPUT, "unknown option");
    }
}

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option known[] = {
        {"model", 1, NULL, 'm'},        {"to", 1, NULL, 'o'},
        {"dtype", 1, NULL, 'd'},        {"no-special", 0, NULL, 'n'},
        {"skip-special", 0, NULL, 'k'}, {"add-generation-prompt", 0, NULL, 'g'},
        {"top", 1, NULL, 't'},          {"threads", 1, NULL, 'h'},
        {"seed", 1, NULL, 'e'},         {"slots", 1, NULL, 'l'},
        {"temperature", 1, NULL, 'T'},  {"top-p", 1, NULL, 'P'},
        {"min-p", 1, NULL, 'M'},        {"top-k", 1, NULL, 'K'},
        {"max-new-tokens", 1, NULL, 'N'}, {"stop", 1, NULL, 'S'}, {0}};
    int index = 0;
    for (int c; (c = getopt_long(argc, argv, "", known, &index)) != -1;) {
        if (c == '?')
            return cai_fail(CAI_EINPUT, "see above");
        CAI_TRY(take_option(a, c, known[index].name, optarg));
    }
    if (optind < argc)
        return cai_fail(CAI_EINPUT, "unexpected argument '%s'", argv[optind]);
    if (!a->model)
        return cai_fail(CAI_EINPUT, "--model DIR is needed");
    return 0;
}

static int open_probe(const struct verb *v, struct probe *p)
{
    const char *dtype = p->a->dtype;
    if (dtype && strcmp(dtype, "float32"))
        return cai_fail(CAI_EINPUT, "--dtype %s is not in this version; use float32", dtype);
    if (v->needs & TEXT)
        CAI_TRY(hf_tokenizer_load(p->a->model, &p->t));
    if (v->needs & CHAT)
        CAI_TRY(hf_chat_load(p->a->model, p->t, &p->chat));
    if (!(v->needs & (LM | SCALAR | ANY)))
        return 0;
    CAI_TRY(ct_init((int)p->a->threads));
    CAI_TRY(model_load(p->a->model, &p->m));
    if ((v->needs & LM) && !p->m->lm_head)
        return cai_fail(CAI_EINPUT, "%s is a scalar-head model: use 'caiprobe score'", p->a->model);
    if ((v->needs & SCALAR) && !p->m->score)
        return cai_fail(CAI_EINPUT, "%s has no scalar head: 'caiprobe score' needs a model saved "
                        "as LlamaForSequenceClassification", p->a->model);
    return 0;
}

static int run(const struct verb *v, const struct arguments *a)
{
    struct probe p = {.a = a};
    int rc = open_probe(v, &p);
    if (rc == 0)
        rc = v->whole ? v->whole(&p) : each_line(&p, v->line);
    model_free(p.m);
    hf_chat_free(p.chat);
    hf_tokenizer_free(p.t);
    if (rc == 0)
        return 0;
    fprintf(stderr, "caiprobe: %s\n", cai_error_text());
    return rc == CAI_EINTERNAL || rc == CAI_ENOMEM || rc == CAI_ENOSPC ? 1 : 3;
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct arguments a = {.threads = cpus > 0 ? cpus : 1, .slots = 64,
                          .sampling = {.temperature = 1, .top_p = 1, .max_tokens = 64}};
    if (argc > 1 && !strcmp(argv[1], "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    const struct verb *v = NULL;
    for (size_t i = 0; argc > 1 && i < CAI_COUNT(verbs); i++)
        if (!strcmp(argv[1], verbs[i].name))
            v = &verbs[i];
    if (!v)
        return bad_usage(argc > 1 ? "no such command" : "a command is needed");
    if (parse(argc - 1, argv + 1, &a) < 0)
        return bad_usage(cai_error_text());
    return run(v, &a);
}
