/* jobs.c: submit, and what is done to jobs and asked of them: jobs show cancel resume requeue
 * workers. */
#include "base/error.h"
#include "hf/memory.h"
#include "local.h"
#include "rehearse.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- submit ------------------------------------------------------------------------------------
 */

/* A constitution that the daemon keeps: its text is fetched, so that its numbers count and the
 * job is checked against it before it is sent. */
static int fetch_constitution(struct local_job *l) {
    json_t *reply;
    int code = client_call("constitution.show", json_pack("{s:s}", "ref", l->job->constitution),
                           false, &reply);
    if (code)
        return code;
    const char *text = text_of(reply, "canonical");
    struct input_report report = {.file = l->job->constitution};
    constitution_parse(l->job->constitution, text, strlen(text), NULL, &report, &l->constitution);
    json_decref(reply);
    code = show_findings(&report);
    if (code == 0)
        job_adopt(l->job, l->constitution->revisions, l->constitution->per_comparison);
    return code;
}

static json_t *submission(const struct local_job *l, bool hold) {
    CAI_AUTO(buf) struct cai_buf canonical = {0};
    json_t *o = json_pack("{s:o, s:b}", "spec", job_to_json(l->job), "hold", hold);
    if (l->job->constitution[0] != '/')
        return o;
    constitution_canonical(l->constitution, &canonical);
    json_object_set_new(o, "canonical", json_string(canonical.data));
    json_object_set_new(o, "source", json_string(l->job->constitution));
    return o;
}

/* What each kind of the job's work takes of a worker's memory. */
static void print_memory(const json_t *memory) {
    size_t i;
    json_t *row;
    char size[16];
    hf_memory_text(integer_of(memory, "bytes"), size, sizeof size);
    say("Each worker needs %s of memory:\n", size);
    json_array_foreach(json_object_get(memory, "phases"), i, row) {
        hf_memory_text(integer_of(row, "bytes"), size, sizeof size);
        say("  %-10s %8s: %s\n", text_of(row, "phase"), size, text_of(row, "text"));
    }
    if (json_is_null(json_object_get(memory, "workers")))
        say("No worker is connected; if none that comes has so much, the job ends before its "
            "first task\n");
}

static void print_submitted(const struct args *a, json_t *reply) {
    /* The reply's warnings are those that the check of the file has printed (W201, W202). */
    long long id = (long long)integer_of(reply, "id");
    if (globals.json) {
        print_json(reply);
    } else if (args_has(a, "parsable")) {
        printf("%lld\n", id);
    } else {
        printf("Submitted job %lld\n", id);
        print_memory(json_object_get(reply, "memory"));
        say("Next: caictl watch %lld\n", id);
    }
}

static int submit(const struct args *a, struct local_job *l) {
    json_t *reply;
    int64_t smoke = 0;
    if (args_has(a, "smoke") && !args_number("--smoke", args_get(a, "smoke"), &smoke))
        return EXIT_USAGE;
    if (args_has(a, "smoke") && (smoke < 1 || args_has(a, "dry-run") || args_has(a, "hold")))
        return complain(EXIT_USAGE, "--smoke takes a number of prompts, 8 say, and goes neither with "
                                    "--dry-run nor with --hold");
    if (args_has(a, "dry-run") && !globals.quiet)
        local_print_job(l);
    int code = l->constitution ? 0 : fetch_constitution(l);
    if (code)
        return code;
    json_t *o = submission(l, args_has(a, "hold"));
    if (args_has(a, "dry-run")) {
        json_object_del(o, "hold");
        return rehearse_dry_run(o);
    }
    if (smoke) {
        json_object_set_new(o, "smoke", json_integer(smoke));
        return rehearse_smoke(o);
    }
    code = client_call("submit", o, true, &reply);
    if (code)
        return code;
    print_submitted(a, reply);
    int64_t id = integer_of(reply, "id");
    json_decref(reply);
    return args_has(a, "wait") ? follow_wait(id, NULL, -1) : EXIT_OK;
}

static int run_submit(const struct args *a) {
    struct local_job l;
    char *sets[ARGS_MAX];
    size_t n = local_sets(a, sets, ARGS_MAX);
    int code = local_job_load(a->positional[0], (const char *const *)sets, n, &l);
    for (size_t i = 0; i < n; i++)
        free(sets[i]);
    if (code == 0)
        code = submit(a, &l);
    local_job_free(&l);
    return code;
}

/* ---- lists
 * --------------------------------------------------------------------------------------- */

/* "1/2 label": the round of how many, and the stage. What comes after the rounds belongs to
 * the last. */
static json_t *place_of(const json_t *p) {
    int64_t round = integer_of(p, "round"), rounds = integer_of(p, "rounds");
    if (!*text_of(p, "stage"))
        return json_null();
    return json_sprintf("%lld/%lld %s", (long long)(round > rounds ? rounds : round),
                        (long long)rounds, text_of(p, "stage"));
}

/* Cells that are put together from several members of PROGRESS, for the table alone. */
static void add_cells(json_t *rows) {
    size_t i;
    json_t *p;
    json_array_foreach(rows, i, p) {
        double total = number_of(p, "total", 0);
        json_object_set_new(p, "place", place_of(p));
        json_object_set_new(p, "step", total > 0 ? json_sprintf("%.0f/%.0f %s",
                                                                number_of(p, "done", 0), total,
                                                                text_of(p, "unit"))
                                                 : json_null());
    }
}

enum { JOBS_SHOWN = 100 };

static int run_jobs(const struct args *a) {
    static const struct column columns[] = {
        {"ID", "id", CELL_NUMBER},       {"NAME", "name", CELL_TEXT},
        {"USER", "user", CELL_TEXT},
        {"STATE", "state", CELL_TEXT},   {"STAGE", "place", CELL_TEXT},
        {"STEP", "step", CELL_TEXT},     {"LEFT", "eta_s", CELL_SECONDS},
        {"TOOK", "elapsed_s", CELL_SECONDS}, {"WORKERS", "workers", CELL_NUMBER},
        {"REASON", "reason", CELL_TEXT}};
    json_t *reply, *o = json_pack("{s:b}", "all", args_has(a, "all"));
    if (args_has(a, "state"))
        json_object_set_new(o, "state", json_string(args_get(a, "state")));
    if (args_has(a, "user"))
        json_object_set_new(o, "user", json_string(args_get(a, "user")));
    int64_t limit = args_has(a, "all") ? -1 : JOBS_SHOWN;
    if (args_has(a, "limit") && !args_number("--limit", args_get(a, "limit"), &limit)) {
        json_decref(o);
        return EXIT_USAGE;
    }
    if (limit >= 0)
        json_object_set_new(o, "limit", json_integer(limit + 1)); /* one more tells that there is */
    json_t *rows;
    int code = data_rows("jobs", o, limit < 0 ? -1 : limit + 1, &rows);
    if (code) {
        json_decref(rows);
        return code;
    }
    bool more = limit >= 0 && json_array_size(rows) > (size_t)limit;
    if (more)
        json_array_remove(rows, (size_t)limit);
    if (more)
        say("These are the first %lld; -a shows all, --limit N more\n", (long long)limit);
    reply = json_pack("{s:o}", "rows", rows);
    if (!globals.json)
        add_cells(json_object_get(reply, "rows"));
    return print_reply(reply, columns, CAI_COUNT(columns));
}

static int run_workers(const struct args *a) {
    static const struct column columns[] = {{"NAME", "name", CELL_TEXT},
                                            {"HOST", "host", CELL_TEXT},
                                            {"PID", "pid", CELL_NUMBER},
                                            {"STATE", "state", CELL_TEXT},
                                            {"JOB", "job", CELL_NUMBER},
                                            {"STAGE", "stage", CELL_TEXT},
                                            {"RANK", "rank", CELL_NUMBER},
                                            {"HEARTBEAT", "heartbeat_s", CELL_SECONDS},
                                            {"CLASS", "numeric_class", CELL_TEXT},
                                            {"VERSION", "version", CELL_TEXT},
                                            {"REASON", "reason", CELL_TEXT}};
    json_t *reply;
    (void)a;
    int code = client_call("workers", NULL, false, &reply);
    return code ? code : print_reply(reply, columns, CAI_COUNT(columns));
}

/* ---- one job
 * ----------------------------------------------------------------------------------------- */

/* A line of its own, unless there is nothing to say. */
static void put_member(const char *title, const json_t *value, enum cell kind) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (value && !json_is_null(value))
        cell_text(&text, value, kind);
    if (text.len)
        printf("%-14s %s\n", title, text.data);
}

/* "after" for what comes after the rounds. */
static void name_rounds(json_t *rows, int64_t rounds) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (integer_of(row, "round") > rounds)
            json_object_set_new(row, "round", json_string("after"));
        else if (integer_of(row, "round") == 0)
            json_object_set_new(row, "round", json_string("before"));
    }
}

static void print_show(json_t *o) {
    static const struct column head[] = {{"job", "id", CELL_NUMBER},
                                         {"name", "name", CELL_TEXT},
                                         {"user", "user", CELL_TEXT},
                                         {"priority", "priority", CELL_NUMBER},
                                         {"state", "state", CELL_TEXT},
                                         {"reason", "reason", CELL_TEXT},
                                         {"waits for", "gate", CELL_TEXT},
                                         {"stage", "place", CELL_TEXT},
                                         {"title", "title", CELL_TEXT},
                                         {"constitution", "revision", CELL_TEXT},
                                         {"class", "numeric_class", CELL_TEXT},
                                         {"submitted", "submitted_ms", CELL_TIME},
                                         {"started", "started_ms", CELL_TIME},
                                         {"finished", "finished_ms", CELL_TIME},
                                         {"folder", "work_dir", CELL_TEXT},
                                         {"accepted", "accepted", CELL_TEXT},
                                         {"ledger", "ledger", CELL_TEXT}};
    static const struct column stages[] = {{"ROUND", "round", CELL_NUMBER},
                                           {"STAGE", "stage", CELL_TEXT},
                                           {"STATE", "state", CELL_TEXT}};
    static const struct column models[] = {
        {"ROUND", "round", CELL_NUMBER}, {"STAGE", "stage", CELL_TEXT}, {"KIND", "kind", CELL_TEXT},
        {"K", "k", CELL_NUMBER},         {"STEP", "step", CELL_NUMBER}, {"HASH", "hash", CELL_TEXT},
        {"PATH", "path", CELL_TEXT}};
    static const struct column rates[] = {{"STAGE", "stage", CELL_TEXT},
                                          {"RATE", "rate", CELL_TEXT},
                                          {"GRADER", "grader", CELL_TEXT},
                                          {"VERIFIED", "verified", CELL_BOOL},
                                          {"CHECKED", "check", CELL_TEXT}};
    json_object_set_new(o, "place", place_of(o));
    name_rounds(json_object_get(o, "stages"), integer_of(o, "rounds"));
    name_rounds(json_object_get(o, "models"), integer_of(o, "rounds"));
    for (size_t i = 0; i < CAI_COUNT(head); i++)
        put_member(head[i].title, json_object_get(o, head[i].key), head[i].kind);
    putchar('\n');
    print_rows(json_object_get(o, "stages"), stages, CAI_COUNT(stages));
    if (json_array_size(json_object_get(o, "models"))) {
        putchar('\n');
        print_rows(json_object_get(o, "models"), models, CAI_COUNT(models));
    }
    if (json_array_size(json_object_get(o, "rates"))) {
        putchar('\n');
        print_rows(json_object_get(o, "rates"), rates, CAI_COUNT(rates));
    }
}

static int run_show(const struct args *a) {
    json_t *reply;
    int64_t id;
    if (!args_number("a job's id", a->positional[0], &id))
        return EXIT_USAGE;
    int code = client_call("show", json_pack("{s:I}", "id", (json_int_t)id), false, &reply);
    if (code)
        return code;
    if (globals.json)
        print_json(reply);
    else if (args_has(a, "spec"))
        print_json(json_object_get(reply, "spec"));
    else
        print_show(reply);
    json_decref(reply);
    return EXIT_OK;
}

int job_each(const struct args *a, const char *verb, const char *accept, const char *done) {
    int first = EXIT_OK;
    for (size_t i = 0; i < a->n; i++) {
        json_t *reply, *o;
        int64_t id;
        if (!args_number("a job's id", a->positional[i], &id))
            return EXIT_USAGE;
        o = json_pack("{s:I}", "id", (json_int_t)id);
        if (accept)
            json_object_set_new(o, "accept", json_string(accept));
        int code = client_call(verb, o, true, &reply);
        first = first ? first : code;
        if (code)
            continue;
        if (globals.json)
            print_json(reply);
        else
            printf("Job %lld %s; it is now %s\n", (long long)id, done, text_of(reply, "state"));
        json_decref(reply);
    }
    return first;
}

static int run_cancel(const struct args *a) {
    return job_each(a, "cancel", NULL, "cancelled");
}
static int run_requeue(const struct args *a) {
    return job_each(a, "requeue", NULL, "queued again");
}
static int run_rollback(const struct args *a) {
    const char *to = args_get(a, "to");
    json_t *reply;
    int64_t id, round;
    if (!args_number("a job's id", a->positional[0], &id))
        return EXIT_USAGE;
    if (!to)
        return complain(EXIT_USAGE, "rollback needs --to ROUND; 'caictl report %lld' shows the rounds",
                        (long long)id);
    if (!args_number("--to", to, &round))
        return EXIT_USAGE;
    int code = client_call("rollback", json_pack("{s:I, s:I}", "id", (json_int_t)id, "to",
                                                 (json_int_t)round), true, &reply);
    if (code)
        return code;
    if (globals.json)
        print_json(reply);
    else
        printf("Job %lld goes on with the policy of round %lld; it is now %s\n", (long long)id,
               (long long)round, text_of(reply, "state"));
    json_decref(reply);
    return EXIT_OK;
}
static int run_resume(const struct args *a) {
    return job_each(a, "resume", args_get(a, "accept"), "resumed");
}

const struct command job_commands[] = {
    {"submit",
     "FILE [--set PATH=VALUE]… [--constitution REF] [--seed N] [--name NAME] [--hold]\n"
     "       [--wait] [--parsable] [--dry-run] [--smoke N]",
     "set constitution seed name hold wait parsable dry-run smoke", 1, 1, run_submit,
     "Check a job with all it names, then start it",
     "  caictl submit job.yaml\n  caictl submit job.yaml --set stages.ppo=off --constitution "
     "my.yaml\n"
     "  id=$(caictl submit job.yaml --parsable) && caictl wait $id\n",
     "  --set PATH=VALUE    change a setting of the file: --set stages.sft.lr=2e-5\n"
     "  --hold              keep it from starting until `caictl release`\n"
     "  --wait              stay until it ends; the exit code is that of `caictl wait`\n"
     "  --parsable          print the id alone\n"
     "  --dry-run           say what it would take: time, tokens, memory and disk by stage, from\n"
     "                      30 s of measuring on a worker; nothing is started\n"
     "  --smoke N           run every stage once on N prompts, as a job of its own, and say what\n"
     "                      each did; what a gate or guard says of so few prompts is passed over\n"},
    {"jobs", "[-a | --all] [--state STATE] [--user NAME] [--limit N]", "all state user limit", 0, 0, run_jobs,
     "List jobs",
     "  caictl jobs\n  caictl jobs -a -o json\n",
     "  -a, --all      every one, also those that ended more than an hour ago\n"
     "  --limit N      at most so many (100), those that were submitted first\n"
     "  --state STATE  PENDING, HELD, RUNNING, WAITING_REVIEW, SUSPENDED, COMPLETED, FAILED or\n"
     "                 CANCELLED\n"
     "  --user NAME    only this person's\n"},
    {"show", "ID [--spec]", "spec", 1, 1, run_show,
     "All about one job: stages, models, hashes, why it waits",
     "  caictl show 1\n  caictl show 1 --spec\n",
     "  --spec  the job file as it is in force, with every default, as JSON\n"},
    {"cancel", "ID…", "yes", 1, ARGS_MAX, run_cancel, "Stop jobs at once; `requeue` lets them go on",
     "  caictl cancel 1\n  caictl cancel 1 2 3\n", NULL},
    {"resume", "ID… [--accept GATE]", "accept", 1, ARGS_MAX, run_resume,
     "Let a job that waits go on, accepting what it waits for",
     "  caictl resume 1\n  caictl resume 1 --accept overseer\n",
     "  --accept GATE  what a person has looked at and accepts, as the job names it:\n"
     "                 revise    what the overseer wrote passed a limit (stages.revise.max_…)\n"
     "                 overseer  it is not above chance, or does not answer with the options\n"
     "                 label     the labels passed a limit (stages.label.…)\n"
     "                 prefer    the preference model is not above chance\n"
     "                 guard-N-NAME  the guard NAME tripped in round N; guard-N: all of that round's\n"
     "                 review-N, texts-N, grades-N, reaudit-N  people's verdicts of round N that are still\n"
     "                           wanted (human.…): go on with those that are in\n"},
    {"rollback", "ID --to ROUND", "to", 1, 1, run_rollback,
     "Let a job that a guard stopped go on with an earlier round's model",
     "  caictl rollback 1 --to 1\n",
     "  --to ROUND  whose model to take up again; 0 = the start. The later ones are kept\n"},
    {"requeue", "ID…", "", 1, ARGS_MAX, run_requeue,
     "Let a failed or cancelled job go on where it was", "  caictl requeue 1\n"},
    {"workers", "", "", 0, 0, run_workers, "List workers", "  caictl workers\n"},
    {0}};
