/* people.c: commands by which people share one daemon: hold release suspend update shares. */
#include "caictl.h"
#include "input/schema.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run_hold(const struct args *a) { return job_each(a, "hold", NULL, "held"); }
static int run_release(const struct args *a) { return job_each(a, "release", NULL, "released"); }
static int run_suspend(const struct args *a) {
    return job_each(a, "suspend", NULL, "stops at its next durable point");
}

static int run_update(const struct args *a) {
    static const char word[] = "priority=";
    const char *text = a->positional[1];
    int64_t id, priority = 0;
    json_t *reply;
    if (!args_number("a job's id", a->positional[0], &id))
        return EXIT_USAGE;
    if (strncmp(text, word, strlen(word)) != 0 || !schema_integer(text + strlen(word), &priority))
        return complain(EXIT_USAGE, "'%s': expected priority=N; what else a job is, it was when it "
                                    "was submitted", text);
    int code = client_call("update", json_pack("{s:I, s:I}", "id", (json_int_t)id, "priority",
                                               (json_int_t)priority), true, &reply);
    if (code)
        return code;
    if (globals.json)
        print_json(reply);
    else
        printf("Job %lld has priority %lld\n", (long long)id, (long long)priority);
    json_decref(reply);
    return EXIT_OK;
}

static int run_shares(const struct args *a) {
    static const struct column columns[] = {
        {"USER", "user", CELL_TEXT},       {"SHARE", "share", CELL_SHARE},
        {"USED", "seconds", CELL_SECONDS}, {"WORKERS", "workers", CELL_NUMBER},
        {"JOBS", "jobs", CELL_NUMBER}};
    json_t *reply;
    (void)a;
    int code = client_call("shares", NULL, false, &reply);
    return code ? code : print_reply(reply, columns, CAI_COUNT(columns));
}

const struct command people_commands[] = {
    {"hold", "ID…", "", 1, ARGS_MAX, run_hold, "Keep jobs that have not begun from starting",
     "  caictl hold 4 5\n", "Also `caictl submit --hold`. `caictl release` lets them start.\n"},
    {"release", "ID…", "", 1, ARGS_MAX, run_release, "Let held jobs start when it is their turn",
     "  caictl release 4 5\n", NULL},
    {"suspend", "ID…", "", 1, ARGS_MAX, run_suspend,
     "Stop running jobs at their next durable point, so that others have their workers",
     "  caictl suspend 3\n",
     "Training ends its step and saves its state, other tasks end; `caictl resume` lets the job go\n"
     "on from there, to the same bytes. A restart of the daemon changes nothing of this.\n"},
    {"update", "ID priority=N", "", 2, 2, run_update, "Change what can be changed of a job",
     "  caictl update 3 priority=10\n",
     "Of one person's jobs the one with the higher priority (-100 to 100) goes first; between\n"
     "people it decides nothing: see `caictl shares`.\n"},
    {"shares", "", "", 0, 0, run_shares,
     "Worker time by person: whoever has used least goes first",
     "  caictl shares\n", "Used time fades: see half_life_min in caid.conf(5).\n"},
    {0}};
