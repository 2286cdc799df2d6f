/* corpus.h: data files read for `caictl data …`: their rows in order, one at a time, with what is
 * wrong in them, and which rows are nearly the same. No daemon, no job. */
#ifndef CAI_CAICTL_CORPUS_H
#define CAI_CAICTL_CORPUS_H

#include "input/record.h"
#include "input/similar.h"

/* What is kept of a row: files may be larger than memory, so texts are read again. */
struct corpus_row {
    uint32_t file, line;
    enum input_form form;
};
/* A good row, number i of all; its texts live for the call and may be taken out of it. */
typedef void corpus_function(void *context, size_t i, struct input_record *r);
struct corpus_file {
    const char *path;
    size_t good, bad, first; /* first: of its rows in corpus.at */
};
struct corpus {
    struct corpus_row *at;
    size_t n, cap;
    struct corpus_file *files;
    size_t n_files;
    struct input_report report; /* of all files */
    struct similar *texts;      /* grouped; by the rows' numbers */
};

/* Reads all files; each good row goes to f (may be NULL). What is wrong in rows is in the report; a
 * file that cannot be read, too. */
void corpus_read(struct corpus *c, const char *const *paths, size_t n, corpus_function *f,
                 void *context);
/* The same rows once more. CAI_ESTATE when a file has changed since corpus_read. */
int corpus_again(const struct corpus *c, corpus_function *f, void *context);
/* D011 for every row of files[from …] that is nearly one of the files before. Returns how many. */
size_t corpus_check_apart(struct corpus *c, size_t from);
void corpus_free(struct corpus *c);
size_t corpus_bad(const struct corpus *c);

#endif
