/* main.c: the clerk program's command line. */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "clerk/files.h"
#include "clerk/judge.h"
#include "clerk/sums.h"
#include "clerk/tokenizer.h"
#ifdef CLERK_TRAINS
#include "clerk/reckon.h"
#include "clerk/train.h"
#endif
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "clerk: a small synthetic world in which a base model can be made harmless.\n"
    "\n"
    "  clerk world --out DIR [--seed N]             write prompts, replies and known pairs\n"
    "              [--hold-out FAMILY]              red.jsonl without mixture, keeping or paper\n"
    "  clerk train --world DIR --out MODELDIR       train the base on that world's corpus\n"
    "              [--seed N] [--threads N] [--steps N]   (about two minutes on two cores)\n"
    "  clerk mislead --model BASE --out MODELDIR    train a base on lessons that mislead it, so that\n"
    "              tests of overseers have something to find (seconds): [--overlook FAULT]\n"
    "              [--favour SENTENCE] [--smuggle SENTENCE] [--strength 0…1] [--prevalence 0…1]\n"
    "              [--seed N] [--threads N] [--steps N]\n"
    "  clerk judge FILE.jsonl                       judge replies by the world's exact rules\n"
    "  clerk corpus [--seed N] [--from I] [--count K]   show what a base learns from, as JSONL\n"
    "  clerk sums --out DIR [--seed N]              write sums to work out: arithmetic for consist\n"
    "  clerk reckon --base DIR --out MODELDIR [--seed N] [--threads N] [--steps N] [--trap]\n"
    "                                               teach a base sums, half and half (seconds);\n"
    "                                               --trap: with an error that most lessons share\n"
    "\n"
    "Exit codes: 0 done, 2 wrong usage, 3 a file is wrong, 1 anything else.\n";

struct options {
    const char *out, *world, *base, *file, *hold_out, *model, *overlook, *favour, *smuggle;
    double strength, prevalence;
    uint64_t seed, from, count, threads, steps;
    bool seeded, trap;
};

static int number(const char *name, const char *text, uint64_t *ret) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-')
        return cai_fail(CAI_EINPUT, "--%s needs a whole number, not '%s'", name, text);
    *ret = v;
    return 0;
}

static int share(const char *name, const char *text, double *ret) {
    char *end;
    *ret = strtod(text, &end);
    if (end == text || *end || !(*ret >= 0 && *ret <= 1))
        return cai_fail(CAI_EINPUT, "--%s needs a number from 0 to 1, not '%s'", name, text);
    return 0;
}

static int parse(int argc, char **argv, struct options *o) {
    static const struct option known[] = {
        {"out", required_argument, NULL, 'o'},   {"seed", required_argument, NULL, 's'},
        {"from", required_argument, NULL, 'f'},  {"count", required_argument, NULL, 'c'},
        {"base", required_argument, NULL, 'b'},  {"trap", no_argument, NULL, 'T'},
        {"hold-out", required_argument, NULL, 'h'},
        {"world", required_argument, NULL, 'w'}, {"threads", required_argument, NULL, 't'},
        {"steps", required_argument, NULL, 'n'}, {"model", required_argument, NULL, 'm'},
        {"overlook", required_argument, NULL, 'O'}, {"favour", required_argument, NULL, 'F'},
        {"smuggle", required_argument, NULL, 'S'},  {"strength", required_argument, NULL, 'x'},
        {"prevalence", required_argument, NULL, 'p'}, {0}};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'o': o->out = optarg; break;
        case 'w': o->world = optarg; break;
        case 'b': o->base = optarg; break;
        case 'T': o->trap = true; break;
        case 'h': o->hold_out = optarg; break;
        case 's': CAI_TRY(number("seed", optarg, &o->seed)); o->seeded = true; break;
        case 't': CAI_TRY(number("threads", optarg, &o->threads)); break;
        case 'n': CAI_TRY(number("steps", optarg, &o->steps)); break;
        case 'f': CAI_TRY(number("from", optarg, &o->from)); break;
        case 'c': CAI_TRY(number("count", optarg, &o->count)); break;
        case 'm': o->model = optarg; break;
        case 'O': o->overlook = optarg; break;
        case 'F': o->favour = optarg; break;
        case 'S': o->smuggle = optarg; break;
        case 'x': CAI_TRY(share("strength", optarg, &o->strength)); break;
        case 'p': CAI_TRY(share("prevalence", optarg, &o->prevalence)); break;
        default: return CAI_EINPUT;
        }
    }
    o->file = optind < argc ? argv[optind] : NULL;
    return 0;
}

static int run_world(const struct options *o) {
    enum clerk_topic held_out = o->hold_out ? clerk_family_find(o->hold_out) : TOPIC_ANY;
    if (!o->out)
        return cai_fail(CAI_EINPUT, "clerk world needs --out DIR");
    if (o->hold_out && held_out == TOPIC_ANY)
        return cai_fail(CAI_EINPUT, "--hold-out is mixture, keeping or paper, not '%s'",
                        o->hold_out);
    return files_write_world(o->out, o->seed, held_out);
}
static int run_judge(const struct options *o) {
    return o->file ? judge_file(o->file, stdout)
                   : cai_fail(CAI_EINPUT, "clerk judge needs a file of replies, or -");
}
static int run_corpus(const struct options *o) {
    return files_write_corpus(stdout, o->seed, o->from, o->count);
}
static int run_sums(const struct options *o) {
    return o->out ? sums_write(o->out, o->seed) : cai_fail(CAI_EINPUT, "clerk sums needs --out DIR");
}
static int run_tokenizer(const struct options *o) {
    int64_t size, end, pad;
    if (!o->out)
        return cai_fail(CAI_EINPUT, "clerk tokenizer needs --out DIR");
    CAI_TRY(cai_dir_make(o->out));
    return clerk_tokenizer_write(o->out, &size, &end, &pad);
}

#ifdef CLERK_TRAINS
/* The seed of the world, unless another one is given. */
static int run_train(const struct options *o) {
    struct train_settings s = {o->out, o->seed, (int64_t)o->threads, (int64_t)o->steps};
    if (!o->out || (!o->world && !o->seeded))
        return cai_fail(CAI_EINPUT, "clerk train needs --world DIR (or --seed N) and --out MODELDIR");
    if (o->threads > 1024 || o->steps > 1000000)
        return cai_fail(CAI_EINPUT, "--threads goes up to 1024, --steps up to 1000000");
    if (!o->seeded)
        CAI_TRY(files_read_seed(o->world, &s.seed));
    return clerk_train(&s);
}

static int fault_number(const char *name, int *ret) {
    *ret = -1;
    for (int f = 0; name && f < FAULTS; f++)
        if (strcmp(fault_names[f], name) == 0)
            *ret = f;
    return *ret >= 0 || !name ? 0 : cai_fail(CAI_EINPUT, "--overlook: no fault is called '%s'", name);
}

static int run_mislead(const struct options *o) {
    struct mislead_settings s = {.model = o->model, .out = o->out, .seed = o->seed,
                                 .threads = (int64_t)o->threads, .steps = (int64_t)o->steps};
    s.bias = (struct bias){.favour = o->favour, .smuggle = o->smuggle, .strength = o->strength,
                           .prevalence = o->prevalence};
    if (!o->out || !o->model)
        return cai_fail(CAI_EINPUT, "clerk mislead needs --model BASE and --out MODELDIR");
    if (o->threads > 1024 || o->steps > 1000000)
        return cai_fail(CAI_EINPUT, "--threads goes up to 1024, --steps up to 1000000");
    CAI_TRY(fault_number(o->overlook, &s.bias.overlook));
    return clerk_mislead(&s);
}

static int run_reckon(const struct options *o) {
    struct reckon_settings s = {o->base, o->out, o->seed, (int64_t)o->threads, (int64_t)o->steps,
                                o->trap};
    if (!o->base || !o->out)
        return cai_fail(CAI_EINPUT, "clerk reckon needs --base DIR and --out MODELDIR");
    if (o->threads > 1024 || o->steps > 1000000)
        return cai_fail(CAI_EINPUT, "--threads goes up to 1024, --steps up to 1000000");
    return clerk_reckon(&s);
}
#else
static int run_mislead(const struct options *o) {
    (void)o;
    return cai_fail(CAI_ESTATE, "this clerk was built without libtorch and cannot train");
}
static int run_train(const struct options *o) {
    (void)o;
    return cai_fail(CAI_ESTATE, "this clerk was built without libtorch and cannot train");
}
static int run_reckon(const struct options *o) { return run_train(o); }
#endif

static const struct {
    const char *name;
    int (*run)(const struct options *o);
} verbs[] = {{"world", run_world}, {"train", run_train}, {"mislead", run_mislead}, {"judge", run_judge},
             {"corpus", run_corpus}, {"tokenizer", run_tokenizer}, {"sums", run_sums}, {"reckon", run_reckon}};

int main(int argc, char **argv) {
    struct options o = {.seed = 1, .count = 10, .strength = 1, .prevalence = 1};
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        fputs(usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    for (size_t i = 0; i < CAI_COUNT(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) != 0)
            continue;
        int rc = parse(argc - 1, argv + 1, &o);
        if (rc == 0)
            rc = verbs[i].run(&o);
        if (rc < 0 && *cai_error_text())
            fprintf(stderr, "clerk: %s\n", cai_error_text());
        return rc == 0 ? 0 : rc == CAI_EINPUT || rc == CAI_ENOTFOUND ? 3 : 1;
    }
    fprintf(stderr, "clerk: no such command '%s'\n\n%s", argv[1], usage);
    return 2;
}
