/* card.c: a model card: what was done to the model, under which constitution, from which data,
 * and what is known of it. Written so that another can repeat it and check each file. */
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "export.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Text of others inside Markdown: no control characters, and no table is broken. */
static void put_safe(struct cai_buf *out, const char *text) {
    CAI_AUTO(buf) struct cai_buf safe = {0};
    cai_text_printable(&safe, text, strlen(text), false);
    for (const char *s = safe.data ? safe.data : ""; *s; s++) {
        if (strchr("|<>\\`*_[]#", *s))
            cai_buf_putc(out, '\\');
        cai_buf_putc(out, *s);
    }
}

static void put_row(struct cai_buf *out, const char *name, const char *value) {
    cai_buf_printf(out, "| %s | ", name);
    put_safe(out, value);
    cai_buf_puts(out, " |\n");
}

static void put_head(struct cai_buf *out, const json_t *show, bool pm) {
    cai_buf_printf(out,
                   "---\nlibrary_name: transformers\npipeline_tag: %s\ntags:\n- caid\n"
                   "- constitutional-ai\n---\n\n# ",
                   pm ? "text-classification" : "text-generation");
    put_safe(out, text_of(show, "name"));
    cai_buf_puts(out, pm ? ": preference model\n\n" : "\n\n");
    cai_buf_puts(out, pm ? "Scores replies: the higher, the better it thinks a reply is under the "
                           "constitution below. Only differences between replies to one prompt "
                           "mean something.\n\n"
                         : "A language model, made better under the written constitution below: it "
                           "was asked, it criticised and rewrote its own replies, and learned from "
                           "that and from choices between replies.\n\n");
}

static void put_origin(struct cai_buf *out, const json_t *show, const json_t *model) {
    const json_t *spec = json_object_get(show, "spec"), *about = json_object_get(model, "provenance");
    CAI_AUTO(mem) char *place = cai_format("round %lld of %lld, %s, step %lld",
                                           (long long)integer_of(model, "round"),
                                           (long long)integer_of(show, "rounds"),
                                           text_of(model, "stage"),
                                           (long long)integer_of(model, "step"));
    CAI_AUTO(mem) char *job = cai_format("%lld, %s", (long long)integer_of(show, "id"),
                                         text_of(show, "name"));
    CAI_AUTO(mem) char *seed = cai_format("%lld", (long long)integer_of(spec, "seed"));
    cai_buf_puts(out, "## Where it comes from\n\n| | |\n|---|---|\n");
    put_row(out, "made by", "caid " CAI_VERSION);
    put_row(out, "job", job);
    put_row(out, "stage", place);
    put_row(out, "model hash", text_of(model, "hash"));
    put_row(out, "start model", base_name(text_of(json_object_get(spec, "models"), "start")));
    if (*text_of(about, "init"))
        put_row(out, "trained from (hash)", text_of(about, "init"));
    if (*text_of(about, "dataset"))
        put_row(out, "trained on (SHA-256 of the rows)", text_of(about, "dataset"));
    put_row(out, "constitution revision", text_of(show, "revision"));
    put_row(out, "seed of every draw", seed);
    put_row(out, "numeric class", text_of(show, "numeric_class"));
    put_row(out, "ledger of all results", text_of(show, "ledger"));
    if (*text_of(about, "stopped"))
        put_row(out, "ended early", text_of(about, "stopped"));
}

/* Data files lie under their hashes. */
static void put_data(struct cai_buf *out, const json_t *show) {
    const json_t *data = json_object_get(json_object_get(show, "spec"), "data");
    const char *name;
    json_t *v;
    cai_buf_puts(out, "\n## Data\n\n| file of the job | SHA-256 |\n|---|---|\n");
    json_object_foreach((json_t *)data, name, v) if (json_is_string(v))
        put_row(out, name, base_name(json_string_value(v)));
}

static void put_principles(struct cai_buf *out, const json_t *constitution) {
    const json_t *list = json_object_get(constitution, "principles");
    size_t i;
    json_t *p;
    cai_buf_puts(out, "\n## Constitution\n\n");
    put_safe(out, text_of(constitution, "name"));
    cai_buf_printf(out, ", %zu principles:\n\n", json_array_size(list));
    json_array_foreach(list, i, p) {
        cai_buf_puts(out, "- ");
        put_safe(out, text_of(p, "id"));
        if (*text_of(p, "title")) {
            cai_buf_puts(out, ": ");
            put_safe(out, text_of(p, "title"));
        }
        cai_buf_putc(out, '\n');
    }
}

static void put_list(struct cai_buf *out, const char *title, const json_t *list) {
    size_t i;
    json_t *v;
    if (json_array_size(list) == 0)
        return;
    cai_buf_printf(out, "\n## %s\n\n", title);
    json_array_foreach(list, i, v) {
        cai_buf_puts(out, "- ");
        put_safe(out, json_string_value(v) ? json_string_value(v) : "");
        cai_buf_putc(out, '\n');
    }
}

static int by_name(const void *x, const void *y) {
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static void put_files(struct cai_buf *out, const char *folder) {
    char *names[256];
    size_t n = 0;
    struct dirent *e;
    DIR *d = opendir(folder);
    while (d && n < CAI_COUNT(names) && (e = readdir(d)))
        if (e->d_name[0] != '.')
            names[n++] = cai_strdup(e->d_name);
    if (d)
        closedir(d);
    qsort(names, n, sizeof *names, by_name);
    cai_buf_puts(out, "\n## Files\n\nCheck them with `sha256sum -c` on the lines of this block:\n\n```\n");
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(mem) char *path = cai_path_join(folder, names[i]);
        char hex[CAI_SHA256_HEX];
        if (cai_file_sha256(path, hex) == 0)
            cai_buf_printf(out, "%s  %s\n", hex, names[i]);
        free(names[i]);
    }
    cai_buf_puts(out, "```\n\nThe job as it ran, with every setting: provenance.json.\n");
}

void card_write(const json_t *show, const json_t *model, const json_t *report,
                const json_t *principles, const char *folder, struct cai_buf *ret) {
    bool pm = strcmp(text_of(model, "kind"), "pm") == 0;
    put_head(ret, show, pm);
    put_list(ret, "What is known of it", json_object_get(report, "headline"));
    put_list(ret, "What is not", json_object_get(report, "warnings"));
    cai_buf_putc(ret, '\n');
    put_origin(ret, show, model);
    put_data(ret, show);
    put_principles(ret, principles);
    put_files(ret, folder);
}
