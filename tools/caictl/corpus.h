/* corpus.h: data files read for `caictl data …`: their rows in order, with what is wrong in them,
 * and which rows are nearly the same. No daemon, no job. */
#ifndef CAI_CAICTL_CORPUS_H
#define CAI_CAICTL_CORPUS_H

#include "input/record.h"
#include "input/similar.h"

struct corpus_row {
    size_t file, line;
    struct input_record r; /* its texts live as long as the corpus */
    json_t *row;
};
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

/* Reads all files. What is wrong in rows is in the report; a file that cannot be read, too. */
void corpus_read(struct corpus *c, const char *const *paths, size_t n);
/* D011 for every row of files[from …] that is nearly one of the files before. Returns how many. */
size_t corpus_check_apart(struct corpus *c, size_t from);
void corpus_free(struct corpus *c);
size_t corpus_bad(const struct corpus *c);

#endif
