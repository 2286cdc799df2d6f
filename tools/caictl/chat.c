/* chat.c: a talk with a model in the terminal. A reply is shown as it is written, made inert: no
 * control character of it reaches the terminal.
 *
 * States: asks (a line is read; Ctrl-C says how to leave) → replies (pieces are shown; Ctrl-C ends
 * the reply, which stays as far as it came) → asks. The end of input leaves. */
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "look.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct talk {
    struct child child;
    json_t *messages;
    const char *system;
    bool person; /* at a terminal */
};

static volatile sig_atomic_t replying; /* caiprobe's process while it writes, else 0 */

/* A terminal drops the line that was being typed; reading goes on by itself (SA_RESTART). */
static void on_interrupt(int signal) {
    static const char hint[] = "\nCtrl-D or /quit leaves\nyou> ";
    int saved = errno;
    (void)signal;
    if (replying)
        kill((pid_t)replying, SIGINT);
    else if (write(STDERR_FILENO, hint, sizeof hint - 1) < 0)
        replying = 0;
    errno = saved;
}

static void catch_interrupts(void) {
    struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &act, NULL);
}

static void add(struct talk *t, const char *role, const char *text) {
    json_array_append_new(t->messages,
                          json_pack("{s:s, s:s}", "role", role, "content", text));
}

static void begin(struct talk *t) {
    json_array_clear(t->messages);
    if (t->system)
        add(t, "system", t->system);
}

/* ---- a reply ------------------------------------------------------------------------------------ */

static void say_stop(const json_t *end) {
    const char *stop = text_of(end, "stop");
    if (strcmp(stop, "cut") == 0)
        say("[cut by Ctrl-C]\n");
    else if (strcmp(stop, "length") == 0)
        say("[cut after %lld tokens; --max-new-tokens allows more]\n",
            (long long)integer_of(end, "tokens"));
    else if (strcmp(stop, "too_long") == 0)
        say("[the conversation fills all the model takes; /clear begins anew]\n");
}

/* The line that ends the reply, the caller's; NULL when caiprobe ended. */
static json_t *show_reply(struct talk *t) {
    json_t *line;
    while ((line = child_read(&t->child)) && json_object_get(line, "piece")) {
        if (!globals.json)
            print_text(text_of(line, "piece"));
        fflush(stdout);
        json_decref(line);
    }
    return line;
}

static bool reply(struct talk *t) {
    CAI_AUTO(mem) char *text = NULL;
    json_t *o = json_pack("{s:O}", "messages", t->messages);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    replying = t->child.pid;
    fprintf(t->child.to, "%s\n", text);
    fflush(t->child.to);
    json_t *end = show_reply(t);
    replying = 0;
    if (!end)
        return false;
    if (globals.json)
        print_line_json(end);
    else
        puts("");
    say_stop(end);
    fflush(stdout);
    if (strcmp(text_of(end, "stop"), "too_long") == 0 || !*text_of(end, "text"))
        json_array_remove(t->messages, json_array_size(t->messages) - 1);
    else
        add(t, "assistant", text_of(end, "text"));
    json_decref(end);
    return true;
}

/* ---- a person's line ------------------------------------------------------------------------------ */

static void save(const struct talk *t, const char *path) {
    json_t *o = json_pack("{s:O}", "messages", t->messages);
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_COMPACT);
    CAI_AUTO(mem) char *line = cai_format("%s\n", text);
    json_decref(o);
    if (cai_file_write_atomic(path, line, strlen(line)) < 0)
        complain(EXIT_DAEMON, "%s", cai_error_text());
    else
        say("%s: %zu messages, one row as `caictl data` reads it\n", path,
            json_array_size(t->messages));
}

/* Takes back the last reply and asks again. */
static bool retry(struct talk *t) {
    size_t n = json_array_size(t->messages);
    const json_t *last = json_array_get(t->messages, n ? n - 1 : 0);
    if (n == 0 || strcmp(text_of(last, "role"), "assistant") != 0) {
        say("There is no reply yet\n");
        return true;
    }
    json_array_remove(t->messages, n - 1);
    return reply(t);
}

/* False when it is time to leave. */
static bool command(struct talk *t, const char *line) {
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0)
        return false;
    if (strcmp(line, "/clear") == 0) {
        begin(t);
        say("Begun anew\n");
    } else if (strcmp(line, "/retry") == 0) {
        return retry(t);
    } else if (strncmp(line, "/save ", 6) == 0) {
        save(t, line + 6);
    } else {
        say("/clear       begin anew\n/retry       the last reply once more\n"
            "/save FILE   the conversation as a row of JSON Lines\n/quit, Ctrl-D leave\n"
            "Ctrl-C       end a reply\n");
    }
    return true;
}

/* The next line without its end, the caller's; NULL at the end of input. */
static char *read_line(const struct talk *t) {
    char *line = NULL;
    size_t cap = 0;
    if (t->person) {
        fputs("\nyou> ", stdout);
        fflush(stdout);
    }
    ssize_t n = getline(&line, &cap, stdin);
    while (n > 0 && strchr("\r\n", line[n - 1]))
        line[--n] = '\0';
    if (n >= 0)
        return line;
    free(line);
    return NULL;
}

static bool take_line(struct talk *t, const char *line) {
    size_t len = strlen(line);
    if (line[strspn(line, " \t")] == '\0')
        return true;
    if (line[0] == '/')
        return command(t, line);
    if (cai_utf8_valid(line, len) < len) {
        complain(EXIT_INPUT, "that is no UTF-8");
        return true;
    }
    add(t, "user", line);
    return reply(t);
}

/* ---- begin and end ---------------------------------------------------------------------------------- */

static int start(const struct args *a, const char *path, struct child *ret) {
    const char *seed = args_get(a, "seed"), *heat = args_get(a, "temperature");
    const char *most = args_get(a, "max-new-tokens"), *threads = args_get(a, "threads");
    const char *const arguments[] = {"talk",
                                     "--model",
                                     path,
                                     "--temperature",
                                     heat ? heat : "0.7",
                                     "--max-new-tokens",
                                     most ? most : "512",
                                     "--seed",
                                     seed ? seed : "1",
                                     threads ? "--threads" : NULL,
                                     threads,
                                     NULL};
    return child_start(arguments, NULL, ret);
}

static int talk(const struct args *a, const struct target *target) {
    struct talk t = {.messages = json_array(), .system = args_get(a, "system"),
                     .person = isatty(STDIN_FILENO)};
    int code = start(a, target->path, &t.child);
    if (code) {
        json_decref(t.messages);
        return code;
    }
    signal(SIGPIPE, SIG_IGN); /* caiprobe may end before a line is sent: reading tells */
    if (t.person)
        catch_interrupts();
    begin(&t);
    if (t.person)
        say("Talking with %s. /help says what else there is.\n", target->name);
    for (bool on = true; on;) {
        char *line = read_line(&t);
        on = line && take_line(&t, line);
        free(line);
    }
    if (t.person)
        puts("");
    json_decref(t.messages);
    return child_end(&t.child);
}

int run_chat(const struct args *a) {
    struct target target;
    int code = target_find(a->positional[0], &target);
    if (code == 0)
        code = talk(a, &target);
    target_free(&target);
    return code;
}
