/* rehearse.c: a job before it is run in earnest: what it would take (--dry-run), and every stage
 * once on a few prompts (--smoke). Not for: measuring (caid's run/estimate.c). */
#include "rehearse.h"

#include "caictl.h"
#include "hf/memory.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- dry run ------------------------------------------------------------------------------- */

static int await(json_int_t ticket, json_t **ret) {
    bool waited = false;
    for (;;) {
        const struct timespec pause = {0, 300000000};
        int code = client_call("estimated", json_pack("{s:I}", "ticket", ticket), false, ret);
        if (code || !json_is_true(json_object_get(*ret, "pending")))
            break;
        const char *doing = text_of(*ret, "doing"), *stage = text_of(*ret, "stage");
        if (terminal_width(2))
            say("\r%-24s %-24s", doing, stage);
        else if (!waited && !*stage)
            say("%s\n", doing);
        waited = true;
        json_decref(*ret);
        *ret = NULL;
        nanosleep(&pause, NULL);
    }
    if (terminal_width(2) && waited)
        say("\r%50s\r", "");
    return *ret ? EXIT_OK : EXIT_DAEMON;
}

static json_t *bytes_text(const json_t *row, const char *key) {
    char text[16];
    int64_t n = integer_of(row, key);
    hf_memory_text(n, text, sizeof text);
    return n > 0 ? json_string(text) : json_null();
}

static json_t *place(const json_t *row, int64_t rounds) {
    int64_t round = integer_of(row, "round");
    return round > rounds ? json_string("after") : json_integer(round);
}

/* Cells that are put together from several members, for the table alone. */
static void add_cells(json_t *row, int64_t rounds) {
    json_object_set_new(row, "place", place(row, rounds));
    json_object_set_new(row, "holds", bytes_text(row, "memory"));
    json_object_set_new(row, "leaves", bytes_text(row, "disk"));
    json_object_set_new(row, "mark", json_string(json_is_true(json_object_get(row, "guessed"))
                                                     ? "in part not measured" : ""));
}

static void print_table(json_t *e, int64_t rounds) {
    static const struct column columns[] = {
        {"ROUND", "place", CELL_TEXT},      {"STAGE", "stage", CELL_TEXT},
        {"TIME", "seconds", CELL_SECONDS},  {"AT LEAST", "low", CELL_SECONDS},
        {"AT MOST", "high", CELL_SECONDS},  {"WRITTEN", "generated", CELL_COUNT},
        {"READ", "read", CELL_COUNT},       {"LEARNED", "trained", CELL_COUNT},
        {"MEMORY", "holds", CELL_TEXT},     {"DISK", "leaves", CELL_TEXT},
        {"", "mark", CELL_TEXT}};
    json_t *rows = json_object_get(e, "rows"), *row, *total = json_copy(json_object_get(e, "total"));
    size_t i;
    json_array_foreach(rows, i, row) add_cells(row, rounds);
    json_object_set_new(total, "stage", json_string("all"));
    json_object_set_new(total, "guessed", json_false());
    add_cells(total, rounds);
    json_object_set_new(total, "place", json_string(""));
    json_array_append_new(rows, total);
    print_rows(rows, columns, CAI_COUNT(columns));
}

static void print_room(const json_t *e) {
    const json_t *disk = json_object_get(e, "disk"), *memory = json_object_get(e, "memory");
    char need[16], room[16];
    hf_memory_text(integer_of(memory, "bytes"), need, sizeof need);
    hf_memory_text(integer_of(memory, "workers"), room, sizeof room);
    printf("\nMemory by the models' config.json alone: %s at most in each worker (%s)", need,
           text_of(memory, "peak"));
    if (integer_of(memory, "workers") > 0)
        printf("; the largest here has %s", room);
    hf_memory_text(integer_of(disk, "bytes"), need, sizeof need);
    printf(".\nDisk, models and states: %s (%s)", need, text_of(disk, "text"));
    hf_memory_text(integer_of(disk, "free"), room, sizeof room);
    if (integer_of(disk, "free") > 0)
        printf("; %s are free", room);
    printf(".\n");
}

static void print_estimate(json_t *e, int64_t rounds) {
    json_t *line;
    size_t i;
    print_table(e, rounds);
    print_room(e);
    printf("\nTokens: written by models, read by them, learned from (each pass).\n");
    json_array_foreach(json_object_get(e, "assumptions"), i, line) {
        printf("- ");
        print_text(json_string_value(line));
        putchar('\n');
    }
}

int rehearse_dry_run(json_t *submission) {
    json_t *reply = NULL;
    int64_t rounds = integer_of(json_object_get(submission, "spec"), "rounds");
    int code = client_call("estimate", submission, true, &reply);
    if (code)
        return code;
    json_int_t ticket = (json_int_t)integer_of(reply, "ticket");
    json_decref(reply);
    reply = NULL;
    code = await(ticket, &reply);
    if (code)
        return code;
    json_t *e = json_object_get(reply, "estimate");
    if (globals.json)
        print_json(e);
    else
        print_estimate(e, rounds);
    say("Nothing was started (--dry-run)\n");
    json_decref(reply);
    return EXIT_OK;
}

/* ---- smoke ----------------------------------------------------------------------------------- */

/* Until it ends; a gate that waits is accepted, and said. */
static int run_through(int64_t id, bool *ret_waited) {
    *ret_waited = false;
    for (;;) {
        json_t *p = NULL, *reply = NULL;
        int code = client_call("progress", json_pack("{s:I}", "id", (json_int_t)id), false, &p);
        if (code)
            return code;
        const char *state = text_of(p, "state"), *gate = text_of(p, "gate");
        bool waits = strcmp(state, "WAITING_REVIEW") == 0;
        bool over = strcmp(state, "COMPLETED") == 0;
        bool ended = over || strcmp(state, "FAILED") == 0 || strcmp(state, "CANCELLED") == 0;
        if (waits) {
            *ret_waited = true;
            say("passed over: %s\n", text_of(p, "reason"));
            code = client_call("resume", json_pack("{s:I, s:s}", "id", (json_int_t)id, "accept",
                                                   gate), true, &reply);
            json_decref(reply);
        } else if (ended && !over) {
            code = complain(EXIT_NEGATIVE, "job %lld is %s: %s", (long long)id, state,
                            text_of(p, "reason"));
        }
        json_decref(p);
        if (code || ended)
            return code;
        const struct timespec pause = {0, 200000000};
        nanosleep(&pause, NULL);
    }
}

/* What a stage's figures say in a few words: the first that it has of these. */
static const struct {
    const char *stage, *name, *format;
} told[] = {{"red_team", "candidates", "%.0f candidates"},
            {"red_team", "prompts", "%.0f prompts"},
            {"revise", "prompts", "%.0f prompts"},
            {"revise", "critiques", "%.0f critiques"},
            {"revise", "revisions", "%.0f revisions"},
            {"consist", "questions", "%.0f questions"},
            {"consist", "kept_questions", "%.0f kept"},
            {"sft", "rows", "%.0f rows"},
            {"sft", "loss", "loss %.3g"},
            {"label", "pairs", "%.0f pairs"},
            {"label", "labels", "%.0f labels"},
            {"prefer", "rows", "%.0f rows"},
            {"prefer", "loss", "loss %.3g"},
            {"evaluate", "replies", "%.0f replies"},
            {"evaluate", "harmful_rate", "harmful %.2f"},
            {"ppo", "prompts", "%.0f prompts"},
            {"ppo", "reward", "reward %.3g"},
            {"ppo", "kl", "KL %.3g"}};

/* Of several steps the last. */
static double figure(const json_t *rows, int64_t round, const char *stage, const char *name,
                     bool *ret_found) {
    size_t i;
    json_t *row;
    double value = 0;
    *ret_found = false;
    json_array_foreach(rows, i, row) {
        if (integer_of(row, "round") != round || strcmp(text_of(row, "stage"), stage) != 0 ||
            strcmp(text_of(row, "name"), name) != 0)
            continue;
        value = number_of(row, "value", 0);
        *ret_found = true;
    }
    return value;
}

static json_t *words_of(const json_t *metrics, int64_t round, const char *stage) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; i < CAI_COUNT(told); i++) {
        bool found = false;
        if (strcmp(told[i].stage, stage) != 0)
            continue;
        double value = figure(metrics, round, stage, told[i].name, &found);
        if (!found)
            continue;
        char one[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(one, sizeof one, told[i].format, value);
#pragma GCC diagnostic pop
        cai_buf_printf(&text, "%s%s", text.len ? ", " : "", one);
    }
    return json_string(text.len ? text.data : "");
}

/* Phases summed up by stage. */
static json_t *sum_stages(const json_t *phases, const json_t *metrics) {
    json_t *rows = json_array(), *p;
    size_t i;
    json_array_foreach(json_object_get(phases, "rows"), i, p) {
        json_t *last = json_array_get(rows, json_array_size(rows) ? json_array_size(rows) - 1 : 0);
        bool same = last && strcmp(text_of(last, "stage"), text_of(p, "stage")) == 0 &&
                    integer_of(last, "round") == integer_of(p, "round");
        if (!same) {
            last = json_pack("{s:I, s:s, s:i, s:i, s:f, s:i}", "round", (json_int_t)integer_of(p, "round"),
                             "stage", text_of(p, "stage"), "tasks", 0, "tokens", 0, "seconds", 0.0,
                             "memory", 0);
            json_object_set_new(last, "did", words_of(metrics, integer_of(p, "round"),
                                                      text_of(p, "stage")));
            json_array_append_new(rows, last);
        }
        json_object_set_new(last, "tasks", json_integer(integer_of(last, "tasks") +
                                                        integer_of(p, "tasks")));
        json_object_set_new(last, "tokens", json_integer(integer_of(last, "tokens") +
                                                         integer_of(p, "tokens")));
        json_object_set_new(last, "seconds", json_real(number_of(last, "seconds", 0) +
                                                       number_of(p, "seconds", 0)));
        if (integer_of(p, "memory") > integer_of(last, "memory"))
            json_object_set(last, "memory", json_object_get(p, "memory"));
        json_object_set_new(last, "holds", bytes_text(last, "memory"));
    }
    return rows;
}

static int print_what_was_done(int64_t id, int code) {
    static const struct column columns[] = {
        {"ROUND", "round", CELL_NUMBER},     {"STAGE", "stage", CELL_TEXT},
        {"TASKS", "tasks", CELL_COUNT},      {"SECONDS", "seconds", CELL_NUMBER},
        {"TOKENS", "tokens", CELL_COUNT},    {"MEMORY", "holds", CELL_TEXT},
        {"DID", "did", CELL_TEXT}};
    json_t *phases = NULL, *metrics = NULL;
    int rc = client_call("phases", json_pack("{s:I}", "id", (json_int_t)id), false, &phases);
    if (rc == 0)
        rc = data_rows("metrics", json_pack("{s:I}", "id", (json_int_t)id), -1, &metrics);
    if (rc == 0) {
        json_t *o = json_pack("{s:I, s:b, s:o}", "id", (json_int_t)id, "ok", code == 0, "rows",
                              sum_stages(phases, metrics));
        print_reply(o, columns, CAI_COUNT(columns));
    }
    json_decref(phases);
    json_decref(metrics);
    return rc ? rc : code;
}

int rehearse_smoke(json_t *submission) {
    json_t *reply = NULL;
    bool waited;
    int code = client_call("submit", submission, true, &reply);
    if (code)
        return code;
    int64_t id = integer_of(reply, "id");
    say("Job %lld, %s: every stage once\n", (long long)id, text_of(reply, "name"));
    json_decref(reply);
    code = run_through(id, &waited);
    if (code && code != EXIT_NEGATIVE)
        return code;
    code = print_what_was_done(id, code);
    if (code == 0)
        say("Every stage ran%s; figures of so few prompts say nothing of quality\n",
            waited ? ", what waited was passed over" : "");
    return code;
}
