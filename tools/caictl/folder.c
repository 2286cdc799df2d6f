/* folder.c: a trained model as a folder of its own: its files, checked against the hash that the
 * job knows, a card that says where it comes from, and its training's figures. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/text.h"
#include "constitution/constitution.h"
#include "export.h"
#include "hf/adapter.h"
#include "hf/hf.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- which ------------------------------------------------------------------------------------ */

static bool later(const json_t *x, const json_t *y) {
    int64_t a = integer_of(x, "round"), b = integer_of(y, "round");
    return a > b || (a == b && integer_of(x, "step") >= integer_of(y, "step"));
}

size_t folder_find(const json_t *show, const char *kind, int64_t round, const json_t **ret,
                   size_t max) {
    const json_t *last = NULL;
    size_t i, n = 0;
    json_t *m;
    json_array_foreach(json_object_get(show, "models"), i, m)
        if (strcmp(text_of(m, "kind"), kind) == 0 &&
            (round < 0 || integer_of(m, "round") == round) && (!last || later(m, last)))
            last = m;
    json_array_foreach(json_object_get(show, "models"), i, m)
        if (last && n < max && strcmp(text_of(m, "kind"), kind) == 0 &&
            integer_of(m, "round") == integer_of(last, "round") &&
            strcmp(text_of(m, "stage"), text_of(last, "stage")) == 0)
            ret[n++] = m;
    return n;
}

/* ---- copying ------------------------------------------------------------------------------------ */

static int copy_file(const char *from, const char *to) {
    char chunk[1 << 16];
    size_t n;
    CAI_AUTO(stream) FILE *in = fopen(from, "rbe");
    FILE *out = in ? fopen(to, "wbe") : NULL;
    if (!in || !out)
        return cai_fail_errno("%s", in ? to : from);
    bool good = true;
    while (good && (n = fread(chunk, 1, sizeof chunk, in)) > 0)
        good = fwrite(chunk, 1, n, out) == n;
    good = !ferror(in) && good;
    if (fclose(out) != 0 || !good)
        return cai_fail_errno("copying %s", from);
    return cai_file_sync(to);
}

static int copy_files(const char *from, const char *to, size_t *ret_files) {
    struct dirent *e;
    struct stat st;
    DIR *d = opendir(from);
    if (!d)
        return cai_fail_errno("%s", from);
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        CAI_AUTO(mem) char *source = cai_path_join(from, e->d_name);
        CAI_AUTO(mem) char *target = cai_path_join(to, e->d_name);
        if (stat(source, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        rc = copy_file(source, target);
        ++*ret_files;
    }
    closedir(d);
    return rc;
}

static bool empty_folder(const char *path) {
    struct dirent *e;
    bool empty = true;
    DIR *d = opendir(path);
    while (d && (e = readdir(d)))
        empty = empty && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
    if (d)
        closedir(d);
    return d && empty;
}

static int check_hash(const char *folder, const json_t *model) {
    char hash[CAI_SHA256_HEX];
    CAI_TRY(hf_model_hash(folder, hash));
    if (strcmp(hash, text_of(model, "hash")) != 0)
        return cai_fail(CAI_EIO, "%s is not what the job wrote: its hash is %.12s, the job knows "
                                 "%.12s", text_of(model, "path"), hash, text_of(model, "hash"));
    return 0;
}

/* ---- what is said of it ------------------------------------------------------------------------- */

static int put_text(const char *folder, const char *name, const char *text, size_t len) {
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    return cai_file_write_atomic(path, text ? text : "", len);
}

static int put_json(const char *folder, const char *name, const json_t *o) {
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
    return put_text(folder, name, text, strlen(text));
}

/* Where it comes from, for programs. */
static int put_provenance(const json_t *show, const json_t *model, const char *folder) {
    json_t *o = json_pack("{s:O, s:O, s:O, s:O, s:O}", "job", json_object_get(show, "id"), "spec",
                          json_object_get(show, "spec"), "constitution",
                          json_object_get(show, "revision"), "numeric_class",
                          json_object_get(show, "numeric_class"), "ledger",
                          json_object_get(show, "ledger"));
    json_t *own = json_copy((json_t *)model);
    json_object_del(own, "path");
    json_object_set_new(o, "model", own);
    int rc = put_json(folder, "provenance.json", o);
    json_decref(o);
    return rc;
}

struct history {
    json_t *steps; /* {"12": {"step": 12, "loss": …}} */
    const json_t *model;
};

static int add_figure(void *c, const json_t *row) {
    struct history *h = c;
    if (integer_of(row, "round") != integer_of(h->model, "round") ||
        strcmp(text_of(row, "stage"), text_of(h->model, "stage")) != 0 || !integer_of(row, "step"))
        return 0;
    CAI_AUTO(mem) char *key = cai_format("%012lld", (long long)integer_of(row, "step"));
    json_t *step = json_object_get(h->steps, key);
    if (!step) {
        step = json_pack("{s:O}", "step", json_object_get(row, "step"));
        json_object_set_new(h->steps, key, step);
    }
    json_object_set(step, text_of(row, "name"), json_object_get(row, "value"));
    return 0;
}

/* As transformers' Trainer leaves it, for tools that plot it. */
static int put_history(const json_t *show, const json_t *model, const char *folder) {
    struct history h = {json_object(), model};
    int code = data_pages("metrics",
                          json_pack("{s:O, s:O}", "id", json_object_get(show, "id"), "stage",
                                    json_object_get(model, "stage")),
                          -1, add_figure, &h);
    json_t *log = json_array(), *step;
    const char *key;
    CAI_AUTO(mem) char *sorted = json_dumps(h.steps, JSON_SORT_KEYS);
    json_decref(h.steps);
    json_t *steps = json_loads(sorted, 0, NULL);
    json_object_foreach(steps, key, step) json_array_append(log, step);
    json_decref(steps);
    json_t *o = json_pack("{s:O, s:o}", "global_step", json_object_get(model, "step"),
                          "log_history", log);
    if (code == 0 && json_array_size(log))
        code = put_json(folder, "trainer_state.json", o) < 0 ? complain(EXIT_DAEMON, "%s",
                                                                        cai_error_text())
                                                             : 0;
    json_decref(o);
    return code;
}

static int put_card(const json_t *show, const json_t *model, const char *folder) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    json_t *report = NULL, *stored = NULL, *principles = NULL;
    int code = client_call("report", json_pack("{s:O}", "id", json_object_get(show, "id")), false,
                           &report);
    if (code == 0)
        code = client_call("constitution.show",
                           json_pack("{s:O}", "ref", json_object_get(show, "revision")), false,
                           &stored);
    if (code == 0)
        principles = json_loads(text_of(stored, "canonical"), 0, NULL);
    if (code == 0) {
        card_write(show, model, report, principles, folder, &text);
        if (cai_buf_status(&text) < 0 || put_text(folder, "README.md", text.data, text.len) < 0)
            code = complain(EXIT_DAEMON, "%s", cai_error_text());
    }
    json_decref(report);
    json_decref(stored);
    json_decref(principles);
    return code;
}

/* The model's files, checked: as they are, or the adapter added to its base. */
static int take_files(const json_t *model, bool merge, const char *part, size_t *ret_files) {
    const char *from = text_of(model, "path");
    if (merge && hf_adapter_is(from)) {
        CAI_TRY(check_hash(from, model));
        return hf_adapter_merge(from, part);
    }
    CAI_TRY(cai_dir_make(part));
    CAI_TRY(copy_files(from, part, ret_files));
    return check_hash(part, model);
}

int folder_write(const json_t *show, const json_t *model, bool merge, const char *to) {
    CAI_AUTO(mem) char *part = cai_format("%s.part", to);
    size_t files = 0;
    if (access(to, F_OK) == 0 && !empty_folder(to))
        return complain(EXIT_STATE, "%s is there already; name another folder, or remove it", to);
    cai_dir_remove(part);
    if (take_files(model, merge, part, &files) < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    int code = put_card(show, model, part);
    if (code == 0)
        code = put_history(show, model, part);
    if (code)
        return code;
    if (put_provenance(show, model, part) < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    rmdir(to);
    if (CAI_FAILPOINT("export.rename.before") < 0 || cai_file_rename_durable(part, to) < 0 ||
        CAI_FAILPOINT("export.rename.after") < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    if (files)
        say("%s: %zu files of the model (hash %.12s, checked), and README.md\n", to, files,
            text_of(model, "hash"));
    else
        say("Merged the adapter (hash %.12s, checked) into whole weights: %s, with README.md\n",
            text_of(model, "hash"), to);
    return EXIT_OK;
}
