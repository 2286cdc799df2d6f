/* jsonl.c: lines of JSON from a plain or gzip file, with limits. What a row means is record.c's. */
#include "input/jsonl.h"
#include "base/error.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

struct jsonl {
    gzFile file;
    struct input_report *report;
    struct cai_buf line;
    size_t number, rows, bad;
    bool broken;
    size_t at, have;
    char chunk[64 << 10];
};

int jsonl_open(const char *path, struct input_report *report, struct jsonl **ret) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool regular = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    gzFile file = regular ? gzdopen(fd, "rb") : NULL;
    if (!report->file)
        report->file = path;
    if (!file) {
        input_report_add(report, 0, 0, "D009", "look at the path and its permissions",
                         "cannot be read: %s", fd < 0 ? strerror(errno) : "not a regular file");
        if (fd >= 0)
            close(fd);
        return input_report_status(report);
    }
    struct jsonl *r = cai_alloc(sizeof *r);
    r->file = file;
    r->report = report;
    *ret = r;
    return CAI_OK;
}

void jsonl_close(struct jsonl *r) {
    if (!r)
        return;
    gzclose(r->file);
    r->report->row = NULL;
    cai_buf_free(&r->line);
    free(r);
}

size_t jsonl_rows(const struct jsonl *r) {
    return r->rows;
}

size_t jsonl_bad(const struct jsonl *r) {
    return r->bad;
}

/* More bytes into the chunk; false at the end or on an error, which is reported. */
static bool fill(struct jsonl *r) {
    if (r->broken)
        return false;
    int n = gzread(r->file, r->chunk, sizeof r->chunk), code = Z_OK;
    const char *why = n < 0 ? gzerror(r->file, &code) : NULL;
    if (n == 0) {
        why = gzerror(r->file, &code); /* a cut gzip stream ends without an error from gzread */
        why = code != Z_OK && code != Z_STREAM_END ? why : NULL;
    }
    if (why) {
        input_report_add(r->report, r->number + 1, 1, "D009", "make the file again",
                         "the file is damaged: %s", code == Z_ERRNO ? strerror(errno) : why);
        r->broken = true;
    }
    r->at = 0;
    r->have = n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* The next line into r->line, without its end; false at the end. Longer than the limit: only
 * the beginning is kept and *ret_long is set. */
static bool read_line(struct jsonl *r, bool *ret_long) {
    bool any = false;
    cai_buf_clear(&r->line);
    *ret_long = false;
    while (r->at < r->have || fill(r)) {
        any = true;
        const char *from = r->chunk + r->at, *nl = memchr(from, '\n', r->have - r->at);
        size_t n = nl ? (size_t)(nl - from) : r->have - r->at;
        if (r->line.len + n > JSONL_LINE_MAX)
            *ret_long = true;
        else if (!*ret_long)
            cai_buf_append(&r->line, from, n);
        r->at += n + (nl != NULL);
        if (nl)
            break;
    }
    r->number += any;
    r->report->row = r->line.data;
    r->report->row_len = r->line.len;
    r->report->row_line = r->number;
    return any && !r->broken;
}

static size_t column_of(const char *s, size_t offset) {
    size_t column = 1;
    for (size_t i = 0; i < offset; i++)
        column += ((unsigned char)s[i] & 0xC0) != 0x80;
    return column;
}

static bool check_bytes(struct jsonl *r) {
    const char *s = r->line.data;
    size_t len = r->line.len, start = r->number == 1 && len >= 3 && !memcmp(s, "\xEF\xBB\xBF", 3);
    if (start) {
        input_report_add(r->report, 1, 1, "D002",
                         "save the file as UTF-8 without a byte order mark",
                         "the file begins with a byte order mark");
        return false;
    }
    const char *nul = memchr(s, '\0', len);
    size_t bad = cai_utf8_valid(s, len);
    if (nul && (size_t)(nul - s) < bad)
        bad = (size_t)(nul - s);
    if (bad == len)
        return true;
    input_report_add(r->report, r->number, column_of(s, bad), "D002", "save the file as UTF-8",
                     s[bad] ? "invalid UTF-8 byte 0x%02X" : "NUL character (0x%02X)",
                     (unsigned char)s[bad]);
    return false;
}

/* jansson names the place after the token it stumbled on; people look for its beginning. */
static size_t column_of_error(const struct cai_buf *line, const json_error_t *e) {
    const char *near = strstr(e->text, " near '");
    size_t at = e->position > 0 ? (size_t)e->position : 0;
    size_t n = near ? strlen(near += strlen(" near '")) : 0;
    n = n ? n - 1 : 0; /* the closing quote */
    at = at < line->len ? at : line->len;
    if (n && n <= at && memcmp(line->data + at - n, near, n) == 0)
        at -= n;
    else if (at)
        at--;
    return column_of(line->data, at);
}

static json_t *parse(struct jsonl *r) {
    json_error_t e;
    json_t *row = json_loadb(r->line.data, r->line.len, JSON_REJECT_DUPLICATES, &e);
    if (row && json_is_object(row))
        return row;
    if (row) {
        input_report_add(r->report, r->number, 1, "D004", "write each row as {\"prompt\": …}",
                         "the line is not a JSON object");
        json_decref(row);
        return NULL;
    }
    bool twice = json_error_code(&e) == json_error_duplicate_key;
    input_report_add(r->report, r->number, column_of_error(&r->line, &e), twice ? "D007" : "D001",
                     twice ? "remove one of the two" : "each line is one JSON object",
                     twice ? "%s" : "not JSON: %s", e.text);
    return NULL;
}

static bool blank(const struct jsonl *r) {
    for (size_t i = 0; i < r->line.len; i++)
        if (!strchr(" \t\r", r->line.data[i]) || !r->line.data[i])
            return false;
    return true;
}

int jsonl_next(struct jsonl *r, json_t **ret_row, size_t *ret_line) {
    bool too_long;
    while (read_line(r, &too_long)) {
        if (too_long) {
            input_report_add(r->report, r->number, 1, "D003", "split it, or shorten its texts",
                             "the line is longer than %d bytes", JSONL_LINE_MAX);
            r->bad++;
            continue;
        }
        if (blank(r))
            continue;
        json_t *row = check_bytes(r) ? parse(r) : NULL;
        if (!row) {
            r->bad++;
            continue;
        }
        r->rows++;
        *ret_row = row;
        *ret_line = r->number;
        return 1;
    }
    return 0;
}
