/* data.c: what a job has produced: samples, export, metrics. The report is in report.c. */
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "caictl.h"
#include "hf/adapter.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* ---- export ------------------------------------------------------------------------------------
 */

static int print_row(void *c, const json_t *row) {
    (void)c;
    print_line_json(row);
    return 0;
}

struct copy {
    const char *to;
    bool merge; /* an adapter into its base */
    size_t files;
};

static int copy_file(const char *from, const char *to) {
    char chunk[1 << 16];
    size_t n;
    CAI_AUTO(stream) FILE *in = fopen(from, "rbe");
    CAI_AUTO(mem) char *part = cai_format("%s.part", to);
    FILE *out = in ? fopen(part, "wbe") : NULL;
    if (!in || !out)
        return cai_fail_errno("%s", in ? part : from);
    bool good = true;
    while (good && (n = fread(chunk, 1, sizeof chunk, in)) > 0)
        good = fwrite(chunk, 1, n, out) == n;
    good = !ferror(in) && good;
    if (fclose(out) != 0 || !good)
        return cai_fail_errno("copying %s", from);
    CAI_TRY(cai_file_sync(part));
    return cai_file_rename_durable(part, to);
}

static int copy_folder(const char *from, const char *to, size_t *ret_files) {
    struct dirent *e;
    struct stat st;
    CAI_TRY(cai_dir_make(to));
    DIR *d = opendir(from);
    if (!d)
        return cai_fail_errno("%s", from);
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        CAI_AUTO(mem) char *source = cai_path_join(from, e->d_name);
        CAI_AUTO(mem) char *target = cai_path_join(to, e->d_name);
        if (lstat(source, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        rc = copy_file(source, target);
        ++*ret_files;
    }
    closedir(d);
    return rc;
}

static int copy_model(void *c, const json_t *row) {
    struct copy *copy = c;
    const char *path = text_of(row, "path");
    if (copy->merge && hf_adapter_is(path)) {
        if (hf_adapter_merge(path, copy->to) < 0)
            return complain(EXIT_DAEMON, "%s", cai_error_text());
        say("Merged the adapter %s (hash %.12s) into whole weights: %s\n", path,
            text_of(row, "hash"), copy->to);
        return 0;
    }
    if (copy_folder(path, copy->to, &copy->files) < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    say("Copied %zu files of %s (hash %.12s) to %s\n", copy->files, path, text_of(row, "hash"),
        copy->to);
    return 0;
}

static int run_export(const struct args *a) {
    static const char *const known[] = {"replies", "grades",   "examples", "sft",  "pairs",
                                        "labels",  "red_team", "metrics",  "model"};
    const char *what = a->positional[1];
    bool found = false;
    for (size_t i = 0; i < CAI_COUNT(known); i++)
        found = found || strcmp(known[i], what) == 0;
    if (!found) {
        const char *near = cai_text_nearest(what, known, CAI_COUNT(known));
        return complain(EXIT_USAGE, "cannot export '%s'%s%s%s", what,
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    json_t *o = with_id(a);
    if (!o)
        return EXIT_USAGE;
    json_object_set_new(o, "what", json_string(what));
    struct copy copy = {.to = args_get(a, "out"), .merge = args_has(a, "merge")};
    bool model = strcmp(what, "model") == 0 && copy.to;
    if (copy.merge && !model) {
        json_decref(o);
        return complain(EXIT_USAGE, "--merge belongs to 'export ID model --out FOLDER'");
    }
    return data_pages("export", o, -1, model ? copy_model : print_row, &copy);
}

/* ---- metrics
 * ------------------------------------------------------------------------------------- */

/* "by": the grader and its mark in one cell, for the table. */
static int collect(void *c, const json_t *row) {
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
    json_t *o = with_id(a), *rows = json_array();
    if (o && args_has(a, "metric"))
        json_object_set_new(o, "name", json_string(args_get(a, "metric")));
    if (o)
        put_text(a, "stage", o);
    code = o ? data_pages("metrics", o, -1, collect, rows) : EXIT_USAGE;
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
     "  --stage S      data, red_team, revise, sft, label, prefer, evaluate or ppo\n"
     "  --kind K       prompt, reply, critique, revision, dropped, reply_a, reply_b, score, …\n"
     "  --item N       one prompt with all that was made of it\n"
     "  --principle P  what was written or chosen under one principle\n"
     "  --limit N      so many texts (20)\n"},
    {"export", "ID replies|grades|examples|sft|pairs|labels|red_team|metrics|model\n"
     "       [--out FOLDER [--merge]]", "out merge",
     2, 2, run_export, "JSON Lines of what a job made; or its last model, copied",
     "  caictl export 1 pairs >pairs.jsonl\n  caictl export 1 model --out ./harmless\n",
     "  replies   to held-out prompts, by checkpoint: what an outside judge reads\n"
     "  grades    what the job's own graders say of them\n"
     "  examples  every text of every stage\n"
     "  sft       conversations that were trained on\n"
     "  pairs     chosen and rejected replies with their probability and principle\n"
     "  labels    the overseer's and people's choices, in both orders\n"
     "  red_team  prompts that were written\n"
     "  metrics   every figure by round, stage and step\n"
     "  model     where the last policy lies; with --out, a copy of it; with --merge whole weights,\n"
     "            where the copy would be a LoRA adapter\n"},
    {"metrics", "[ID] [--metric NAME] [--stage S]", "metric stage", 0, 1, run_metrics,
     "A job's figures by step; without an id the daemon's, for Prometheus",
     "  caictl metrics 1 --metric reward\n  caictl metrics\n"},
    {0}};
