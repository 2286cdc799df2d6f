/* follow.c: commands that stay until something has happened: watch, wait, logs -f. They ask
 * again at intervals; a daemon that restarts meanwhile is waited for. */
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "caictl.h"
#include "input/schema.h"
#include "plot.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

static void nap(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

int follow_progress(int64_t id, json_t **ret) {
    int64_t end = cai_now_ms() + PATIENCE_MS;
    bool told = false;
    for (;;) {
        int code = client_try("progress", json_pack("{s:I}", "id", (json_int_t)id), false, ret);
        if (code != EXIT_UNREACHABLE || cai_now_ms() > end)
            return code ? complain(code, "%s", cai_error_text()) : 0;
        if (!told)
            say("caid does not answer; asking again for a minute\n");
        told = true;
        nap(1);
    }
}

int follow_ended(const json_t *p) {
    const char *state = text_of(p, "state");
    if (strcmp(state, "COMPLETED") == 0)
        return EXIT_OK;
    if (strcmp(state, "FAILED") == 0)
        return EXIT_NEGATIVE;
    return strcmp(state, "CANCELLED") == 0 ? EXIT_CANCELLED : -1;
}

static bool waits(const json_t *p) {
    return strcmp(text_of(p, "state"), "WAITING_REVIEW") == 0;
}

static int say_end(const json_t *p, int code) {
    CAI_AUTO(buf) struct cai_buf reason = {0};
    cell_text(&reason, json_object_get(p, "reason"), CELL_TEXT);
    if (code == EXIT_OK)
        say("Job %lld is complete; next: caictl report %lld\n", (long long)integer_of(p, "id"),
            (long long)integer_of(p, "id"));
    else
        complain(code, "job %lld is %s: %s", (long long)integer_of(p, "id"), text_of(p, "state"),
                 reason.data ? reason.data : "");
    return code;
}

static int say_waits(const json_t *p) {
    CAI_AUTO(buf) struct cai_buf reason = {0};
    const char *gate = text_of(p, "gate");
    long long id = (long long)integer_of(p, "id");
    cell_text(&reason, json_object_get(p, "reason"), CELL_TEXT);
    complain(EXIT_STATE, "job %lld waits for a person: %s", id, reason.data ? reason.data : "");
    if (!strstr(text_of(p, "reason"), "caictl resume"))
        say("To accept it: caictl resume %lld%s%s\n", id, *gate ? " --accept " : "", gate);
    return EXIT_STATE;
}

/* ---- wait ------------------------------------------------------------------------------------ */

int follow_wait(int64_t id, const char *state, double limit_s) {
    int64_t begun = cai_now_ms();
    for (;;) {
        json_t *p;
        int code = follow_progress(id, &p);
        if (code)
            return code;
        int end = follow_ended(p);
        bool there = state && strcmp(text_of(p, "state"), state) == 0;
        if (there || end >= 0 || (waits(p) && !state)) {
            code = there      ? EXIT_OK
                   : end >= 0 ? state ? EXIT_NEGATIVE : say_end(p, end)
                              : say_waits(p);
            json_decref(p);
            return code;
        }
        json_decref(p);
        if (limit_s >= 0 && (double)(cai_now_ms() - begun) / 1000 >= limit_s)
            return complain(EXIT_TIMEOUT, "job %lld did not get there in %.0f s", (long long)id,
                            limit_s);
        nap(0.5);
    }
}

static int run_wait(const struct args *a) {
    const char *target = args_get(a, "for"), *limit = args_get(a, "timeout");
    double seconds = -1;
    int first = EXIT_OK;
    if (target && strncmp(target, "state=", 6) != 0)
        return complain(EXIT_USAGE, "--for is written as state=RUNNING, not '%s'", target);
    if (limit)
        schema_number(limit, &seconds);
    for (size_t i = 0; i < a->n; i++) {
        int64_t id;
        if (!args_number("a job's id", a->positional[i], &id))
            return EXIT_USAGE;
        int code = follow_wait(id, target ? target + 6 : NULL, seconds);
        first = first ? first : code;
    }
    return first;
}

/* ---- watch ----------------------------------------------------------------------------------- */

struct watch {
    char stage[96];  /* what the present line speaks of */
    char title[160]; /* the same in words, for the line that stays when it is over */
    char state[24];
    int64_t begun_ms, printed_ms;
    int width; /* of the terminal; 0 = plain lines */
    size_t below; /* lines of figures under the line */
    struct living living;
};

static void put_figures(struct cai_buf *out, const json_t *figures) {
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)figures, name, v) {
        cai_buf_puts(out, "  ");
        cai_text_printable(out, name, strlen(name), false);
        cai_buf_putc(out, ' ');
        cell_text(out, v, CELL_NUMBER);
    }
}

static void put_bar(struct cai_buf *out, double share, int cells) {
    int full = (int)(share * cells + 0.5);
    cai_buf_puts(out, " [");
    for (int i = 0; i < cells; i++)
        cai_buf_putc(out, i < full ? '#' : '.');
    cai_buf_puts(out, "]");
}

/* "round 1 of 2  red team" */
static void put_title(struct cai_buf *out, const json_t *p) {
    int64_t round = integer_of(p, "round"), rounds = integer_of(p, "rounds");
    if (round > rounds)
        cai_buf_puts(out, "after all rounds  ");
    else
        cai_buf_printf(out, "round %lld of %lld  ", (long long)round, (long long)rounds);
    cell_text(out, json_object_get(p, *text_of(p, "title") ? "title" : "stage"), CELL_TEXT);
}

/* What a line shows beside its title and counts: cells of its bar, the rate, the figures. */
struct shape {
    int bar;
    bool rate, figures;
};

static void compose(struct cai_buf *out, const json_t *p, struct shape shape) {
    if (strcmp(text_of(p, "state"), "RUNNING") != 0 && !*text_of(p, "stage")) {
        cell_text(out, json_object_get(p, "state"), CELL_TEXT);
        cai_buf_puts(out, "  ");
        cell_text(out, json_object_get(p, "reason"), CELL_TEXT);
        return;
    }
    char left[32];
    double done = number_of(p, "done", 0), total = number_of(p, "total", 0);
    double share = total > 0 ? done / total : 0, rate = number_of(p, "rate", 0);
    put_title(out, p);
    bool runs = strcmp(text_of(p, "state"), "RUNNING") == 0;
    if (*text_of(p, "reason") && !waits(p)) { /* what it waits for, in place of figures */
        cai_buf_puts(out, "  ");
        cell_text(out, json_object_get(p, "state"), CELL_TEXT);
        cai_buf_puts(out, runs ? ", but " : ": ");
        cell_text(out, json_object_get(p, "reason"), CELL_TEXT);
        return;
    }
    if (shape.bar)
        put_bar(out, share, shape.bar);
    cai_buf_printf(out, "  %.0f of %.0f %s", done, total, text_of(p, "unit"));
    if (rate > 0 && shape.rate)
        cai_buf_printf(out, "  %.3g/s", rate);
    if (json_is_number(json_object_get(p, "eta_s"))) {
        cai_text_duration(left, sizeof left, number_of(p, "eta_s", 0));
        cai_buf_printf(out, "  %s left", left);
    }
    if (shape.figures)
        put_figures(out, json_object_get(p, "figures"));
}

/* At a terminal the time that is left must be seen: less important things give way to it. */
static void compose_in(struct cai_buf *out, const json_t *p, int width, bool figures) {
    static const struct shape shapes[] = {
        {20, true, true},   {20, true, false}, {10, true, false},
        {10, false, false}, {5, false, false}, {0, false, false}};
    for (size_t i = figures ? 0 : 1; i < CAI_COUNT(shapes); i++) {
        cai_buf_clear(out);
        compose(out, p, shapes[i]);
        if (plot_cells(out->data) < (size_t)width)
            return;
    }
}

/* Cuts to `width` characters. */
static void cut(struct cai_buf *b, int width) {
    size_t at = 0;
    for (int n = 0; at < b->len; at++)
        if (((unsigned char)b->data[at] & 0xC0) != 0x80 && ++n > width - 1)
            break;
    if (b->data)
        b->data[at] = '\0';
}

/* Back to the line, from the last of the figures below it. */
static void go_up(struct watch *w) {
    if (w->below)
        printf("\033[%zuA", w->below);
    w->below = 0;
}

enum { FIGURES_AT_MOST = 6, FIGURES_LEAST_ROWS = 10 };

/* The line, and the figures of a training below it: always at the same place. */
static void draw(struct watch *w, const char *line, const struct cai_buf *figures, size_t n) {
    go_up(w);
    printf("\r\033[J%s", line);
    const char *at = figures->data;
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(at, "\n");
        printf("\n%.*s", (int)len, at);
        at += len + 1;
    }
    w->below = n;
    fflush(stdout);
}

/* The line of what is over: its name and how long it took, in place of a bar cut short. */
static void finish_line(struct watch *w) {
    char spent[32];
    go_up(w);
    cai_text_duration(spent, sizeof spent, (double)(cai_now_ms() - w->begun_ms) / 1000);
    printf("\r\033[J%s  took %s\n", w->title, spent);
}

static void begin_line(struct watch *w, const char *stage, const json_t *p) {
    CAI_AUTO(buf) struct cai_buf title = {0};
    if (*text_of(p, "stage"))
        put_title(&title, p);
    else
        cell_text(&title, json_object_get(p, "state"), CELL_TEXT);
    snprintf(w->stage, sizeof w->stage, "%s", stage);
    snprintf(w->title, sizeof w->title, "%s", title.data ? title.data : "");
    w->begun_ms = cai_now_ms();
}

static void show_progress(struct watch *w, const json_t *p) {
    char stage[96], state[24];
    CAI_AUTO(buf) struct cai_buf line = {0};
    CAI_AUTO(buf) struct cai_buf figures = {0};
    int64_t now = cai_now_ms();
    size_t n = 0;
    snprintf(state, sizeof state, "%.20s", text_of(p, "state"));
    snprintf(stage, sizeof stage, "%lld/%.60s", (long long)integer_of(p, "round"),
             text_of(p, "stage"));
    bool changed = strcmp(stage, w->stage) != 0;
    bool other = changed || strcmp(state, w->state) != 0;
    if (w->width && terminal_height(STDOUT_FILENO) >= FIGURES_LEAST_ROWS) {
        living_take(&w->living, p);
        n = living_lines(&w->living, w->width, FIGURES_AT_MOST, &figures);
    }
    if (w->width) {
        compose_in(&line, p, w->width, n == 0);
        cut(&line, w->width);
        if (changed && *w->stage)
            finish_line(w);
        draw(w, line.data, &figures, n);
    } else if (other || now - w->printed_ms >= 30000) {
        compose(&line, p, (struct shape){.rate = true, .figures = true});
        printf("%s\n", line.data);
        fflush(stdout);
        w->printed_ms = now;
    }
    if (changed)
        begin_line(w, stage, p);
    memcpy(w->state, state, sizeof state);
}

/* The shell's next line is not to stand beside a figure. */
static void leave_line(int signal_number) {
    ssize_t n = write(STDOUT_FILENO, "\n", 1);
    (void)n;
    raise(signal_number); /* SA_RESETHAND: now it ends the program */
}

static int run_watch(const struct args *a) {
    struct watch w = {.width = terminal_width(STDOUT_FILENO)};
    const struct sigaction leave = {.sa_handler = leave_line, .sa_flags = (int)SA_RESETHAND};
    int64_t id;
    if (!args_number("a job's id", a->positional[0], &id))
        return EXIT_USAGE;
    if (w.width && !globals.json)
        sigaction(SIGINT, &leave, NULL);
    for (;;) {
        json_t *p;
        int code = follow_progress(id, &p);
        if (code)
            return code;
        int end = follow_ended(p);
        if (w.width) /* it may have been resized */
            w.width = terminal_width(STDOUT_FILENO);
        if (globals.json)
            print_line_json(p);
        else if (end < 0)
            show_progress(&w, p);
        if (end >= 0 || waits(p)) {
            if (w.width && *w.stage)
                finish_line(&w);
            code = end >= 0 ? say_end(p, end) : say_waits(p);
            json_decref(p);
            return code;
        }
        json_decref(p);
        nap(w.width ? 0.5 : 1);
    }
}

/* ---- logs ------------------------------------------------------------------------------------ */

static void print_event(const json_t *row) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    char at[32];
    cai_wall_iso(integer_of(row, "at_ms"), at);
    cell_text(&text, json_object_get(row, "text"), CELL_TEXT);
    printf("%s %-5s %s\n", at, text_of(row, "level"), text.data ? text.data : "");
}

/* One page; *after moves on. Returns rows, or -1 - exit code. */
static int64_t log_page(int64_t id, int64_t *after) {
    json_t *reply, *row;
    size_t i;
    int code = client_call("logs",
                           json_pack("{s:I, s:I, s:i}", "id", (json_int_t)id, "after",
                                     (json_int_t)*after, "limit", 200),
                           false, &reply);
    if (code)
        return -1 - code;
    json_t *rows = json_object_get(reply, "rows");
    json_array_foreach(rows, i, row) {
        if (globals.json)
            print_line_json(row);
        else
            print_event(row);
    }
    int64_t n = (int64_t)json_array_size(rows);
    *after = (int64_t)number_of(reply, "next", (double)*after);
    json_decref(reply);
    fflush(stdout);
    return n;
}

static int run_logs(const struct args *a) {
    int64_t id, after = 0, n;
    if (!args_number("a job's id", a->positional[0], &id))
        return EXIT_USAGE;
    do {
        n = log_page(id, &after);
        if (n == 0 && args_has(a, "follow"))
            nap(1);
    } while (n > 0 || (n == 0 && args_has(a, "follow")));
    return n < 0 ? (int)(-1 - n) : EXIT_OK;
}

const struct command follow_commands[] = {
    {"watch", "ID", "", 1, 1, run_watch,
     "Show a job's progress until it ends or waits for a person",
     "  caictl watch 1\n  caictl watch 1 -o json\n"},
    {"wait", "ID… [--for state=STATE] [--timeout SECONDS]", "for", 1, ARGS_MAX, run_wait,
     "Wait for jobs; the exit code says how they ended",
     "  caictl wait 1 && echo done\n  caictl wait 1 --for state=RUNNING --timeout 60\n",
     "Ends with 0 when the job is COMPLETED, 1 FAILED, 20 CANCELLED, 7 when it waits for a person,\n"
     "8 when the time is up. With --for: 0 when that state is reached, 1 when the job ended "
     "without.\n"},
    {"logs", "ID [-f | --follow]", "follow", 1, 1, run_logs, "What happened to a job",
     "  caictl logs 1\n  caictl logs 1 -f\n"},
    {0}};
