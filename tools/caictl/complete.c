/* complete.c: what shells ask for completion: the tables of commands, when the completions are
 * made (tools/completions), and live names of the daemon, when a person presses Tab. Both are
 * for programs: no help lists them, and no failure says a word. */
#include "complete.h"
#include "base/error.h"
#include "caictl.h"
#include <stdio.h>
#include <string.h>

static const double ASK_S = 0.5; /* a person waits */

/* NAME TAB USAGE TAB OPTIONS TAB SUMMARY; an option that takes a value ends in '='. */
void complete_table(const struct command *c, bool (*takes_value)(const char *name)) {
    for (; c->name; c++) {
        printf("%s\t", c->name);
        for (const char *s = c->usage; *s; s++)
            putchar(*s == '\n' ? ' ' : *s);
        putchar('\t');
        CAI_AUTO(mem) char *options = cai_strdup(c->options);
        char *rest = options;
        for (char *word; (word = strsep(&rest, " "));)
            if (*word)
                printf("--%s%s ", word, takes_value(word) ? "=" : "");
        printf("\t%s\n", c->summary);
    }
}

static void put(const char *name, const char *about) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    json_t *s = json_string(about);
    if (s)
        cell_text(&text, s, CELL_TEXT);
    json_decref(s);
    printf("%s\t%s\n", name, text.data ? text.data : "");
}

static void put_job(const json_t *row) {
    CAI_AUTO(mem) char *id = cai_format("%lld", (long long)integer_of(row, "id"));
    CAI_AUTO(mem) char *about = cai_format("%s %s", text_of(row, "name"), text_of(row, "state"));
    put(id, about);
}

static void put_model(const json_t *row) {
    CAI_AUTO(mem) char *number = cai_format("%lld", (long long)integer_of(row, "number"));
    CAI_AUTO(mem) char *about =
        cai_format("job %lld round %lld %s", (long long)integer_of(row, "job"),
                   (long long)integer_of(row, "round"), text_of(row, "kind"));
    put(number, about);
}

static void put_constitution(const json_t *row) {
    CAI_AUTO(mem) char *about = cai_format("%.12s", text_of(row, "revision"));
    put(text_of(row, "name"), about);
}

int complete_names(const char *what) {
    static const struct {
        const char *what, *verb;
        bool all;
        void (*put)(const json_t *row);
    } kinds[] = {{"jobs", "jobs", true, put_job},
                 {"models", "ckpt.list", false, put_model},
                 {"constitutions", "constitution.list", false, put_constitution}};
    for (size_t i = 0; i < CAI_COUNT(kinds); i++) {
        json_t *reply = NULL, *row, *o = json_object();
        size_t k;
        if (strcmp(kinds[i].what, what) != 0) {
            json_decref(o);
            continue;
        }
        if (kinds[i].all)
            json_object_set_new(o, "all", json_true());
        globals.timeout_s = globals.timeout_s < ASK_S ? globals.timeout_s : ASK_S;
        if (client_try(kinds[i].verb, o, false, &reply) != 0)
            return EXIT_OK;
        json_array_foreach(json_object_get(reply, "rows"), k, row)
            kinds[i].put(row);
        json_decref(reply);
    }
    return EXIT_OK;
}
