/* corpus.c: reads data files row by row. Telling forms apart is input/record.c's. */
#include "corpus.h"
#include "base/error.h"
#include "input/jsonl.h"
#include <stdlib.h>

static void read_row(struct corpus *c, size_t file, size_t line, json_t *row,
                     struct input_report *report) {
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 1024;
        c->at = cai_realloc(c->at, c->cap, sizeof *c->at);
    }
    struct corpus_row *o = &c->at[c->n];
    *o = (struct corpus_row){.file = file, .line = line, .row = row};
    if (input_record(row, line, report, &o->r) < 0) {
        c->files[file].bad++;
        json_decref(row);
        return;
    }
    similar_add_turns(c->texts, o->r.turns, o->r.n);
    c->files[file].good++;
    c->n++;
}

static void read_file(struct corpus *c, size_t file) {
    struct corpus_file *f = &c->files[file];
    struct input_report own = {.file = f->path};
    struct jsonl *reader;
    json_t *row;
    size_t line;
    f->first = c->n;
    if (jsonl_open(f->path, &own, &reader) == 0) {
        while (jsonl_next(reader, &row, &line) > 0)
            read_row(c, file, line, row, &own);
        f->bad += jsonl_bad(reader);
        jsonl_close(reader);
        if (f->good + f->bad == 0 && own.errors == 0)
            input_report_add(&own, 0, 0, "D008", "give at least one row", "the file has no rows");
    }
    input_report_merge(&c->report, &own);
}

void corpus_read(struct corpus *c, const char *const *paths, size_t n) {
    *c = (struct corpus){.n_files = n, .texts = similar_new(SIMILAR_THRESHOLD)};
    c->files = cai_alloc((n + 1) * sizeof *c->files);
    for (size_t i = 0; i < n; i++) {
        c->files[i].path = paths[i];
        read_file(c, i);
    }
    similar_group(c->texts);
    cai_error_clear();
}

void corpus_free(struct corpus *c) {
    for (size_t i = 0; i < c->n; i++) {
        input_record_free(&c->at[i].r);
        json_decref(c->at[i].row);
    }
    free(c->at);
    free(c->files);
    similar_free(c->texts);
    input_report_free(&c->report);
    *c = (struct corpus){0};
}

size_t corpus_bad(const struct corpus *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_files; i++)
        n += c->files[i].bad;
    return n;
}

/* A group's lowest number is of the earliest file that has one of it. */
size_t corpus_check_apart(struct corpus *c, size_t from) {
    size_t found = 0, i = from < c->n_files ? c->files[from].first : c->n;
    struct input_report own = {0};
    for (; i < c->n; i++) {
        const struct corpus_row *o = &c->at[i], *first = &c->at[similar_of(c->texts, i)];
        if (first->file >= from)
            continue;
        own.file = c->files[o->file].path;
        input_report_add(&own, o->line, 1, "D011",
                         found ? NULL
                               : "take it out of one of the two; `caictl data import FILE --out OUT "
                                 "--held-out 0.1` splits a file so that this cannot be",
                         "nearly the same as %s:%zu (similarity %.2f%s)",
                         c->files[first->file].path, first->line,
                         similar_jaccard(c->texts, i, (size_t)(first - c->at)),
                         similar_jaccard(c->texts, i, (size_t)(first - c->at)) < SIMILAR_THRESHOLD
                             ? ", of one conversation or by way of others"
                             : "");
        found++;
    }
    input_report_merge(&c->report, &own);
    return found;
}
