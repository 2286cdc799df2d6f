/* main.c: caiprobe, one model, no daemon: JSON Lines in on stdin, JSON Lines out on stdout,
 * one for one and in order. Errors go to stderr with exit code 3. Not for: jobs, training. */
#include "base/check.h"
#include "base/file.h"
#include "probe.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "caiprobe: look at one model; JSON Lines in, JSON Lines out.\n"
    "\n"
    "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}' |\n"
    "      caiprobe generate --model DIR --temperature 0.7 --max-new-tokens 64\n"
    "\n"
    "  tokenize   --model DIR [--no-special | --text-only]\n"
    "                          {\"text\"} -> {\"ids\"}; without BOS and the like, or also without\n"
    "                          taking special tokens written in the text for such\n"
    "  detokenize --model DIR [--skip-special]         {\"ids\"} -> {\"text\"}\n"
    "  chat       --model DIR [--add-generation-prompt]\n"
    "                          {\"messages\":[{\"role\",\"content\"}]} -> {\"text\",\"ids\"}\n"
    "  logits     --model DIR [--dtype float32|bfloat16] [--top K]\n"
    "                          {\"ids\"} -> {\"logprobs\": of ids[1…],\n"
    "                                    \"top\": [[id, logprob]] at the last}\n"
    "  generate   --model DIR --temperature T --max-new-tokens N [--seed S] [--top-k K]\n"
    "             [--top-p P] [--min-p P] [--stop TEXT]… [--slots N] [--dtype D]\n"
    "                          {\"ids\"} or {\"messages\"} -> {\"ids\", \"text\", \"stop\"}\n"
    "  options    --model DIR [--dtype D]\n"
    "                          {\"ids\", \"text\" or \"messages\", \"options\": [text or ids]}\n"
    "                          -> {\"logprobs\", \"tokens\"}: of each, [] where the model has no\n"
    "                          room; \"prefix\": how the reply to the messages begins. With\n"
    "                          \"replies\": [text] instead, each is a whole turn, its end included\n"
    "  text       --model DIR [--dtype D]\n"
    "                          {\"text\"} -> {\"logprob\", \"tokens\", \"bytes\"} but for the first\n"
    "                          token, unless that is a special one\n"
    "  talk       --model DIR --temperature T --max-new-tokens N [--seed S]\n"
    "                          {\"messages\"} -> {\"piece\"} as it is written, then {\"text\", \"stop\",\n"
    "                          \"tokens\"}; an interrupt ends the reply (\"stop\": \"cut\")\n"
    "  score      --model DIR [--dtype D]\n"
    "                          {\"ids\"} or {\"messages\"} -> {\"score\"} of a scalar-head model\n"
    "  resave     --model DIR --to DIR [--shard-bytes N]  loads a folder and writes it again\n"
    "\n"
    "  --threads N        CPU threads (default: all)\n"
    "  --device D         cpu (default), cuda:0, cuda:1 …, or auto\n"
    "  --date YYYY-MM-DD  what a chat template takes for today (default: today)\n"
    "\n"
    "\"stop\" is \"end\" (an end token, the last of ids), \"stop\" (a --stop text) or \"length\".\n"
    "bfloat16: products of matrices are computed in it; sums, norms and softmax in float32.\n"
    "Exit codes: 0 done, 3 anything else, with the reason on stderr.\n";

static int bad_usage(const char *text)
{
    fprintf(stderr, "caiprobe: %s\nTry 'caiprobe --help'.\n", text);
    return 3;
}

int probe_resave(struct probe *p)
{
    return p->a->to ? model_save_sharded(p->m, p->a->to, (size_t)p->a->shard_bytes)
                    : cai_fail(CAI_EINPUT, "resave needs --to DIR");
}

/* ---- command line ----------------------------------------------------------------------------- */
enum needs { TOKENIZER, CHAT, LM, SCALAR, ANY };

static const struct verb {
    const char *name;
    enum needs needs;
    line_function line;
    int (*whole)(struct probe *p);
} verbs[] = {
    {"tokenize", TOKENIZER, probe_tokenize, NULL},
    {"detokenize", TOKENIZER, probe_detokenize, NULL},
    {"chat", CHAT, probe_show_chat, NULL},
    {"logits", LM, probe_logits, NULL},
    {"generate", LM, NULL, probe_generate},
    {"options", LM, probe_options, NULL},
    {"text", LM, probe_text, NULL},
    {"talk", LM, probe_talk, NULL},
    {"score", SCALAR, probe_score, NULL},
    {"resave", ANY, NULL, probe_resave},
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
    case 'G': a->device = text; return 0;
    case 'n': a->no_special = true; return 0;
    case 'x': a->text_only = true; return 0;
    case 'D': a->date = text; return 0;
    case 'k': a->skip_special = true; return 0;
    case 'g': a->generation_prompt = true; return 0;
    case 't': return whole(name, text, 0, 1 << 20, &a->top);
    case 'h': return whole(name, text, 1, 1024, &a->threads);
    case 'e': return whole(name, text, 0, INT64_MAX, &a->seed);
    case 'l': return whole(name, text, 1, 4096, &a->slots);
    case 'b': return whole(name, text, 1, INT64_MAX, &a->shard_bytes);
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
        {"device", 1, NULL, 'G'},
        {"dtype", 1, NULL, 'd'},        {"no-special", 0, NULL, 'n'},
        {"date", 1, NULL, 'D'},         {"text-only", 0, NULL, 'x'},
        {"skip-special", 0, NULL, 'k'}, {"add-generation-prompt", 0, NULL, 'g'},
        {"top", 1, NULL, 't'},          {"threads", 1, NULL, 'h'},
        {"seed", 1, NULL, 'e'},         {"slots", 1, NULL, 'l'},
        {"shard-bytes", 1, NULL, 'b'},
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

int probe_tokenizer(struct probe *p)
{
    return p->t ? 0 : hf_tokenizer_load(p->a->model, &p->t);
}

/* The day at midnight, as seconds since 1970; without --date, today where this runs. */
static int day(const char *text, int64_t *ret)
{
    struct tm tm = {0};
    if (text) {
        const char *end = strptime(text, "%Y-%m-%d", &tm);
        if (!end || *end)
            return cai_fail(CAI_EINPUT, "--date needs YYYY-MM-DD, not '%s'", text);
    } else {
        time_t now = time(NULL);
        localtime_r(&now, &tm);
    }
    *ret = (int64_t)timegm(&tm);
    return 0;
}

int probe_chat(struct probe *p)
{
    int64_t now;
    if (p->chat)
        return 0;
    CAI_TRY(day(p->a->date, &now));
    CAI_TRY(probe_tokenizer(p));
    CAI_TRY(hf_chat_load(p->a->model, p->t, &p->chat));
    hf_chat_set_date(p->chat, now);
    return 0;
}

int probe_seen(struct probe *p, const struct model **ret)
{
    if (p->bfloat16 && !p->half)
        CAI_TRY(model_half_new(p->m, &p->half));
    *ret = p->half ? model_half_seen(p->half) : p->m;
    return 0;
}

static int open_model(const struct verb *v, struct probe *p)
{
    const char *dtype = p->a->dtype ? p->a->dtype : "float32";
    p->bfloat16 = strcmp(dtype, "bfloat16") == 0;
    if (!p->bfloat16 && strcmp(dtype, "float32") != 0)
        return cai_fail(CAI_EINPUT, "--dtype %s is not known; use float32 or bfloat16", dtype);
    struct ct_device device;
    CAI_TRY(ct_init((int)p->a->threads));
    CAI_TRY(ct_device_find(p->a->device, &device, NULL, 0));
    CAI_TRY(ct_device_use(device));
    CAI_TRY(model_load(p->a->model, &p->m));
    if (v->needs == LM && !p->m->lm_head)
        return cai_fail(CAI_EINPUT, "%s is a scalar-head model: use 'caiprobe score'", p->a->model);
    if (v->needs == SCALAR && !p->m->score)
        return cai_fail(CAI_EINPUT, "%s has no scalar head: 'caiprobe score' needs a model saved "
                        "as …ForSequenceClassification", p->a->model);
    return 0;
}

static int open_probe(const struct verb *v, struct probe *p)
{
    if (v->needs == TOKENIZER)
        return probe_tokenizer(p);
    return v->needs == CHAT ? probe_chat(p) : open_model(v, p);
}

static int run(const struct verb *v, const struct arguments *a)
{
    struct probe p = {.a = a};
    int rc = open_probe(v, &p);
    if (rc == 0)
        rc = v->whole ? v->whole(&p) : each_line(&p, v->line);
    model_half_free(p.half);
    model_free(p.m);
    hf_chat_free(p.chat);
    hf_tokenizer_free(p.t);
    if (rc < 0)
        fprintf(stderr, "caiprobe: %s\n", cai_error_text());
    return rc < 0 ? 3 : 0;
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct arguments a = {.threads = cpus > 0 ? cpus : 1, .slots = 64, .device = "cpu",
                          .shard_bytes = (int64_t)HF_SHARD_BYTES,
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
