/* keyring.c: the public keys that caid accepts: one line each, written whole and durably. No
 * secret is ever in it. Not for what a role may do (run/gate.c). */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "proto/keys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const char head[] =
    "# Who may speak to caid over a network: role, name, public key, made, ends ('-': it does not).\n"
    "# `caictl key` writes this file; after a change by hand: systemctl reload caid.\n";

/* ---- times: 2026-01-31T12:00:00Z ----------------------------------------------------------- */

static void write_time(struct cai_buf *out, int64_t s) {
    struct tm tm;
    time_t t = (time_t)s;
    char text[32];
    if (s && gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
        cai_buf_puts(out, text);
    else
        cai_buf_puts(out, "-");
}

static bool read_time(const char *text, int64_t *ret) {
    struct tm tm = {0};
    if (strcmp(text, "-") == 0) {
        *ret = 0;
        return true;
    }
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    *ret = end && !*end ? (int64_t)timegm(&tm) : -1;
    return *ret > 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

void keyring_free(struct keyring *k) {
    free(k->entries);
    *k = (struct keyring){0};
}

static void append(struct keyring *k, const struct key_entry *e) {
    if (k->n == k->cap) {
        k->cap = k->cap ? 2 * k->cap : 16;
        k->entries = cai_realloc(k->entries, k->cap, sizeof *k->entries);
    }
    k->entries[k->n++] = *e;
}

static int read_entry(char *line, const char *where, int number, struct key_entry *ret) {
    enum { ROLE, NAME, PUBLIC, MADE, ENDS, FIELDS };
    char *field[FIELDS + 1] = {0}, *rest = NULL;
    size_t n = 0;
    for (char *w = strtok_r(line, " \t\r", &rest); w && n <= FIELDS; w = strtok_r(NULL, " \t\r", &rest))
        field[n++] = w;
    if (n != FIELDS)
        return cai_fail(CAI_EINPUT, "%s:%d: a line is: role name key made ends", where, number);
    *ret = (struct key_entry){.role = key_role_of(field[ROLE])};
    if (!ret->role)
        return cai_fail(CAI_EINPUT, "%s:%d: '%.32s' is no role: client, reviewer, worker or admin",
                        where, number, field[ROLE]);
    if (!key_name_valid(field[NAME]))
        return cai_fail(CAI_EINPUT, "%s:%d: a name is of a-z, 0-9 and -, at most %d", where, number,
                        KEY_NAME_SIZE - 1);
    if (!key_valid(field[PUBLIC]))
        return cai_fail(CAI_EINPUT, "%s:%d: no key: 40 characters of Z85 are expected", where, number);
    if (!read_time(field[MADE], &ret->made_s) || !read_time(field[ENDS], &ret->ends_s))
        return cai_fail(CAI_EINPUT, "%s:%d: a time is like 2026-01-31T12:00:00Z, or -", where, number);
    snprintf(ret->name, sizeof ret->name, "%s", field[NAME]);
    snprintf(ret->public_key, sizeof ret->public_key, "%s", field[PUBLIC]);
    return 0;
}

static int take(struct keyring *k, char *line, const char *where, int number) {
    struct key_entry e;
    const char *word = line + strspn(line, " \t\r");
    if (!*word || *word == '#')
        return 0;
    if (k->n == KEYRING_MAX)
        return cai_fail(CAI_ELIMIT, "%s: more than %d keys", where, KEYRING_MAX);
    CAI_TRY(read_entry(line, where, number, &e));
    if (keyring_known(k, e.public_key))
        return cai_fail(CAI_EINPUT, "%s:%d: the key of %s is there twice", where, number, e.name);
    append(k, &e);
    return 0;
}

int keyring_parse(const char *text, size_t len, const char *where, struct keyring *ret) {
    struct keyring k = {0};
    int rc = 0, number = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        char line[256];
        number++;
        if (n >= sizeof line || memchr(text + at, '\0', n)) {
            rc = cai_fail(CAI_EINPUT, "%s:%d: a line too long, or no text", where, number);
            break;
        }
        memcpy(line, text + at, n);
        line[n] = '\0';
        rc = take(&k, line, where, number);
        at += n + 1;
    }
    if (rc < 0)
        keyring_free(&k);
    else
        *ret = k;
    return rc;
}

int keyring_load(const char *path, struct keyring *ret) {
    struct stat st;
    CAI_AUTO(buf) struct cai_buf text = {0};
    *ret = (struct keyring){0};
    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : cai_fail_errno("%s", path);
    /* Who can write it, says who may enter. */
    if (st.st_mode & 0022)
        return cai_fail(CAI_EAUTH, "%s: others can change it (mode %03o): chmod 600 it, and look "
                                   "through it", path, (unsigned)(st.st_mode & 0777));
    CAI_TRY(cai_file_read(path, KEYRING_BYTES_MAX, &text));
    return keyring_parse(text.data ? text.data : "", text.len, path, ret);
}

/* ---- writing ------------------------------------------------------------------------------- */

void keyring_write(const struct keyring *k, struct cai_buf *ret) {
    cai_buf_puts(ret, head);
    for (size_t i = 0; i < k->n; i++) {
        const struct key_entry *e = &k->entries[i];
        cai_buf_printf(ret, "%s %s %s ", key_role_name(e->role), e->name, e->public_key);
        write_time(ret, e->made_s);
        cai_buf_puts(ret, " ");
        write_time(ret, e->ends_s);
        cai_buf_puts(ret, "\n");
    }
}

int keyring_save(const char *path, const struct keyring *k) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    keyring_write(k, &text);
    CAI_TRY(cai_buf_status(&text));
    return cai_file_write_atomic(path, text.data, text.len);
}

/* ---- changing ------------------------------------------------------------------------------ */

static bool accepted(const struct key_entry *e, int64_t now_s) {
    return !e->ends_s || now_s < e->ends_s;
}

const struct key_entry *keyring_known(const struct keyring *k, const char *public_key) {
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->entries[i].public_key, public_key) == 0)
            return &k->entries[i];
    return NULL;
}

const struct key_entry *keyring_find(const struct keyring *k, const char *public_key,
                                     int64_t now_s) {
    const struct key_entry *e = keyring_known(k, public_key);
    return e && accepted(e, now_s) ? e : NULL;
}

int keyring_add(struct keyring *k, enum key_role role, const char *name, const char *public_key,
                int64_t now_s, int64_t overlap_s) {
    CAI_CHECK(role > ROLE_NONE && role < ROLE_COUNT);
    if (!key_name_valid(name))
        return cai_fail(CAI_EINPUT, "a key's name is of a-z, 0-9 and -, at most %d",
                        KEY_NAME_SIZE - 1);
    if (!key_valid(public_key))
        return cai_fail(CAI_EINPUT, "a public key has 40 characters of Z85");
    if (keyring_known(k, public_key))
        return cai_fail(CAI_ESTATE, "this key is known already, as %s's",
                        keyring_known(k, public_key)->name);
    if (k->n == KEYRING_MAX)
        return cai_fail(CAI_ELIMIT, "there are %d keys, the most that caid keeps", KEYRING_MAX);
    for (size_t i = 0; i < k->n; i++) {
        struct key_entry *e = &k->entries[i];
        if (strcmp(e->name, name) != 0 || !accepted(e, now_s))
            continue;
        if (overlap_s < 0)
            return cai_fail(CAI_ESTATE, "%s has a key: revoke it, or `caictl key rotate %s`", name,
                            name);
        if (!e->ends_s || e->ends_s > now_s + overlap_s)
            e->ends_s = now_s + overlap_s;
    }
    struct key_entry e = {.role = role, .made_s = now_s};
    snprintf(e.name, sizeof e.name, "%s", name);
    snprintf(e.public_key, sizeof e.public_key, "%s", public_key);
    append(k, &e);
    return 0;
}

int keyring_revoke(struct keyring *k, const char *name_or_key, int64_t now_s) {
    size_t n = 0;
    for (size_t i = 0; i < k->n; i++) {
        struct key_entry *e = &k->entries[i];
        if (accepted(e, now_s) &&
            (strcmp(e->name, name_or_key) == 0 || strcmp(e->public_key, name_or_key) == 0)) {
            e->ends_s = now_s;
            n++;
        }
    }
    return n ? 0
             : cai_fail(CAI_ENOTFOUND, "no key of the name %.64s is accepted; `caictl key list` "
                                       "shows them all", name_or_key);
}
