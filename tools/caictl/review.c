/* review.c: caictl review: the commands about people's verdicts. Reading an item and judging it:
 * review_next.c. */
#include "review.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

static bool job_of(const struct args *a, size_t at, int64_t *ret) {
    *ret = 0;
    return a->n <= at || args_number("a job's id", a->positional[at], ret);
}

static json_t *of_job(int64_t job) {
    return job ? json_pack("{s:I}", "job", (json_int_t)job) : json_object();
}

/* ---- list ---------------------------------------------------------------------------------- */

static int run_list(const struct args *a) {
    static const struct column columns[] = {{"ITEM", "id", CELL_NUMBER},
                                            {"JOB", "job", CELL_NUMBER},
                                            {"KIND", "kind", CELL_TEXT},
                                            {"DRAWN", "drawn", CELL_TEXT},
                                            {"STATE", "state", CELL_TEXT}};
    int64_t job;
    json_t *reply;
    if (!job_of(a, 0, &job))
        return EXIT_USAGE;
    int code = client_call("review.queue", of_job(job), false, &reply);
    if (code)
        return code;
    if (globals.json) {
        print_json(reply);
    } else {
        print_rows(json_object_get(reply, "items"), columns, CAI_COUNT(columns));
        say("%lld of %lld are final; %lld are yours\n", (long long)integer_of(reply, "done"),
            (long long)integer_of(reply, "required"), (long long)integer_of(reply, "mine"));
    }
    json_decref(reply);
    return EXIT_OK;
}

/* ---- progress ------------------------------------------------------------------------------ */

static void put_share(const char *what, const json_t *o, const char *rate, const char *low,
                      const char *high, const char *of) {
    const json_t *x = json_object_get(o, rate);
    printf("  %-22s ", what);
    if (!json_is_number(x))
        printf("not known yet");
    else
        printf("%.3f", json_number_value(x));
    if (json_is_number(json_object_get(o, low)) && json_is_number(json_object_get(o, high)))
        printf(" (%.3f to %.3f)", number_of(o, low, 0), number_of(o, high, 0));
    printf("%s%s\n", *of ? "  " : "", of);
}

static void print_agreement(const json_t *o) {
    json_t *x;
    size_t i;
    json_array_foreach(json_object_get(o, "agreement"), i, x) {
        CAI_AUTO(mem) char *of = cai_format("%lld %ss that several read; %s's kappa",
                                            (long long)integer_of(x, "items"), text_of(x, "kind"),
                                            text_of(x, "figure"));
        put_share("agreement", x, "kappa", "low", "high", of);
        put_share("", x, "alpha", "alpha_low", "alpha_high", "Krippendorff's alpha, ordinal");
    }
}

static void print_consensus(const json_t *o) {
    json_t *x, *r;
    size_t i, k;
    json_array_foreach(json_object_get(o, "consensus"), i, x) {
        json_array_foreach(json_object_get(x, "readers"), k, r) {
            CAI_AUTO(buf) struct cai_buf of = {0};
            const char *name = text_of(r, "name");
            cai_text_printable(&of, name, strlen(name), false);
            cai_buf_printf(&of, ": right, estimated from %lld %ss (Dawid and Skene)",
                           (long long)integer_of(r, "n"), text_of(x, "kind"));
            put_share(k || i ? "" : "consensus", r, "accuracy", "low", "high", of.data);
        }
        printf("  %-22s %lld of %lld decided %ss would be otherwise; what was decided stands\n", "",
               (long long)integer_of(x, "differ"), (long long)integer_of(x, "decided"),
               text_of(x, "kind"));
    }
}

static void print_help_effect(const json_t *o) {
    const json_t *help = json_object_get(o, "help");
    const json_t *aided = json_object_get(help, "aided"), *alone = json_object_get(help, "unaided");
    CAI_AUTO(mem) char *of = cai_format("flaws found: %lld of %lld with help, %lld of %lld without",
                                        (long long)integer_of(aided, "flawed"),
                                        (long long)integer_of(aided, "n"),
                                        (long long)integer_of(alone, "flawed"),
                                        (long long)integer_of(alone, "n"));
    put_share("help effect", help, "effect", "low", "high", of);
    CAI_AUTO(mem) char *firsts = cai_format("of %lld first verdicts",
                                            (long long)integer_of(help, "changed_n"));
    put_share("turned by help", help, "changed", "-", "-", firsts);
}

static void print_one(const json_t *o) {
    static const struct column queues[] = {
        {"ROUND", "round", CELL_NUMBER},       {"KIND", "kind", CELL_TEXT},
        {"WANTED", "required", CELL_COUNT},    {"FINAL", "done", CELL_COUNT},
        {"DRAWN", "items", CELL_COUNT},        {"SECOND", "second", CELL_COUNT},
        {"DISPUTED", "disputed", CELL_COUNT},  {"USED", "closed", CELL_BOOL}};
    static const struct column readers[] = {{"READER", "name", CELL_TEXT},
                                            {"VERDICTS", "verdicts", CELL_COUNT},
                                            {"SKIPS", "skips", CELL_COUNT},
                                            {"GOLD", "gold_rate", CELL_SHARE},
                                            {"OF", "gold_n", CELL_COUNT},
                                            {"TIME", "seconds", CELL_SECONDS}};
    const json_t *turned = json_object_get(o, "overturned"), *c = json_object_get(o, "critiques");
    json_t *list = json_object_get(o, "readers"), *x;
    size_t i;
    printf("Job %lld (", (long long)integer_of(o, "job"));
    print_text(text_of(o, "name"));
    printf("), %s\n", text_of(o, "state"));
    if (json_is_true(json_object_get(o, "waits")))
        print_prose(text_of(o, "reason"));
    print_rows(json_object_get(o, "queues"), queues, CAI_COUNT(queues));
    json_array_foreach(list, i, x) {
        json_t *gold = json_object_get(x, "gold");
        json_object_set(x, "gold_rate", json_object_get(gold, "rate"));
        json_object_set(x, "gold_n", json_object_get(gold, "n"));
    }
    if (json_array_size(list))
        print_rows(list, readers, CAI_COUNT(readers));
    print_agreement(o);
    print_consensus(o);
    print_help_effect(o);
    CAI_AUTO(mem) char *of = cai_format("%lld of %lld AI labels, by people who preferred the other",
                                        (long long)integer_of(turned, "turned"),
                                        (long long)integer_of(turned, "labels"));
    put_share("overturned", turned, "rate", "-", "-", of);
    printf("  %-22s %lld kept, %lld rejected, %lld edited\n", "critiques",
           (long long)integer_of(c, "kept"), (long long)integer_of(c, "rejected"),
           (long long)integer_of(c, "edited"));
}

static int run_progress(const struct args *a) {
    int64_t job;
    json_t *reply, *x;
    size_t i;
    if (!job_of(a, 0, &job))
        return EXIT_USAGE;
    int code = client_call("review.progress", of_job(job), false, &reply);
    if (code)
        return code;
    const json_t *jobs = json_object_get(reply, "jobs");
    if (globals.json)
        print_json(reply);
    else if (job)
        print_one(reply);
    else if (json_array_size(jobs) == 0)
        say("No job has asked people for anything (human.required in the job file)\n");
    else
        json_array_foreach(jobs, i, x) print_one(x);
    json_decref(reply);
    return EXIT_OK;
}

/* ---- export, audit, undo ------------------------------------------------------------------------ */

static int put_line(void *context, const json_t *row) {
    struct cai_buf *to = context;
    CAI_AUTO(mem) char *text = json_dumps(row, JSON_COMPACT);
    if (to)
        cai_buf_printf(to, "%s\n", text);
    else
        printf("%s\n", text);
    return 0;
}

static int run_export(const struct args *a) {
    const char *what = a->n > 1 ? a->positional[1] : "pairs", *out = args_get(a, "out");
    CAI_AUTO(buf) struct cai_buf text = {.max = (size_t)4 << 30};
    int64_t job;
    if (!job_of(a, 0, &job))
        return EXIT_USAGE;
    int code = data_pages("review.export", json_pack("{s:I, s:s}", "job", (json_int_t)job, "what",
                                                     what), -1, put_line, out ? &text : NULL);
    if (code || !out)
        return code;
    if (cai_buf_status(&text) < 0 ||
        cai_file_write_atomic(out, text.data ? text.data : "", text.len) < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    say("%s is written\n", out);
    return EXIT_OK;
}

static int run_audit(const struct args *a) {
    const char *head = args_get(a, "head");
    json_t *reply;
    int code = client_call("review.audit", head ? json_pack("{s:s}", "head", head) : json_object(),
                           false, &reply);
    if (code)
        return code;
    bool whole = json_is_true(json_object_get(reply, "whole"));
    bool lost = json_is_false(json_object_get(reply, "known"));
    if (globals.json)
        print_json(reply);
    else if (!whole)
        printf("Row %lld of the log of verdicts does not hold: %s.\n",
               (long long)integer_of(reply, "broken"), text_of(reply, "why"));
    else
        printf("%lld rows, each with the hash of the one before it. Head:\n%s\n",
               (long long)integer_of(reply, "rows"), text_of(reply, "head"));
    if (lost && !globals.json)
        printf("The head that was given is not among them: rows were taken away, or all of them "
               "made anew.\n");
    json_decref(reply);
    return whole && !lost ? EXIT_OK : EXIT_NEGATIVE;
}

static int run_undo(const struct args *a) {
    json_t *reply;
    (void)a;
    int code = client_call("review.undo", NULL, true, &reply);
    if (code)
        return code;
    if (globals.json)
        print_json(reply);
    else
        printf("Your %s of item %lld is taken back\n",
               strcmp(text_of(reply, "undone"), "skip") == 0 ? "skip" : "verdict",
               (long long)integer_of(reply, "id"));
    json_decref(reply);
    return EXIT_OK;
}

static int run_next(const struct args *a) {
    int64_t job;
    if (!job_of(a, 0, &job))
        return EXIT_USAGE;
    return review_session(job, args_has(a, "one"));
}

const struct command review_commands[] = {
    {"review next", "[JOB] [--one]", "one", 0, 1, run_next,
     "Read the next item that a job wants judged, and judge it",
     "  caictl review next\n  caictl review next 3\n",
     "  --one  end after one item\n\n"
     "The prompt and the replies are shown, then the model's critiques one by one (keep, reject,\n"
     "edit), then your verdict is asked, 1 to 7; of some items a first one before any critique.\n"
     "Your final verdict decides: it takes the place of the model's label in training. Every answer\n"
     "is kept as a draft at once: Ctrl-C loses nothing. s skips, u takes the last one back, q\n"
     "leaves, ? explains. With -o json the next item is printed, and nothing is asked.\n"},
    {"review list", "[JOB]", "", 0, 1, run_list, "List what you are asked to judge",
     "  caictl review list 3\n", NULL},
    {"review progress", "[JOB]", "", 0, 1, run_progress,
     "How far the review is, how readers agree, and what help changes",
     "  caictl review progress 3\n", NULL},
    {"review export", "JOB [pairs|audit] [--out FILE]", "out", 1, 2, run_export,
     "Print verdicts as JSON Lines",
     "  caictl review export 3 --out pairs.jsonl\n  caictl review export 3 audit\n",
     "  pairs  prompt, chosen, rejected as TRL reads them; what was decided, ties left out (default)\n"
     "  audit  every item as it was shown, and every row of the log with its hash\n"},
    {"review audit", "[--head HASH]", "head", 0, 0, run_audit,
     "Check that no verdict was changed since it was given",
     "  caictl review audit\n",
     "  --head HASH  a head that was printed before: whether it is still in the chain. Note it where\n"
     "               the daemon's machine cannot change it. Exit 1 when something does not hold\n"},
    {"review undo", "", "", 0, 0, run_undo,
     "Take your last verdict or skip back, unless training has used it",
     "  caictl review undo\n", NULL},
    {0},
};
