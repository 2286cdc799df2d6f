/* main.c: caictl's command line: global options, the table of commands, help. What commands do
 * is in the files beside this one. */
#include "caictl.h"
#include "complete.h"
#include "base/error.h"
#include "base/text.h"
#include "input/schema.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct globals globals = {.timeout_s = 20};

static const struct command *const tables[] = {local_commands, job_commands, follow_commands,
                                               data_commands, look_commands, file_commands,
                                               constitution_commands, backup_commands,
                                               ckpt_commands, people_commands, stored_commands,
                                               key_commands, audit_commands, review_commands,
                                               web_commands, eval_commands};

const char *args_get(const struct args *a, const char *name) {
    for (size_t i = a->n_options; i-- > 0;)
        if (strcmp(a->options[i].name, name) == 0)
            return a->options[i].value;
    return NULL;
}

bool args_has(const struct args *a, const char *name) {
    for (size_t i = 0; i < a->n_options; i++)
        if (strcmp(a->options[i].name, name) == 0)
            return true;
    return false;
}

bool args_number(const char *what, const char *text, int64_t *ret) {
    if (schema_integer(text, ret) && *ret >= 0)
        return true;
    complain(EXIT_USAGE, "%s must be a whole number, not '%s'", what, text);
    return false;
}

/* ---- help --------------------------------------------------------------------------------- */

/* Commands whose names begin so, to `out` unless that is NULL; their number. */
static size_t list(FILE *out, const char *prefix) {
    size_t n = 0;
    for (size_t t = 0; t < CAI_COUNT(tables); t++)
        for (const struct command *c = tables[t]; c->name; c++)
            if (strncmp(c->name, prefix, strlen(prefix)) == 0) {
                n++;
                if (out)
                    fprintf(out, "  %-24s %s\n", c->name, c->summary);
            }
    return n;
}

static void overview(FILE *out) {
    fputs(
        "Examples\n"
        "  caictl init >job.yaml                    a job file with every default and its source\n"
        "  caictl constitution check house.yaml     findings with line and column; no daemon "
        "needed\n"
        "  caictl submit job.yaml                   check everything, then start the job\n"
        "  caictl watch 1                           live progress\n"
        "  caictl report 1 --html report.html       tables, plots, transcripts\n\n"
        "Commands (each has --help)\n",
        out);
    list(out, "");
    fputs(
        "\nOptions of every command\n"
        "  -s, --server ENDPOINT    the daemon (CAID_SERVER; default: its local socket)\n"
        "      --key FILE           your key, for a daemon at tcp://HOST:PORT (CAID_KEY)\n"
        "      --server-key KEY     the daemon's key, if the key file does not say (CAID_SERVER_KEY)\n"
        "  -o, --output table|json  how results are printed\n"
        "      --timeout SECONDS    how long to wait for the daemon (20)\n"
        "      --no-headers         tables without the line of titles\n"
        "  -q, --quiet              only results and errors\n"
        "  -h, --help; -V, --version\n\n"
        "Exit codes: 0 ok, 1 negative answer or job failed, 2 usage, 3 invalid file, 4 no daemon,\n"
        "5 not allowed, 6 not found, 7 wrong state, 8 timed out, 9 protocol, 10 daemon error,\n"
        "20 job cancelled, 130 interrupted.\n",
        out);
}

static void help(const struct command *c) {
    printf("Examples\n%s\ncaictl %s%s%s\n\n%s.\n", c->examples, c->name, *c->usage ? " " : "",
           c->usage, c->summary);
    if (c->more)
        printf("\n%s", c->more);
    puts("\nOptions of every command, and exit codes: caictl --help");
}

/* ---- finding the command -------------------------------------------------------------------- */

static const struct command *find(const char *name) {
    for (size_t t = 0; t < CAI_COUNT(tables); t++)
        for (const struct command *c = tables[t]; c->name; c++)
            if (strcmp(c->name, name) == 0)
                return c;
    return NULL;
}

static int unknown(const char *name) {
    const char *names[96];
    size_t n = 0;
    for (size_t t = 0; t < CAI_COUNT(tables); t++)
        for (const struct command *c = tables[t]; c->name && n < CAI_COUNT(names); c++)
            names[n++] = c->name;
    const char *near = cai_text_nearest(name, names, n);
    return complain(EXIT_USAGE, "unknown command '%s'%s%s%s; `caictl --help` lists them", name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* The first word of a name of two, alone: lists what there is. Else nothing of that name. */
static int no_command(const struct args *a, const char *both) {
    CAI_AUTO(mem) char *group = cai_format("%s ", a->positional[0]);
    bool asked = args_has(a, "help");
    bool known = list(NULL, group) > 0;
    if (!known || a->n > 1)
        return unknown(known ? both : a->positional[0]);
    list(asked ? stdout : stderr, group);
    return asked ? EXIT_OK : EXIT_USAGE;
}

/* "constitution check": a name of two words takes two arguments. */
static const struct command *choose(struct args *a, int *ret_code) {
    char both[128];
    snprintf(both, sizeof both, "%s %s", a->positional[0], a->n > 1 ? a->positional[1] : "");
    const struct command *c = a->n > 1 ? find(both) : NULL;
    size_t used = c ? 2 : 1;
    if (!c)
        c = find(a->positional[0]);
    if (!c) {
        *ret_code = no_command(a, both);
        return NULL;
    }
    a->n -= used;
    memmove(a->positional, a->positional + used, a->n * sizeof a->positional[0]);
    return c;
}

/* ---- arguments ---------------------------------------------------------------------------------
 */

/* Options that take a value, of all commands: an option means the same everywhere. */
static const char *const valued[] = {
    "server",  "output",    "timeout", "set",     "constitution", "seed",   "name",
    "state",   "tail",      "for",     "accept",  "round",        "stage",  "kind",
    "item",    "head",      "principle", "limit",   "out",     "judged",       "html",   "from",
    "message", "to",        "prompt",  "prompts", "model",        "metric", "dir",
    "role",    "against",   "held-out", "form",   "overseer",     "samples", "temperature",
    "max-new-tokens", "system", "threads", "show", "tensorboard", "keep", "user", "smoke",
    "key", "server-key", "overlap", "export"};

static bool takes_value(const char *name) {
    for (size_t i = 0; i < CAI_COUNT(valued); i++)
        if (strcmp(valued[i], name) == 0)
            return true;
    return false;
}

static const char *long_name(char letter) {
    static const struct {
        char letter;
        const char *name;
    } letters[] = {{'s', "server"}, {'o', "output"},  {'q', "quiet"},
                   {'h', "help"},   {'V', "version"}, {'a', "all"},
                   {'f', "follow"}, {'m', "message"}, {'y', "yes"}};
    for (size_t i = 0; i < CAI_COUNT(letters); i++)
        if (letters[i].letter == letter)
            return letters[i].name;
    return NULL;
}

static int add_option(struct args *a, char *name, char *value, char **argv, int argc, int *at) {
    if (a->n_options == ARGS_MAX)
        return complain(EXIT_USAGE, "too many options");
    if (takes_value(name) && !value) {
        if (*at + 1 >= argc)
            return complain(EXIT_USAGE, "--%s needs a value", name);
        value = argv[++*at];
    } else if (!takes_value(name) && value) {
        return complain(EXIT_USAGE, "--%s takes no value", name);
    }
    a->options[a->n_options].name = name;
    a->options[a->n_options++].value = value;
    return 0;
}

static int parse(int argc, char **argv, struct args *a) {
    bool plain = false;
    for (int i = 1; i < argc; i++) {
        char *s = argv[i];
        if (plain || s[0] != '-' || s[1] == '\0') {
            if (a->n == ARGS_MAX)
                return complain(EXIT_USAGE, "too many arguments");
            a->positional[a->n++] = s;
        } else if (strcmp(s, "--") == 0) {
            plain = true;
        } else if (s[1] == '-') {
            char *equals = strchr(s, '=');
            if (equals)
                *equals = '\0';
            int rc = add_option(a, s + 2, equals ? equals + 1 : NULL, argv, argc, &i);
            if (rc)
                return rc;
        } else {
            const char *name = long_name(s[1]);
            if (!name)
                return complain(EXIT_USAGE, "unknown option '-%c'", s[1]);
            int rc = add_option(a, (char *)name, s[2] ? s + 2 : NULL, argv, argc, &i);
            if (rc)
                return rc;
        }
    }
    return 0;
}

static int set_globals(const struct args *a) {
    const char *output = args_get(a, "output"), *timeout = args_get(a, "timeout");
    globals.server = args_get(a, "server");
    globals.key = args_get(a, "key");
    globals.server_key = args_get(a, "server-key");
    globals.quiet = args_has(a, "quiet");
    globals.no_headers = args_has(a, "no-headers");
    if (output && strcmp(output, "json") != 0 && strcmp(output, "table") != 0)
        return complain(EXIT_USAGE, "--output must be table or json, not '%s'", output);
    globals.json = output && strcmp(output, "json") == 0;
    if (timeout && (!schema_number(timeout, &globals.timeout_s) || globals.timeout_s <= 0 ||
                    globals.timeout_s > 1e7))
        return complain(EXIT_USAGE, "--timeout must be a number of seconds, not '%s'", timeout);
    return 0;
}

static bool listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *s = list; (s = strstr(s, name)); s += n)
        if ((s == list || s[-1] == ' ') && (s[n] == '\0' || s[n] == ' '))
            return true;
    return false;
}

static int check_options(const struct command *c, const struct args *a) {
    for (size_t i = 0; i < a->n_options; i++) {
        const char *name = a->options[i].name;
        if (!listed("server key server-key output timeout no-headers quiet help version", name) &&
            !listed(c->options, name))
            return complain(EXIT_USAGE, "%s has no option --%s; see `caictl %s --help`", c->name,
                            name, c->name);
    }
    if (a->n < c->least || a->n > c->most)
        return complain(EXIT_USAGE, "usage: caictl %s %s", c->name, c->usage);
    return 0;
}

/* For the shells; true when it was one of theirs. */
static bool run_for_shell(const struct args *a) {
    if (a->n == 1 && strcmp(a->positional[0], "__table") == 0)
        for (size_t t = 0; t < CAI_COUNT(tables); t++)
            complete_table(tables[t], takes_value);
    else if (a->n == 2 && strcmp(a->positional[0], "__names") == 0)
        (void)complete_names(a->positional[1]);
    else
        return false;
    return true;
}

static int run(int argc, char **argv) {
    struct args a = {0};
    int rc = parse(argc, argv, &a);
    if (rc == 0)
        rc = set_globals(&a);
    if (rc)
        return rc;
    if (a.n == 0 && args_has(&a, "version")) {
        a.positional[a.n++] = "version";
    } else if (a.n == 0) {
        bool asked = args_has(&a, "help");
        overview(asked ? stdout : stderr);
        return asked ? EXIT_OK : EXIT_USAGE;
    }
    if (run_for_shell(&a))
        return EXIT_OK;
    const struct command *c = choose(&a, &rc);
    if (!c)
        return rc;
    if (args_has(&a, "help")) {
        help(c);
        return EXIT_OK;
    }
    rc = check_options(c, &a);
    return rc ? rc : c->run(&a);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_DFL); /* `caictl … | head` ends quietly */
    int rc = run(argc, argv);
    client_close();
    if (fflush(stdout) != 0 && rc == 0)
        return complain(EXIT_DAEMON, "cannot write the output");
    return rc;
}
