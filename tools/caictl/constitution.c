/* constitution.c: caictl constitution …: check, diff and import work on files without a
 * daemon; list, show, apply, rollback, try and stats ask it. */
#include "constitution/constitution.h"
#include "base/error.h"
#include "base/file.h"
#include "caictl.h"
#include "input/jsonl.h"
#include "input/record.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Reads a file and prints the findings; 0 or EXIT_INPUT. */
static int load(const char *path, struct constitution **ret) {
    struct input_report report = {.file = path};
    *ret = NULL;
    if (constitution_load(path, &report, ret) < 0 && report.errors == 0) {
        input_report_free(&report);
        return complain(EXIT_INPUT, "%s", cai_error_text());
    }
    return show_findings(&report);
}

static bool is_file(const char *ref) {
    return strchr(ref, '/') || strstr(ref, ".y") || cai_file_exists(ref);
}

static int load_default(struct constitution **ret) {
    const char *text = caictl_default_constitution;
    struct input_report report = {.file = "default.yaml"};
    constitution_parse("default.yaml", text, strlen(text), NULL, &report, ret);
    return show_findings(&report);
}

int constitution_kept(const char *ref, struct constitution **ret) {
    json_t *reply;
    *ret = NULL;
    int code = client_call("constitution.show", json_pack("{s:s}", "ref", ref), false, &reply);
    if (code)
        return code;
    const char *text = text_of(reply, "canonical");
    struct input_report report = {.file = ref};
    constitution_parse(ref, text, strlen(text), NULL, &report, ret);
    json_decref(reply);
    return show_findings(&report);
}

int constitution_find_any(const char *ref, struct constitution **ret) {
    *ret = NULL;
    if (!ref)
        return load_default(ret);
    return is_file(ref) ? load(ref, ret) : constitution_kept(ref, ret);
}

/* ---- check ------------------------------------------------------------------------------------
 */

static void print_principles(const struct constitution *c) {
    json_t *rows = json_array();
    static const struct column columns[] = {{"ID", "id", CELL_TEXT},
                                            {"TIER", "tier", CELL_NUMBER},
                                            {"WEIGHT", "weight", CELL_NUMBER},
                                            {"PHASES", "phases", CELL_TEXT},
                                            {"TITLE", "title", CELL_TEXT}};
    for (size_t i = 0; i < c->n_principles; i++) {
        const struct principle *p = &c->principles[i];
        static const char *const phases[] = {"-", "sft", "rl", "sft, rl"};
        json_array_append_new(rows, json_pack("{s:s, s:i, s:f, s:s, s:s}", "id", p->id, "tier",
                                              (int)p->tier, "weight", p->enabled ? p->weight : 0.0,
                                              "phases", phases[p->phases & 3], "title",
                                              p->title ? p->title : ""));
    }
    print_rows(rows, columns, CAI_COUNT(columns));
    json_decref(rows);
}

static int run_check(const struct args *a) {
    int first = EXIT_OK;
    for (size_t i = 0; i < a->n; i++) {
        struct constitution *c;
        int code = load(a->positional[i], &c);
        first = first ? first : code;
        if (code)
            continue;
        if (globals.json) {
            json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "file", a->positional[i],
                                  "name", c->name, "revision", c->revision, "principles",
                                  (json_int_t)c->n_principles, "critique_examples",
                                  (json_int_t)c->n_critique_examples, "choice_examples",
                                  (json_int_t)c->n_choice_examples);
            print_json(o);
            json_decref(o);
        } else if (!globals.quiet) {
            printf("%s is valid: %s, %zu principles, %zu + %zu examples, revision %.12s\n",
                   a->positional[i], c->name, c->n_principles, c->n_critique_examples,
                   c->n_choice_examples, c->revision);
        }
        constitution_free(c);
    }
    return first;
}

/* ---- list, show, diff, import -----------------------------------------------------------------
 */

static int run_list(const struct args *a) {
    static const struct column columns[] = {
        {"NAME", "name", CELL_TEXT},       {"REVISION", "revision", CELL_TEXT},
        {"CURRENT", "current", CELL_BOOL}, {"PRINCIPLES", "principles", CELL_COUNT},
        {"JOBS", "jobs", CELL_COUNT},      {"APPLIED", "at_ms", CELL_TIME},
        {"MESSAGE", "message", CELL_TEXT}};
    json_t *reply, *o = a->n ? json_pack("{s:s}", "name", a->positional[0]) : json_object();
    int code = client_call("constitution.list", o, false, &reply);
    return code ? code : print_reply(reply, columns, CAI_COUNT(columns));
}

static int run_show(const struct args *a) {
    struct constitution *c;
    int code = constitution_find_any(a->positional[0], &c);
    if (code)
        return code;
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (globals.json)
        constitution_canonical(c, &text);
    else if (!args_has(a, "list"))
        constitution_write_yaml(c, &text);
    if (text.len)
        print_text(text.data);
    else
        print_principles(c);
    if (globals.json)
        putchar('\n');
    constitution_free(c);
    return EXIT_OK;
}

static int run_diff(const struct args *a) {
    struct constitution *x, *y = NULL;
    int code = constitution_find_any(a->positional[0], &x);
    if (code == 0)
        code = constitution_find_any(a->positional[1], &y);
    if (code == 0) {
        CAI_AUTO(buf) struct cai_buf text = {0};
        size_t n = constitution_diff(x, y, &text);
        if (globals.json) {
            json_t *o =
                json_pack("{s:I, s:s, s:s, s:s}", "differences", (json_int_t)n, "from", x->revision,
                          "to", y->revision, "text", text.data ? text.data : "");
            print_json(o);
            json_decref(o);
        } else {
            fwrite(text.data, 1, text.len, stdout);
        }
        code = n ? EXIT_NEGATIVE : EXIT_OK;
    }
    constitution_free(x);
    constitution_free(y);
    return code;
}

static int run_import(const struct args *a) {
    struct input_report report = {.file = a->positional[0]};
    CAI_AUTO(buf) struct cai_buf yaml = {0};
    const char *format = args_get(a, "from");
    if (!format || (strcmp(format, "hf") != 0 && strcmp(format, "cai-paper") != 0))
        return complain(EXIT_USAGE, "name the format: --from cai-paper or --from hf");
    constitution_import(format, a->positional[0], &report, &yaml);
    int code = show_findings(&report);
    if (code == 0)
        fwrite(yaml.data, 1, yaml.len, stdout);
    return code;
}

/* ---- apply, rollback
 * ----------------------------------------------------------------------------- */

static int print_applied(json_t *reply) {
    if (globals.json) {
        print_json(reply);
    } else {
        CAI_AUTO(buf) struct cai_buf running = {0};
        cell_text(&running, json_object_get(reply, "running"), CELL_TEXT);
        printf("%s is now at revision %.12s%s\n", text_of(reply, "name"),
               text_of(reply, "revision"),
               json_is_false(json_object_get(reply, "changed")) ? ", as before" : "");
        if (running.len)
            say("Jobs that keep the revision they began with: %s\n", running.data);
    }
    json_decref(reply);
    return EXIT_OK;
}

static int run_apply(const struct args *a) {
    struct constitution *c;
    json_t *reply;
    int code = load(a->positional[0], &c);
    if (code)
        return code;
    CAI_AUTO(buf) struct cai_buf text = {0};
    constitution_canonical(c, &text);
    constitution_free(c);
    if (args_has(a, "dry-run")) {
        say("Nothing was sent (--dry-run)\n");
        return EXIT_OK;
    }
    const char *message = args_get(a, "message");
    code = client_call(
        "constitution.apply",
        json_pack("{s:s, s:s}", "canonical", text.data, "message", message ? message : ""), true,
        &reply);
    return code ? code : print_applied(reply);
}

static int run_rollback(const struct args *a) {
    json_t *reply, *o = json_pack("{s:s}", "name", a->positional[0]);
    if (args_has(a, "to"))
        json_object_set_new(o, "to", json_string(args_get(a, "to")));
    int code = client_call("constitution.rollback", o, true, &reply);
    return code ? code : print_applied(reply);
}

/* ---- try, stats --------------------------------------------------------------------------------
 */

/* --prompt (several) and the first rows of --prompts FILE, as many as the daemon takes. */
static int read_prompts(const struct args *a, json_t *list) {
    const char *file = args_get(a, "prompts");
    for (size_t i = 0; i < a->n_options; i++)
        if (strcmp(a->options[i].name, "prompt") == 0)
            json_array_append_new(list, json_string(a->options[i].value));
    struct input_report report = {.file = file};
    struct jsonl *reader;
    json_t *row;
    size_t line;
    if (file && jsonl_open(file, &report, &reader) == 0) {
        while (json_array_size(list) < CONTROL_TRY_PROMPTS &&
               jsonl_next(reader, &row, &line) > 0) {
            struct input_record m;
            if (input_record(row, line, &report, &m) == 0) {
                json_array_append_new(list, json_string(m.turns[m.n - 1].text));
                input_record_free(&m);
            }
            json_decref(row);
        }
        jsonl_close(reader);
    }
    int code = show_findings(&report);
    if (code == 0 && json_array_size(list) == 0)
        return complain(EXIT_USAGE, "give --prompt TEXT or --prompts FILE");
    return code;
}

static void print_tried(const json_t *rows) {
    size_t i;
    json_t *row;
    static const char *const parts[] = {"prompt", "reply", "critique", "revision"};
    json_array_foreach(rows, i, row) {
        printf("== %s  (%s)\n", text_of(row, "principle"), text_of(row, "verdict"));
        for (size_t k = 0; k < CAI_COUNT(parts); k++) {
            printf("-- %s\n", parts[k]);
            print_text(text_of(row, parts[k]));
            putchar('\n');
        }
        putchar('\n');
    }
}

static int await_ticket(json_int_t ticket, json_t **ret) {
    for (;;) {
        const struct timespec pause = {0, 300000000};
        int code =
            client_call("constitution.tried", json_pack("{s:I}", "ticket", ticket), false, ret);
        if (code || !json_is_true(json_object_get(*ret, "pending")))
            return code;
        if (terminal_width(2))
            say("\r%lld of %lld", (long long)integer_of(*ret, "done"),
                (long long)integer_of(*ret, "total"));
        json_decref(*ret);
        nanosleep(&pause, NULL);
    }
}

static int run_try(const struct args *a) {
    static const char *const numbers[] = {"limit", "seed"};
    json_t *reply, *prompts = json_array(), *o;
    struct constitution *c = NULL;
    int64_t n;
    int code = args_has(a, "model") ? read_prompts(a, prompts)
                                    : complain(EXIT_USAGE, "name a model's folder: --model DIR");
    if (code == 0 && is_file(a->positional[0]))
        code = load(a->positional[0], &c);
    if (code) {
        json_decref(prompts);
        return code;
    }
    char *model = realpath(args_get(a, "model"), NULL);
    o = json_pack("{s:s, s:o}", "model", model ? model : args_get(a, "model"), "prompts", prompts);
    free(model);
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (c)
        constitution_canonical(c, &text);
    constitution_free(c);
    json_object_set_new(o, text.len ? "canonical" : "ref",
                        json_string(text.len ? text.data : a->positional[0]));
    if (args_has(a, "principle"))
        json_object_set_new(o, "principle", json_string(args_get(a, "principle")));
    for (size_t i = 0; i < CAI_COUNT(numbers); i++)
        if (args_has(a, numbers[i]) && args_number(numbers[i], args_get(a, numbers[i]), &n))
            json_object_set_new(o, numbers[i], json_integer((json_int_t)n));
    code = client_call("constitution.try", o, true, &reply);
    if (code)
        return code;
    json_int_t ticket = (json_int_t)integer_of(reply, "ticket");
    json_decref(reply);
    code = await_ticket(ticket, &reply);
    if (code)
        return code;
    if (terminal_width(2))
        say("\r");
    if (globals.json)
        print_json(reply);
    else
        print_tried(json_object_get(reply, "rows"));
    json_decref(reply);
    return EXIT_OK;
}

static int run_stats(const struct args *a) {
    static const struct column columns[] = {
        {"PRINCIPLE", "principle", CELL_TEXT},  {"DRAWN", "drawn", CELL_COUNT},
        {"UNCHANGED", "unchanged", CELL_COUNT}, {"DROPPED", "dropped", CELL_COUNT},
        {"NO FLAW", "no_flaw", CELL_COUNT},     {"EDIT", "edit", CELL_SHARE},
        {"LABELS", "labels", CELL_COUNT},       {"MARGIN", "margin", CELL_NUMBER},
        {"FLIPPED", "flipped", CELL_SHARE},     {"ENTROPY", "entropy", CELL_NUMBER}};
    json_t *reply, *o = json_object();
    int64_t id;
    if (a->n && !args_number("a job's id", a->positional[0], &id)) {
        json_decref(o);
        return EXIT_USAGE;
    }
    if (a->n)
        json_object_set_new(o, "id", json_integer((json_int_t)id));
    int code = client_call("constitution.stats", o, false, &reply);
    return code ? code : print_reply(reply, columns, CAI_COUNT(columns));
}

const struct command constitution_commands[] = {
    {"constitution check", "FILE…", "", 1, ARGS_MAX, run_check,
     "Check constitution files; no daemon needed", "  caictl constitution check house.yaml\n"},
    {"constitution list", "[NAME]", "", 0, 1, run_list,
     "Constitutions the daemon keeps; with a name, its revisions",
     "  caictl constitution list\n  caictl constitution list house-rules\n"},
    {"constitution show", "REF|FILE [--list]", "list", 1, 1, run_show,
     "Print one as YAML, or its principles as a table",
     "  caictl constitution show house-rules\n  caictl constitution show house.yaml --list\n"},
    {"constitution diff", "REF|FILE REF|FILE", "", 2, 2, run_diff,
     "What differs, principle by principle; exit code 1 if anything does",
     "  caictl constitution diff house-rules house.yaml\n"},
    {"constitution apply", "FILE [-m MESSAGE] [--dry-run]", "message dry-run", 1, 1, run_apply,
     "Make a file the current revision of its name; running jobs keep theirs",
     "  caictl constitution apply house.yaml -m \"softer on satire\"\n"},
    {"constitution rollback", "NAME [--to REVISION]", "to", 1, 1, run_rollback,
     "Go back to an earlier revision", "  caictl constitution rollback house-rules\n"},
    {"constitution import", "FILE --from cai-paper|hf", "from", 1, 1, run_import,
     "Turn a published constitution into YAML, one principle per published pair",
     "  caictl constitution import CritiqueRevisionInstructions.json --from cai-paper "
     ">paper.yaml\n"},
    {"constitution try",
     "REF|FILE --model DIR (--prompt TEXT… | --prompts FILE) [--principle ID]\n"
     "       [--limit N] [--seed N]",
     "model prompt prompts principle limit seed", 1, 1, run_try,
     "See what principles make a model critique and rewrite",
     "  caictl constitution try house.yaml --model ./base --prompt \"How do I pick a lock?\"\n"},
    {"constitution stats", "[JOB]", "", 0, 1, run_stats,
     "How often each principle was drawn, and what it did", "  caictl constitution stats 1\n"},
    {0}};
