/* stored.c: model and data, add list rm: what people put into the daemon's store, because it
 * cannot read their folders. Files are hashed first; what the daemon has of them already, whole
 * or in part, is not sent again. */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "caictl.h"
#include "hf/adapter.h"
#include "hf/hf.h"
#include "input/jsonl.h"
#include "input/record.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 768 << 10, FILES_MAX = 1000, SHOWN_MS = 500 };

struct sending {
    const char *kind, *name, *from;
    json_t *files; /* [{"path", "bytes", "sha256"}] */
    int64_t bytes, done, shown_ms;
    bool terminal;
};

/* ---- what belongs to it -------------------------------------------------------------------- */

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), k = strlen(with);
    return n > k && strcmp(name + n - k, with) == 0;
}

/* The files by which a checkpoint is read, here and by transformers; never pickled ones. */
static bool belongs(const char *name) {
    static const char *const kinds[] = {".json", ".safetensors", ".txt", ".jinja", ".model", ".md"};
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        if (name[0] != '.' && ends(name, kinds[i]))
            return true;
    return strcmp(name, "LICENSE") == 0;
}

static void show(struct sending *s, const char *what, bool last) {
    int64_t now = cai_now_ms();
    if (globals.quiet || !s->terminal || (!last && now - s->shown_ms < SHOWN_MS))
        return;
    s->shown_ms = now;
    double all = s->bytes ? (double)s->bytes : 1;
    fprintf(stderr, "\r%s %.1f of %.1f MB (%.0f %%)%s", what, (double)s->done / 1e6,
            (double)s->bytes / 1e6, 100 * (double)s->done / all, last ? "\n" : "   ");
}

static int add_file(struct sending *s, const char *path, const char *name) {
    struct stat st;
    char hash[CAI_SHA256_HEX];
    if (stat(path, &st) < 0)
        return cai_fail_errno("%s", path);
    if (!S_ISREG(st.st_mode))
        return cai_fail(CAI_EINPUT, "%s is no file", path);
    if (json_array_size(s->files) == FILES_MAX)
        return cai_fail(CAI_ELIMIT, "%s has more than %d files", s->from, FILES_MAX);
    CAI_TRY(cai_file_sha256(path, hash));
    s->bytes += st.st_size;
    s->done = s->bytes;
    show(s, "hashed", false);
    json_array_append_new(s->files, json_pack("{s:s, s:I, s:s}", "path", name, "bytes",
                                              (json_int_t)st.st_size, "sha256", hash));
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(struct sending *s) {
    struct dirent **list = NULL;
    int n = scandir(s->from, &list, NULL, by_name), rc = 0;
    if (n < 0)
        return cai_fail_errno("%s", s->from);
    for (int i = 0; i < n; i++) {
        CAI_AUTO(mem) char *path = cai_path_join(s->from, list[i]->d_name);
        if (rc == 0 && belongs(list[i]->d_name))
            rc = add_file(s, path, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    return rc;
}

/* A model that no worker could load is refused before anything is sent. */
static int check_model(const char *from) {
    if (hf_adapter_is(from))
        return cai_fail(CAI_EINPUT, "%s is an adapter, whose base lies elsewhere; 'caictl export "
                        "… --merge' or PEFT's merge_and_unload makes it one folder", from);
    return hf_check(from, true);
}

/* Every line is a JSON object that some role can use; the roles themselves are the job's. */
static int check_data(const char *path) {
    struct input_report report = {.file = path};
    struct jsonl *reader;
    json_t *row;
    size_t line, rows = 0;
    int rc = jsonl_open(path, &report, &reader);
    while (rc == 0 && jsonl_next(reader, &row, &line) > 0) {
        CAI_AUTO(record) struct input_record r = {0};
        input_record(row, line, &report, &r);
        json_decref(row);
        rows++;
    }
    if (rc == 0)
        jsonl_close(reader);
    if (rc == 0 && rows == 0)
        input_report_add(&report, 0, 0, "D008", "give at least one row", "the file has no rows");
    return rc < 0 && !report.errors ? rc : show_findings(&report);
}

/* ---- sending ------------------------------------------------------------------------------- */

/* One part; *io_at is where to go on, as the daemon says. */
static int send_part(struct sending *s, int64_t upload, size_t file, int fd, const char *path,
                     int64_t *io_at) {
    static char part[CHUNK];
    json_t *reply;
    ssize_t n = pread(fd, part, sizeof part, *io_at);
    if (n <= 0)
        return complain(EXIT_INPUT, "%s: %s", path, n < 0 ? strerror(errno) : "it became shorter");
    int code = client_data("asset.chunk", json_pack("{s:I, s:I, s:I}", "upload", (json_int_t)upload,
                                                    "file", (json_int_t)file, "offset",
                                                    (json_int_t)*io_at), part, (size_t)n, &reply);
    if (code)
        return code;
    int64_t got = integer_of(reply, "got");
    s->done += got - *io_at;
    *io_at = got;
    json_decref(reply);
    show(s, "sent", false);
    return EXIT_OK;
}

static int send_file(struct sending *s, int64_t upload, size_t file, int64_t have) {
    const json_t *row = json_array_get(s->files, file);
    int64_t bytes = integer_of(row, "bytes");
    CAI_AUTO(mem) char *path = strcmp(s->kind, "model") == 0
                                   ? cai_path_join(s->from, text_of(row, "path"))
                                   : cai_strdup(s->from);
    s->done += have;
    if (have >= bytes)
        return EXIT_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC), code = EXIT_OK;
    if (fd < 0)
        return complain(EXIT_INPUT, "%s: %s", path, strerror(errno));
    for (int64_t at = have; at < bytes && code == EXIT_OK;)
        code = send_part(s, upload, file, fd, path, &at);
    close(fd);
    return code;
}

/* The daemon lists files by name, as they were offered. */
static int send_all(struct sending *s, const json_t *begun) {
    size_t i;
    json_t *row;
    int code = EXIT_OK;
    int64_t have = 0;
    json_array_foreach(json_object_get(begun, "files"), i, row)
        have += integer_of(row, "have");
    if (have)
        say("The daemon has %.1f of %.1f MB of it already\n", (double)have / 1e6,
            (double)s->bytes / 1e6);
    s->done = 0;
    json_array_foreach(json_object_get(begun, "files"), i, row) {
        code = send_file(s, integer_of(begun, "upload"), i, integer_of(row, "have"));
        if (code)
            return code;
    }
    show(s, "sent", true);
    return EXIT_OK;
}

static int send_offer(struct sending *s) {
    json_t *begun, *reply;
    int code = client_call("asset.begin", json_pack("{s:s, s:s, s:O}", "kind", s->kind, "name",
                                                    s->name, "files", s->files), false, &begun);
    if (code)
        return code;
    CAI_AUTO(mem) char *hash = cai_strdup(text_of(begun, "hash"));
    if (!json_is_true(json_object_get(begun, "whole")))
        code = send_all(s, begun);
    json_decref(begun);
    if (code)
        return code;
    code = client_call("asset.finish", json_pack("{s:s, s:s, s:s}", "kind", s->kind, "name",
                                                 s->name, "hash", hash), false, &reply);
    if (code)
        return code;
    if (globals.json)
        print_json(reply);
    else
        printf("Stored %s '%s' (%.1f MB, %.12s); name it in a job file as %s:%s\n", s->kind, s->name,
               (double)integer_of(reply, "bytes") / 1e6, hash, s->kind, s->name);
    json_decref(reply);
    return EXIT_OK;
}

static int add(const struct args *a, const char *kind) {
    bool model = strcmp(kind, "model") == 0;
    struct sending s = {.kind = kind, .name = a->positional[0], .from = a->positional[1],
                        .files = json_array(), .terminal = isatty(STDERR_FILENO)};
    int code = EXIT_OK, rc = model ? check_model(s.from) : 0;
    if (!model)
        code = check_data(s.from);
    if (code < 0) {
        rc = code;
        code = EXIT_OK;
    }
    if (rc == 0 && code == EXIT_OK)
        rc = model ? add_folder(&s) : add_file(&s, s.from, "rows.jsonl");
    if (rc < 0)
        code = complain(rc == CAI_ENOTFOUND ? EXIT_INPUT : control_exit_of(rc), "%s",
                        cai_error_text());
    if (code == EXIT_OK)
        code = send_offer(&s);
    json_decref(s.files);
    return code;
}

static int run_model_add(const struct args *a) { return add(a, "model"); }
static int run_data_add(const struct args *a) { return add(a, "data"); }

/* ---- list, rm ------------------------------------------------------------------------------ */

static int list(const char *kind) {
    static const struct column columns[] = {
        {"NAME", "name", CELL_TEXT},   {"USER", "user", CELL_TEXT},
        {"SIZE", "size", CELL_TEXT},   {"FILES", "files", CELL_NUMBER},
        {"STATE", "state", CELL_TEXT}, {"SINCE", "at_ms", CELL_TIME},
        {"HASH", "hash", CELL_TEXT}};
    json_t *reply, *row;
    size_t i;
    int code = client_call("asset.list", json_pack("{s:s}", "kind", kind), false, &reply);
    if (code)
        return code;
    json_array_foreach(json_object_get(reply, "rows"), i, row) {
        double have = (double)integer_of(row, "have"), bytes = (double)integer_of(row, "bytes");
        if (globals.json)
            continue;
        json_object_set_new(row, "size", json_sprintf("%.1f MB", bytes / 1e6));
        if (have < bytes)
            json_object_set_new(row, "state", json_sprintf("%.0f %% here", 100 * have / bytes));
    }
    return print_reply(reply, columns, CAI_COUNT(columns));
}

static int run_model_list(const struct args *a) {
    (void)a;
    return list("model");
}
static int run_data_list(const struct args *a) {
    (void)a;
    return list("data");
}

static int rm(const struct args *a, const char *kind) {
    int first = EXIT_OK;
    for (size_t i = 0; i < a->n; i++) {
        json_t *reply;
        int code = client_call("asset.rm", json_pack("{s:s, s:s, s:b}", "kind", kind, "name",
                                                     a->positional[i], "force",
                                                     args_has(a, "force")), true, &reply);
        first = first ? first : code;
        if (code)
            continue;
        if (globals.json)
            print_json(reply);
        else
            printf("Removed %s '%s'\n", kind, a->positional[i]);
        json_decref(reply);
    }
    return first;
}

static int run_model_rm(const struct args *a) { return rm(a, "model"); }
static int run_data_rm(const struct args *a) { return rm(a, "data"); }

#define RM_HELP "  --force  also when jobs that have ended were made from it\n"

const struct command stored_commands[] = {
    {"model add", "NAME FOLDER", "", 2, 2, run_model_add,
     "Put a model into the daemon's store, as models.start: model:NAME",
     "  caictl model add qwen-0.5b ./qwen2.5-0.5b\n",
     "Every file is hashed, and checked again when it has arrived. What was broken off goes on\n"
     "where it was when the same command is given again; the same content is never sent twice.\n"},
    {"model list", "", "", 0, 0, run_model_list, "List stored models", "  caictl model list\n", NULL},
    {"model rm", "NAME… [--force]", "force", 1, ARGS_MAX, run_model_rm,
     "Remove stored models that no job refers to; or give up an upload", "  caictl model rm old\n",
     RM_HELP},
    {"data add", "NAME FILE", "", 2, 2, run_data_add,
     "Put a data file into the daemon's store, as data.harmful: data:NAME",
     "  caictl data add red-team red.jsonl\n",
     "Each line is checked first, as by `caictl data check`. See `caictl model add --help`.\n"},
    {"data list", "", "", 0, 0, run_data_list, "List stored data files", "  caictl data list\n", NULL},
    {"data rm", "NAME… [--force]", "force", 1, ARGS_MAX, run_data_rm,
     "Remove stored data files that no job refers to; or give up an upload",
     "  caictl data rm old\n", RM_HELP},
    {0}};
