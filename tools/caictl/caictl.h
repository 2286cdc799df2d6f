/* caictl.h: what the command files of caictl share: arguments, output, the connection.
 * Data goes to stdout, everything else to stderr; every command returns an exit code of
 * proto/control.h. */
#ifndef CAI_CAICTL_CAICTL_H
#define CAI_CAICTL_CAICTL_H

#include "base/buf.h"
#include "input/report.h"
#include "proto/control.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { ARGS_MAX = 64 };

struct args {
    const char *positional[ARGS_MAX];
    size_t n;
    struct {
        const char *name, *value;
    } options[ARGS_MAX];
    size_t n_options;
};
struct globals {
    const char *server, *key, *server_key; /* NULL = as the environment or configuration says */
    bool json, quiet, no_headers;
    double timeout_s;
};
extern struct globals globals;

struct command {
    const char *name;    /* "jobs", "constitution check" */
    const char *usage;   /* positionals and options, for people */
    const char *options; /* accepted: "hold set= timeout=" */
    size_t least, most;  /* positionals */
    int (*run)(const struct args *a);
    const char *summary, *examples;
    const char *more; /* what the options mean, one a line; NULL = nothing to add */
};
/* Tables of commands, each ended by a NULL name. */
extern const struct command local_commands[], job_commands[], follow_commands[], data_commands[],
    constitution_commands[], file_commands[],
    look_commands[], backup_commands[], ckpt_commands[], people_commands[], stored_commands[],
    key_commands[], audit_commands[], review_commands[], web_commands[], eval_commands[];

const char *args_get(const struct args *a, const char *name); /* the last value, or NULL */
bool args_has(const struct args *a, const char *name);
/* A whole number ≥ 0 from text; prints what is wrong and returns false. */
bool args_number(const char *what, const char *text, int64_t *ret);

/* ---- asking the daemon (client.c) -------------------------------------------------------- */
/* Steals `arguments` (NULL = {}). 0 and a reply, the caller's; else prints why and returns the
 * exit code. A verb that changes something gets a key, so that a retry is not done twice. */
int client_call(const char *verb, json_t *arguments, bool changes, json_t **ret);
/* The same without printing: the message is cai_error_text(). */
int client_try(const char *verb, json_t *arguments, bool changes, json_t **ret);
/* client_call with bytes beside the arguments, for a verb that may be given again as it is. */
int client_data(const char *verb, json_t *arguments, const void *data, size_t len, json_t **ret);
void client_close(void);
const char *client_endpoint(void);
/* Where the daemon is and with which key, by flag, environment, configuration file in that order
 * (server.c). 0, or a code with its message; *ret_key NULL: a local socket. */
struct key_file;
int server_find(const char **ret_endpoint, const struct key_file **ret_key);

/* ---- output (table.c) ------------------------------------------------------------------------ */
enum cell {
    CELL_TEXT,
    CELL_NUMBER,
    CELL_COUNT,
    CELL_SHARE,
    CELL_SECONDS,
    CELL_TIME,
    CELL_INTERVAL,
    CELL_BOOL
};
struct column {
    const char *title, *key;
    enum cell kind;
};
/* Rows as aligned text; columns that do not fit a terminal are cut. */
void print_rows(const json_t *rows, const struct column *columns, size_t n);
/* The reply as JSON, indented; for `-o json`. */
void print_json(const json_t *o);
/* One object a line. */
void print_line_json(const json_t *o);
/* Text made safe; keeps line ends. */
void print_text(const char *text);
/* The same and a line end; at a terminal, lines end between words. */
void print_prose(const char *text);
void cell_text(struct cai_buf *out, const json_t *value, enum cell kind);
/* `-o json`: prints the reply; else its "rows" as a table. Takes the reply. Returns 0. */
int print_reply(json_t *reply, const struct column *columns, size_t n);
/* To stderr unless --quiet. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "caictl: …" to stderr; returns `exit_code`. */
int complain(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the findings; EXIT_INPUT if there is an error, else 0. Empties the report. */
int show_findings(struct input_report *report);
/* A job's PROGRESS, through a daemon's restart of up to a minute; prints what is wrong. 0 or an
 * exit code (follow.c). */
int follow_progress(int64_t id, json_t **ret);
int follow_ended(const json_t *progress); /* -1 while it goes on, else its end's exit code */
/* Waits until the job ends, or `state` (may be NULL) is reached, or limit_s is over (< 0 = never);
 * exit code as the job ended (follow.c). */
int follow_wait(int64_t id, const char *state, double limit_s);
int terminal_width(int fd);  /* 0 when it is no terminal */
int terminal_height(int fd); /* the same */

/* ---- shared by command files --------------------------------------------------------------- */
/* All rows of a paged verb, page by page, at most `limit` (< 0 = all); steals `arguments`. f
 * returns 0 to go on. 0 or an exit code (data.c). */
int data_pages(const char *verb, json_t *arguments, int64_t limit,
               int (*f)(void *c, const json_t *row), void *c);
/* The same, as an array in *ret_rows (the caller's, also after an error). */
int data_rows(const char *verb, json_t *arguments, int64_t limit, json_t **ret_rows);
/* One verb on each job of the command line; `done` says what became of it. The first failure's
 * exit code (jobs.c). */
int job_each(const struct args *a, const char *verb, const char *accept, const char *done);
int run_report(const struct args *a); /* report.c */
/* A file, what the daemon keeps under a name or revision, or (NULL) the constitution that comes
 * with caid; prints what is wrong (constitution.c). 0 or an exit code. */
struct constitution;
int constitution_find_any(const char *ref, struct constitution **ret);
int constitution_kept(const char *ref, struct constitution **ret); /* by the daemon */
extern const char caictl_default_constitution[]; /* local.c */

/* Members of replies, with a default when absent. */
const char *text_of(const json_t *o, const char *key);
double number_of(const json_t *o, const char *key, double otherwise);
int64_t integer_of(const json_t *o, const char *key);

#endif
