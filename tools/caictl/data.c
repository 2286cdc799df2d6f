/* data.c: what a job has produced: samples, metrics. The report is in report.c, export in
 * export.c. */
#include "base/error.h"
#include "base/text.h"
#include "caictl.h"
#include "export.h"
#include "figures.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "--round 2" into the arguments; false when it is no number. */
static bool put_number(const struct args *a, const char *name, json_t *o) {
    int64_t v;
    if (!args_has(a, name))
        return true;
    if (!args_number(name, args_get(a, name), &v))
        return false;
    json_object_set_new(o, name, json_integer((json_int_t)v));
    return true;
}

static void put_text(const struct args *a, const char *name, json_t *o) {
    if (args_has(a, name))
        json_object_set_new(o, name, json_string(args_get(a, name)));
}

/* {"id": …} from the first positional, or NULL and a message. */
static json_t *with_id(const struct args *a) {
    int64_t id;
    if (!args_number("a job's id", a->positional[0], &id))
        return NULL;
    return json_pack("{s:I}", "id", (json_int_t)id);
}

int data_pages(const char *verb, json_t *arguments, int64_t limit,
               int (*f)(void *c, const json_t *row), void *c) {
    int code = 0;
    for (bool more = true; more && code == 0 && limit != 0;) {
        json_t *reply, *row;
        size_t i;
        code = client_call(verb, json_deep_copy(arguments), false, &reply);
        if (code)
            break;
        json_t *rows = json_object_get(reply, "rows"), *next = json_object_get(reply, "next");
        json_array_foreach(rows, i, row) {
            if (limit == 0 || (code = f(c, row)) != 0)
                break;
            limit--;
        }
        more = next && !json_is_null(next) && json_array_size(rows) > 0;
        if (more)
            json_object_set(arguments, "after", next);
        json_decref(reply);
    }
    json_decref(arguments);
    return code;
}

static int collect(void *c, const json_t *row) {
    json_array_append(c, (json_t *)(uintptr_t)row);
    return 0;
}

int data_rows(const char *verb, json_t *arguments, int64_t limit, json_t **ret_rows) {
    *ret_rows = json_array();
    return data_pages(verb, arguments, limit, collect, *ret_rows);
}

/* ---- samples --------------------------------------------------------------------------------- */

static int print_sample(void *c, const json_t *row) {
    (void)c;
    if (globals.json) {
        print_line_json(row);
        return 0;
    }
    printf("-- round %lld  %s  item %lld k %lld  %s", (long long)integer_of(row, "round"),
           text_of(row, "stage"), (long long)integer_of(row, "item"),
           (long long)integer_of(row, "k"), text_of(row, "kind"));
    if (*text_of(row, "principle"))
        printf("  [%s]", text_of(row, "principle"));
    putchar('\n');
    print_text(text_of(row, "text"));
    puts("\n");
    return 0;
}

static int run_samples(const struct args *a) {
    int64_t limit = 20;
    json_t *o = with_id(a);
    if (!o)
        return EXIT_USAGE;
    bool good = put_number(a, "round", o) && put_number(a, "item", o) &&
                (!args_has(a, "limit") || args_number("limit", args_get(a, "limit"), &limit));
    put_text(a, "stage", o);
    put_text(a, "kind", o);
    put_text(a, "principle", o);
    if (!good) {
        json_decref(o);
        return EXIT_USAGE;
    }
    return data_pages("samples", o, limit, print_sample, NULL);
}

/* ---- metrics
 * ------------------------------------------------------------------------------------- */

/* "by": the grader and its mark in one cell, for the table. */
static int take_metric(void *c, const json_t *row) {
    const char *grader = text_of(row, "grader");
    bool verified = json_is_true(json_object_get(row, "verified"));
    CAI_AUTO(mem) char *by = cai_format("%s%s", grader, *grader && !verified ? ", unverified" : "");
    if (!globals.json)
        json_object_set_new((json_t *)row, "by", json_string(by));
    json_array_append(c, (json_t *)row);
    return 0;
}

static int run_metrics(const struct args *a) {
    static const struct column columns[] = {{"ROUND", "round", CELL_NUMBER},
                                            {"STAGE", "stage", CELL_TEXT},
                                            {"STEP", "step", CELL_NUMBER},
                                            {"NAME", "name", CELL_TEXT},
                                            {"VALUE", "value", CELL_NUMBER},
                                            {"GRADER", "by", CELL_TEXT}};
    json_t *reply;
    int code;
    if (args_has(a, "explain"))
        return run_explain(a);
    if (a->n == 0) {
        code = client_call("metrics", NULL, false, &reply);
        if (code)
            return code;
        if (globals.json)
            print_json(reply);
        else
            print_text(text_of(reply, "text"));
        json_decref(reply);
        return 0;
    }
    int64_t id;
    if (!args_number("a job's id", a->positional[0], &id))
        return EXIT_USAGE;
    if (args_has(a, "tensorboard"))
        return run_tensorboard(a, id);
    if (args_has(a, "follow"))
        return complain(EXIT_USAGE, "--follow belongs to --tensorboard FOLDER");
    json_t *o = with_id(a), *rows = json_array();
    if (o && args_has(a, "metric"))
        json_object_set_new(o, "name", json_string(args_get(a, "metric")));
    if (o)
        put_text(a, "stage", o);
    code = o ? data_pages("metrics", o, -1, take_metric, rows) : EXIT_USAGE;
    if (code == 0)
        return print_reply(json_pack("{s:o}", "rows", rows), columns, CAI_COUNT(columns));
    json_decref(rows);
    return code;
}

const struct command data_commands[] = {
    {"report", "ID [--judged FILE] [--html FILE]", "judged html", 1, 1, run_report,
     "What became of the model: rates, plots, transcripts",
     "  caictl report 1\n  caictl report 1 --html report.html\n"
     "  caictl export 1 replies >r.jsonl && my-judge r.jsonl >j.jsonl && caictl report 1 --judged "
     "j.jsonl\n",
     "  --judged FILE  verdicts of an outside judge: {\"id\": …, \"harmful\": true, …} a line, the\n"
     "                 id as `caictl export ID replies` gives it\n"
     "  --html FILE    also as one HTML page with plots and transcripts\n"},
    {"samples", "ID [--round N] [--stage S] [--kind K] [--item N] [--principle P] [--limit N]",
     "round stage kind item principle limit", 1, 1, run_samples,
     "Read prompts, replies, critiques and revisions",
     "  caictl samples 1\n  caictl samples 1 --stage revise --principle no-harm --limit 5\n",
     "  --round N      1, 2, …; 0 is the start model, the round after the last is PPO\n"
     "  --stage S      data, red_team, revise, consist, sft, label, prefer, evaluate or ppo\n"
     "  --kind K       prompt, reply, critique, revision, dropped, reply_a, reply_b, score, …\n"
     "  --item N       one prompt with all that was made of it\n"
     "  --principle P  what was written or chosen under one principle\n"
     "  --limit N      so many texts (20)\n"},
    {"export", "ID WHAT [--out PATH] [--merge] [--form FORM] [--round N]",
     "out merge form round", 2, 2, run_export,
     "What a job made: texts and figures as JSON Lines, or a model as a folder",
     "  caictl export 1 pairs --form trl >pairs.jsonl\n"
     "  caictl export 1 model --out ./harmless\n  caictl export 1 pm --out ./judge\n",
     EXPORT_OPTIONS},
    {"metrics", "[ID] [--metric NAME] [--stage S] [--tensorboard FOLDER [--follow]] [--explain]",
     "metric stage tensorboard follow explain", 0, 1, run_metrics,
     "A job's figures by step; without an id the daemon's, for Prometheus",
     "  caictl metrics 1 --metric reward\n"
     "  caictl metrics 1 --tensorboard ./board --follow & tensorboard --logdir ./board\n"
     "  caictl metrics >/var/lib/prometheus/node-exporter/caid.prom\n",
     "  --metric NAME         one figure: reward, kl, entropy, length, loss, harmful_rate, …\n"
     "  --stage S             red_team, revise, consist, sft, label, prefer, evaluate or ppo\n"
     "  --explain             what each figure means, and its unit; no daemon needed\n"
     "  --tensorboard FOLDER  add what is new to event files there, a run for each round\n"
     "  --follow              and go on until the job ends; it may be stopped and run again\n"},
    {0}};
