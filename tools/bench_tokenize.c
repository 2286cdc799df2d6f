/* bench_tokenize.c: one side of tools/benches/encoding.py: encodes the texts of a file, one
 * thread, each time a line comes. Not installed.
 *     bench-tokenize DIR TEXTS      texts are separated by NUL */
#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Seconds of processor time: others on the machine do not count. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int encode_all(const struct hf_tokenizer *t, const struct cai_buf *texts) {
    struct hf_ids ids = {0};
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < texts->len;) {
        size_t len = strnlen(texts->data + at, texts->len - at);
        ids.n = 0;
        rc = hf_tokenizer_encode_written(t, texts->data + at, len, &ids);
        at += len + 1;
    }
    hf_ids_free(&ids);
    return rc;
}

static int bench(const char *dir, const char *path) {
    CAI_AUTO(buf) struct cai_buf texts = {0};
    struct hf_tokenizer *t;
    char line[16];
    CAI_TRY(cai_file_read(path, (size_t)256 << 20, &texts));
    CAI_TRY(hf_tokenizer_load(dir, &t));
    puts("ready");
    fflush(stdout);
    int rc = 0;
    while (rc == 0 && fgets(line, sizeof line, stdin)) {
        double start = now();
        rc = encode_all(t, &texts);
        printf("%.6f %.6f\n", now() - start, (double)texts.len / 1e6);
        fflush(stdout);
    }
    hf_tokenizer_free(t);
    return rc;
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    if (bench(argv[1], argv[2]) == 0)
        return 0;
    fprintf(stderr, "bench-tokenize: %s\n", cai_error_text());
    return 1;
}
