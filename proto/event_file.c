/* event_file.c: see event_file.h. */
#include "proto/event_file.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/file.h"
#include "tensorboard.pb-c.h"

#include <endian.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "events.out.tfevents.0000000000.caid" /* TensorBoard looks for "tfevents" */
#define VERSION "brain.Event:2"
enum { HEAD = 12, TAIL = 4, RECORD_MAX = 1 << 16, FILE_MAX = 1 << 30 };

struct event_file {
    char *path;
    FILE *out;
    void *known; /* tsearch tree of "step tag" */
    int64_t points;
};

/* ---- check sums ---------------------------------------------------------------------------- */
/* CRC-32C (Castagnoli), bit by bit: records are short and few. */
static uint32_t crc32c(const uint8_t *data, size_t len) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

/* TFRecord's mask, which keeps a check sum of data that hold check sums from being weak. */
static uint32_t masked(const void *data, size_t len) {
    uint32_t crc = crc32c(data, len);
    return htole32((crc >> 15 | crc << 17) + 0xa282ead8u);
}

/* ---- what the file has --------------------------------------------------------------------- */
static int by_text(const void *a, const void *b) { return strcmp(a, b); }

/* False when the point was known already. */
static bool remember(struct event_file *f, const char *tag, int64_t step) {
    char *key = cai_format("%lld %s", (long long)step, tag);
    char **at = tsearch(key, &f->known, by_text);
    CAI_CHECK(at);
    if (*at != key) {
        free(key);
        return false;
    }
    f->points++;
    return true;
}

/* The message of the record at `at`, whole and unhurt; NULL and nothing else is. */
static const uint8_t *record_at(const struct cai_buf *b, size_t at, size_t *ret_len) {
    const uint8_t *p = (const uint8_t *)b->data + at;
    uint64_t len;
    uint32_t sum;
    if (b->len - at < HEAD + TAIL)
        return NULL;
    memcpy(&len, p, sizeof len);
    memcpy(&sum, p + sizeof len, sizeof sum);
    len = le64toh(len);
    if (sum != masked(p, sizeof len) || len > RECORD_MAX || b->len - at < HEAD + len + TAIL)
        return NULL;
    memcpy(&sum, p + HEAD + len, sizeof sum);
    *ret_len = (size_t)len;
    return sum == masked(p + HEAD, (size_t)len) ? p + HEAD : NULL;
}

static void remember_event(struct event_file *f, const uint8_t *data, size_t len) {
    Cai__Tensorboard__Event *e = cai__tensorboard__event__unpack(NULL, len, data);
    for (size_t i = 0; e && e->summary && i < e->summary->n_value; i++)
        remember(f, e->summary->value[i]->tag, e->step);
    if (e)
        cai__tensorboard__event__free_unpacked(e, NULL);
}

/* Bytes of the file up to the last whole record. */
static size_t read_known(struct event_file *f, const struct cai_buf *b) {
    size_t at = 0, len;
    for (const uint8_t *data; (data = record_at(b, at, &len)); at += HEAD + len + TAIL)
        remember_event(f, data, len);
    return at;
}

/* ---- writing ------------------------------------------------------------------------------- */
static int write_event(struct event_file *f, const Cai__Tensorboard__Event *e) {
    uint8_t record[HEAD + RECORD_MAX + TAIL];
    uint64_t len = cai__tensorboard__event__get_packed_size(e), le = htole64(len);
    CAI_CHECK(len <= RECORD_MAX);
    memcpy(record, &le, sizeof le);
    uint32_t sum = masked(record, sizeof le);
    memcpy(record + sizeof le, &sum, sizeof sum);
    cai__tensorboard__event__pack(e, record + HEAD);
    sum = masked(record + HEAD, len);
    memcpy(record + HEAD + len, &sum, sizeof sum);
    if (fwrite(record, HEAD + len + TAIL, 1, f->out) != 1)
        return cai_fail_errno("%s", f->path);
    return 0;
}

static int write_version(struct event_file *f) {
    Cai__Tensorboard__Event e;
    cai__tensorboard__event__init(&e);
    e.file_version = (char *)VERSION;
    CAI_TRY(write_event(f, &e));
    return event_file_flush(f);
}

static int open_file(struct event_file *f) {
    CAI_AUTO(buf) struct cai_buf b = {.max = FILE_MAX};
    size_t whole = 0;
    if (cai_file_exists(f->path)) {
        CAI_TRY(cai_file_read(f->path, FILE_MAX, &b));
        whole = read_known(f, &b);
        if (b.len && !whole)
            return cai_fail(CAI_EINPUT, "%s: not an event file of TensorBoard; name another folder",
                            f->path);
        if (whole < b.len && truncate(f->path, (off_t)whole) < 0)
            return cai_fail_errno("%s", f->path);
    }
    f->out = fopen(f->path, "abe");
    if (!f->out)
        return cai_fail_errno("%s", f->path);
    return whole ? 0 : write_version(f);
}

int event_file_open(const char *folder, struct event_file **ret) {
    CAI_TRY(cai_dir_make(folder));
    struct event_file *f = cai_alloc(sizeof *f);
    f->path = cai_path_join(folder, FILE_NAME);
    int rc = open_file(f);
    if (rc < 0) {
        event_file_close(f);
        return rc;
    }
    *ret = f;
    return 0;
}

int event_file_add(struct event_file *f, const char *tag, int64_t step, double value,
                   double wall_s) {
    if (!remember(f, tag, step))
        return 0;
    Cai__Tensorboard__Event e;
    Cai__Tensorboard__Summary summary;
    Cai__Tensorboard__Value point, *points = &point;
    cai__tensorboard__event__init(&e);
    cai__tensorboard__summary__init(&summary);
    cai__tensorboard__value__init(&point);
    point.tag = (char *)tag;
    point.simple_value = (float)value;
    summary.n_value = 1;
    summary.value = &points;
    e.wall_time = wall_s;
    e.step = step;
    e.summary = &summary;
    return write_event(f, &e);
}

int event_file_flush(struct event_file *f) {
    return fflush(f->out) == 0 ? 0 : cai_fail_errno("%s", f->path);
}

int64_t event_file_points(const struct event_file *f) { return f->points; }

void event_file_close(struct event_file *f) {
    if (!f)
        return;
    if (f->out)
        fclose(f->out);
    while (f->known) {
        char *key = *(char **)f->known;
        tdelete(key, &f->known, by_text);
        free(key);
    }
    free(f->path);
    free(f);
}
