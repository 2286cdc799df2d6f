/* review_next.c: a person reads items at a terminal, line by line: works without colour, without a
 * mouse, and with a screen reader or a script at the other end. What models wrote is made inert.
 *
 * States of an item: shown → [first verdict] → critiques → verdict, flaw, [text], note → submitted;
 * each answer is a draft at once, so that Ctrl-C, a hang-up or the daemon's restart lose none, and
 * Enter takes what the draft has. */
#include "base/error.h"
#include "base/text.h"
#include "review.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum said { SAID_TEXT, SAID_SKIP, SAID_UNDO, SAID_AGAIN, SAID_LEAVE, SAID_FAILED };

struct sitting {
    json_t *item, *draft;
    int64_t version;
    char *line;
    size_t size;
    int code; /* of SAID_FAILED and SAID_LEAVE */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

/* Without SA_RESTART: reading a line ends, and the draft is there. */
static void catch_interrupts(void) {
    struct sigaction act = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &act, NULL);
}

static void explain(void) {
    printf("  1 … 7  of two replies: 1 A is much better, 4 equally good, 7 B is much better;\n"
           "         of one: 1 certainly not, 4 cannot tell, 7 certainly\n"
           "  y n e  keep, reject or edit a critique\n"
           "  s      skip this item; the reason is asked\n"
           "  u      take back your last verdict or skip\n"
           "  q      leave; the draft is kept\n"
           "  Enter  take what stands in brackets\n");
}

/* ---- showing ------------------------------------------------------------------------------- */

static void heading(const char *text) { printf("\n--- %s ---\n", text); }

static void show_messages(const json_t *list) {
    json_t *x;
    size_t i;
    json_array_foreach(list, i, x) {
        heading(strcmp(text_of(x, "role"), "user") == 0        ? "The person"
                : strcmp(text_of(x, "role"), "assistant") == 0 ? "The assistant"
                                                               : "System");
        print_prose(text_of(x, "text"));
    }
}

static void show_item(const json_t *o, const json_t *queue) {
    json_t *x;
    size_t i;
    printf("\nItem %lld of job %lld: %s, round %lld. %lld of %lld are final.\n",
           (long long)integer_of(o, "id"), (long long)integer_of(o, "job"), text_of(o, "kind"),
           (long long)integer_of(o, "round"), (long long)integer_of(queue, "done"),
           (long long)integer_of(queue, "required"));
    if (*text_of(o, "principle")) {
        printf("Principle: ");
        print_prose(text_of(o, "principle"));
    }
    show_messages(json_object_get(o, "messages"));
    json_array_foreach(json_object_get(o, "replies"), i, x) {
        CAI_AUTO(mem) char *title = cai_format("Reply %s", text_of(x, "mark"));
        heading(title);
        print_prose(text_of(x, "text"));
    }
    printf("\n");
    print_prose(text_of(o, "question"));
}

/* The part that a critique accuses: code points from … to of the reply. */
static void show_span(const json_t *o, const json_t *critique) {
    const json_t *span = json_object_get(critique, "span");
    json_t *x;
    size_t i;
    if (!json_is_array(span))
        return;
    size_t from = (size_t)json_integer_value(json_array_get(span, 0));
    size_t to = (size_t)json_integer_value(json_array_get(span, 1));
    json_array_foreach(json_object_get(o, "replies"), i, x) {
        const char *s = text_of(x, "text");
        size_t at = 0, begin = 0, end = 0;
        if (strcmp(text_of(x, "mark"), text_of(critique, "reply")) != 0)
            continue;
        for (size_t b = 0; s[b]; b++) {
            begin = at <= from ? b : begin;
            at += ((unsigned char)s[b + 1] & 0xc0) != 0x80;
            end = at <= to ? b + 1 : end;
        }
        CAI_AUTO(buf) struct cai_buf text = {0};
        cai_text_printable(&text, s + begin, end > begin ? end - begin : 0, false);
        printf("It accuses: %s\n", text.data ? text.data : "");
    }
}

/* ---- asking -------------------------------------------------------------------------------- */

static enum said fail(struct sitting *s, int code) {
    s->code = code;
    return code == EXIT_OK || code == EXIT_INTERRUPTED ? SAID_LEAVE : SAID_FAILED;
}

/* One line without its end; SAID_TEXT when it is no command. */
static enum said ask(struct sitting *s, const char *prompt, const char *otherwise) {
    for (;;) {
        printf("%s%s%s%s ", prompt, *otherwise ? " [" : "", otherwise, *otherwise ? "]" : "");
        fflush(stdout);
        ssize_t n = getline(&s->line, &s->size, stdin);
        if (interrupted || n < 0) {
            bool was = interrupted;
            clearerr(stdin);
            printf("\nYour draft is kept: 'caictl review next' goes on with it.\n");
            return fail(s, was ? EXIT_INTERRUPTED : EXIT_OK);
        }
        s->line[strcspn(s->line, "\r\n")] = '\0';
        if (strcmp(s->line, "?") == 0)
            explain();
        else
            break;
    }
    if (strcmp(s->line, "q") == 0)
        return fail(s, EXIT_OK);
    return strcmp(s->line, "s") == 0 ? SAID_SKIP : strcmp(s->line, "u") == 0 ? SAID_UNDO : SAID_TEXT;
}

/* A number between low and high; Enter takes `otherwise` unless it is below low. */
static enum said ask_number(struct sitting *s, const char *prompt, int low, int high, int otherwise,
                            int *ret) {
    char had[16] = "";
    if (otherwise >= low)
        snprintf(had, sizeof had, "%d", otherwise);
    for (;;) {
        enum said said = ask(s, prompt, had);
        char *end = NULL;
        if (said != SAID_TEXT)
            return said;
        if (!*s->line && *had) {
            *ret = otherwise;
            return SAID_TEXT;
        }
        long n = strtol(s->line, &end, 10);
        if (*s->line && !*end && n >= low && n <= high) {
            *ret = (int)n;
            return SAID_TEXT;
        }
        printf("A number from %d to %d, please; ? explains.\n", low, high);
    }
}

/* Keeps the draft; another window's is not overwritten. */
static enum said keep(struct sitting *s) {
    json_t *reply;
    int code = client_call("review.draft", json_pack("{s:O, s:I, s:O}", "item",
                                                     json_object_get(s->item, "id"), "version",
                                                     (json_int_t)s->version, "draft", s->draft),
                           true, &reply);
    if (code)
        return fail(s, code);
    s->version = integer_of(reply, "version");
    json_decref(reply);
    return SAID_TEXT;
}

static enum said keep_new(struct sitting *s, const char *member, json_t *value) {
    json_object_set_new(s->draft, member, value);
    return keep(s);
}

static enum said ask_text(struct sitting *s, const char *prompt, const char *member) {
    enum said said = ask(s, prompt, text_of(s->draft, member));
    if (said != SAID_TEXT || !*s->line)
        return said;
    return keep_new(s, member, json_string(s->line));
}

/* ---- the steps of an item -------------------------------------------------------------------- */

static int drafted(const struct sitting *s, const char *member, int otherwise) {
    const json_t *v = json_object_get(s->draft, member);
    return json_is_integer(v) ? (int)json_integer_value(v) : otherwise;
}

static void take_item(struct sitting *s, json_t *item) {
    json_t *draft = json_object_get(item, "draft");
    json_decref(s->item);
    json_decref(s->draft);
    s->item = item;
    s->draft = json_is_object(draft) ? json_deep_copy(draft) : json_object();
    s->version = integer_of(item, "version");
}

static enum said first_verdict(struct sitting *s) {
    bool wanted = json_is_true(json_object_get(s->item, "unaided")) &&
                  !json_is_object(json_object_get(s->item, "first"));
    int verdict, severity;
    json_t *reply;
    if (!wanted)
        return SAID_TEXT;
    printf("\nFirst without any help.\n");
    enum said said = ask_number(s, "Your first verdict, 1 to 7:", 1, 7, 0, &verdict);
    if (said == SAID_TEXT)
        said = ask_number(s, "The worst flaw that you see, 0 none to 4 grave:", 0, 4, -1, &severity);
    if (said != SAID_TEXT)
        return said;
    int code = client_call("review.first", json_pack("{s:O, s:{s:i, s:i}}", "item",
                                                     json_object_get(s->item, "id"), "verdict",
                                                     "verdict", verdict, "severity", severity),
                           true, &reply);
    if (code)
        return fail(s, code);
    take_item(s, reply);
    return SAID_TEXT;
}

/* The draft's entry of a critique. */
static json_t *critique_entry(struct sitting *s, const json_t *id) {
    json_t *list = json_object_get(s->draft, "critiques"), *x;
    size_t i;
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(s->draft, "critiques", list);
    }
    json_array_foreach(list, i, x)
        if (json_equal(json_object_get(x, "id"), id))
            return x;
    x = json_pack("{s:O, s:s}", "id", id, "state", "");
    json_array_append_new(list, x);
    return x;
}

static enum said judge_critique(struct sitting *s, const json_t *c, size_t n, size_t all) {
    json_t *entry = critique_entry(s, json_object_get(c, "id"));
    const char *before = text_of(entry, "state");
    printf("\nCritique %zu of %zu, of reply %s: ", n, all, text_of(c, "reply"));
    print_prose(text_of(c, "text"));
    show_span(s->item, c);
    for (;;) {
        enum said said = ask(s, "Keep, reject or edit (y/n/e):", *before == 'k'   ? "y"
                                                                 : *before == 'r' ? "n"
                                                                 : *before == 'e' ? "e" : "");
        if (said != SAID_TEXT)
            return said;
        char answer = *s->line && !s->line[1] ? *s->line : *s->line ? '?' : *before ? '=' : '?';
        if (answer == '=')
            return SAID_TEXT;
        if (answer == 'e') {
            said = ask(s, "The critique as you would have it:", "");
            if (said != SAID_TEXT)
                return said;
            if (*s->line)
                json_object_set_new(entry, "text", json_string(s->line));
            answer = *s->line ? 'e' : '?';
        } else {
            json_object_del(entry, "text");
        }
        if (answer == 'y' || answer == 'n' || answer == 'e') {
            json_object_set_new(entry, "state", json_string(answer == 'y'   ? "keep"
                                                            : answer == 'n' ? "reject"
                                                                            : "edit"));
            return keep(s);
        }
        printf("y keeps it, n rejects it, e edits it; ? explains.\n");
    }
}

/* After the first verdict, as critiques are. */
static void show_speeches(const json_t *o) {
    json_t *x;
    size_t i;
    json_array_foreach(json_object_get(o, "speeches"), i, x) {
        CAI_AUTO(mem) char *title = cai_format("Speech %zu, for reply %s", i + 1, text_of(x, "reply"));
        heading(title);
        print_prose(text_of(x, "text"));
    }
}

static enum said critiques(struct sitting *s) {
    const json_t *list = json_object_get(s->item, "critiques");
    json_t *c;
    size_t i;
    json_array_foreach(list, i, c) {
        enum said said = judge_critique(s, c, i + 1, json_array_size(list));
        if (said != SAID_TEXT)
            return said;
    }
    return SAID_TEXT;
}

static enum said verdict(struct sitting *s) {
    int n;
    printf("\n");
    enum said said = ask_number(s, "Your verdict, 1 to 7:", 1, 7, drafted(s, "verdict", 0), &n);
    if (said == SAID_TEXT)
        said = keep_new(s, "verdict", json_integer(n));
    if (said == SAID_TEXT)
        said = ask_number(s, "The worst flaw, 0 none to 4 grave:", 0, 4, drafted(s, "severity", -1),
                          &n);
    if (said == SAID_TEXT)
        said = keep_new(s, "severity", json_integer(n));
    if (said == SAID_TEXT && strcmp(text_of(s->item, "kind"), "critique") == 0)
        said = ask_text(s, "A better text in place of the rewrite (Enter: none):", "edit");
    return said == SAID_TEXT ? ask_text(s, "A note (Enter: none):", "note") : said;
}

static enum said submit(struct sitting *s) {
    json_t *reply;
    for (;;) {
        enum said said = ask(s, "Submit (y), or begin again (n)?", "y");
        if (said != SAID_TEXT)
            return said;
        if (strcmp(s->line, "n") == 0)
            return SAID_AGAIN;
        if (!*s->line || strcmp(s->line, "y") == 0)
            break;
    }
    int code = client_call("review.submit", json_pack("{s:O, s:O}", "item",
                                                      json_object_get(s->item, "id"), "verdict",
                                                      s->draft), true, &reply);
    if (code)
        return fail(s, code);
    const char *state = text_of(reply, "state");
    printf("Item %lld is %s. %lld of %lld are final.\n", (long long)integer_of(reply, "id"),
           strcmp(state, "second") == 0     ? "taken; a second reader is wanted"
           : strcmp(state, "disputed") == 0 ? "disputed; a third reader decides"
                                            : "final",
           (long long)integer_of(reply, "done"), (long long)integer_of(reply, "required"));
    json_decref(reply);
    return SAID_TEXT;
}

static enum said skip(struct sitting *s) {
    json_t *reply;
    enum said said = ask(s, "Why do you skip it?", "");
    if (said != SAID_TEXT)
        return said;
    if (!*s->line)
        return SAID_TEXT; /* not skipped: it is shown again */
    int code = client_call("review.skip", json_pack("{s:O, s:s}", "item",
                                                    json_object_get(s->item, "id"), "reason",
                                                    s->line), true, &reply);
    if (code)
        return fail(s, code);
    json_decref(reply);
    return SAID_TEXT;
}

static enum said undo(struct sitting *s) {
    json_t *reply;
    int code = client_call("review.undo", NULL, true, &reply);
    if (code == EXIT_STATE) /* nothing to take back: said already */
        return SAID_TEXT;
    if (code)
        return fail(s, code);
    printf("Your %s of item %lld is taken back; it comes again.\n",
           strcmp(text_of(reply, "undone"), "skip") == 0 ? "skip" : "verdict",
           (long long)integer_of(reply, "id"));
    json_decref(reply);
    return SAID_TEXT;
}

/* ---- items one after another ----------------------------------------------------------------- */

static enum said one_item(struct sitting *s, const json_t *queue) {
    enum said said;
    do {
        show_item(s->item, queue);
        said = first_verdict(s);
        if (said == SAID_TEXT)
            show_speeches(s->item);
        if (said == SAID_TEXT)
            said = critiques(s);
        if (said == SAID_TEXT)
            said = verdict(s);
        if (said == SAID_TEXT)
            said = submit(s);
    } while (said == SAID_AGAIN);
    return said == SAID_SKIP ? skip(s) : said == SAID_UNDO ? undo(s) : said;
}

static int next_item(int64_t job, json_t **ret_queue, json_t **ret_item) {
    *ret_item = NULL;
    int code = client_call("review.queue", job ? json_pack("{s:I}", "job", (json_int_t)job) : NULL,
                           false, ret_queue);
    const json_t *first = code ? NULL : json_array_get(json_object_get(*ret_queue, "items"), 0);
    if (code == 0 && first)
        code = client_call("review.open", json_pack("{s:O}", "item", json_object_get(first, "id")),
                           false, ret_item);
    return code;
}

static int nothing(const json_t *queue) {
    long long pending = (long long)integer_of(queue, "pending");
    if (globals.json)
        print_json(queue);
    else if (pending)
        printf("Nothing is left for you; %lld verdicts are wanted of other people.\n", pending);
    else
        printf("Nothing waits to be reviewed.\n");
    return EXIT_OK;
}

int review_session(int64_t job, bool one) {
    struct sitting s = {0};
    catch_interrupts();
    for (bool more = true; more;) {
        json_t *queue = NULL, *item;
        s.code = next_item(job, &queue, &item);
        more = s.code == 0 && item && !globals.json;
        if (s.code == 0 && !item)
            s.code = nothing(queue);
        else if (s.code == 0 && globals.json)
            print_json(item);
        if (more) {
            take_item(&s, item);
            enum said said = one_item(&s, queue);
            more = said != SAID_LEAVE && said != SAID_FAILED && !one;
        } else {
            json_decref(item);
        }
        json_decref(queue);
    }
    json_decref(s.item);
    json_decref(s.draft);
    free(s.line);
    return s.code;
}
