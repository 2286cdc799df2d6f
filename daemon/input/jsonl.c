/* jsonl.c: lines of JSON from a plain or gzip file, with limits; and the shape of a row that
 * holds a conversation. */
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
    size_t number, rows;
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
    cai_buf_free(&r->line);
    free(r);
}

size_t jsonl_rows(const struct jsonl *r) {
    return r->rows;
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
            continue;
        }
        json_t *row = blank(r) || !check_bytes(r) ? NULL : parse(r);
        if (!row)
            continue;
        r->rows++;
        *ret_row = row;
        *ret_line = r->number;
        return 1;
    }
    return 0;
}

/* ---- conversations ------------------------------------------------------------------------- */

const char *input_text(const json_t *row, const char *key, bool required, size_t line,
                       struct input_report *report) {
    const json_t *v = json_object_get(row, key);
    const char *text = json_string_value(v);
    if (!v || json_is_null(v)) {
        if (required)
            input_report_add(report, line, 1, "D005", NULL, "missing member \"%s\"", key);
        return NULL;
    }
    if (!text || strspn(text, " \t\r\n") == strlen(text)) {
        input_report_add(report, line, 1, "D006", NULL, "\"%s\" must be %stext", key,
                         text ? "non-empty " : "");
        return NULL;
    }
    return text;
}

static bool read_turn(const json_t *m, size_t i, size_t line, struct input_report *report,
                      struct input_turn *ret) {
    const char *role = json_string_value(json_object_get(m, "role"));
    const char *key = json_object_get(m, "content") ? "content" : "text";
    bool known = role && (!strcmp(role, "user") || !strcmp(role, "assistant") ||
                          (!strcmp(role, "system") && i == 0));
    if (!known) {
        input_report_add(
            report, line, 1, "D006", "roles are user, assistant, and system for the first",
            "message %zu has %s%.40s", i + 1, role ? "the role " : "no role", role ? role : "");
        return false;
    }
    ret->role = role;
    ret->text = input_text(m, key, false, line, report);
    if (!ret->text && !json_object_get(m, key))
        input_report_add(report, line, 1, "D005", "write {\"role\": …, \"content\": …}",
                         "message %zu has no \"content\"", i + 1);
    return ret->text != NULL;
}

/* User and assistant alternate, the user first. */
static bool check_order(const struct input_row *row, size_t line, struct input_report *report) {
    size_t start = row->n && strcmp(row->turns[0].role, "system") == 0;
    for (size_t i = start; i < row->n; i++)
        if (strcmp(row->turns[i].role, (i - start) % 2 ? "assistant" : "user") != 0) {
            input_report_add(report, line, 1, "D006", "begin with the user, then alternate",
                             "message %zu is out of turn: %s", i + 1, row->turns[i].role);
            return false;
        }
    return true;
}

static bool read_messages(const json_t *list, size_t line, struct input_report *report,
                          struct input_row *ret) {
    size_t n = json_array_size(list);
    if (n == 0 || n > 10000) {
        input_report_add(report, line, 1, "D006", "write [{\"role\": …, \"content\": …}, …]",
                         "\"messages\" must be a list of 1 to 10,000 messages");
        return false;
    }
    ret->turns = cai_realloc(NULL, n, sizeof *ret->turns);
    for (; ret->n < n; ret->n++)
        if (!read_turn(json_array_get(list, ret->n), ret->n, line, report, &ret->turns[ret->n]))
            return false;
    if (!check_order(ret, line, report))
        return false;
    if (strcmp(ret->turns[n - 1].role, "assistant") == 0)
        ret->reply = ret->turns[--ret->n].text;
    if (ret->n == 0 || strcmp(ret->turns[ret->n - 1].role, "user") != 0) {
        input_report_add(report, line, 1, "D006", "add the user's turn",
                         "the conversation has no user turn to reply to");
        return false;
    }
    return true;
}

static bool read_row(const json_t *row, size_t line, struct input_report *report,
                     struct input_row *ret) {
    const json_t *prompt = json_object_get(row, "prompt"), *list = json_object_get(row, "messages");
    const json_t *id = json_object_get(row, "id");
    if (id && !json_is_null(id) && !json_is_string(id) && !json_is_integer(id)) {
        input_report_add(report, line, 1, "D006", NULL, "\"id\" must be text or a whole number");
        return false;
    }
    ret->id = json_string_value(id);
    if (!prompt == !list) {
        input_report_add(report, line, 1, "D005", "give one of the two",
                         prompt ? "both \"prompt\" and \"messages\""
                                : "missing member \"prompt\" or \"messages\"");
        return false;
    }
    if (list)
        return read_messages(list, line, report, ret);
    const char *text = input_text(row, "prompt", true, line, report);
    if (!text)
        return false;
    ret->turns = cai_alloc(sizeof *ret->turns);
    ret->turns[0] = (struct input_turn){"user", text};
    ret->n = 1;
    return true;
}

int input_messages(const json_t *row, size_t line, struct input_report *report,
                   struct input_row *ret) {
    *ret = (struct input_row){0};
    size_t errors = report->errors;
    if (read_row(row, line, report, ret)) {
        const char *reply = input_text(row, "reply", false, line, report);
        ret->reply = reply ? reply : ret->reply;
    }
    if (report->errors == errors)
        return CAI_OK;
    input_row_free(ret);
    return input_report_status(report);
}

void input_row_free(struct input_row *row) {
    if (!row)
        return;
    free(row->turns);
    *row = (struct input_row){0};
}
