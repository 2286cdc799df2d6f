/* keys.c: key pairs and the files that hold them. Not for caid's list (keyring.c). */
#include "proto/keys.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

static const char *const roles[ROLE_COUNT] = {"none", "client", "reviewer", "worker", "admin"};

const char *key_role_name(enum key_role role) {
    return role > ROLE_NONE && role < ROLE_COUNT ? roles[role] : roles[ROLE_NONE];
}

enum key_role key_role_of(const char *name) {
    for (int i = ROLE_NONE + 1; i < ROLE_COUNT; i++)
        if (strcmp(name, roles[i]) == 0)
            return (enum key_role)i;
    return ROLE_NONE;
}

/* zmq_z85_decode of libzmq takes any five characters; those outside the alphabet must not pass. */
bool key_valid(const char *z85) {
    static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   ".-:+=^!/*?&<>()[]{}@%$#";
    uint8_t bytes[32];
    return strlen(z85) == KEY_SIZE - 1 && strspn(z85, alphabet) == KEY_SIZE - 1 &&
           zmq_z85_decode(bytes, z85) != NULL;
}

bool key_name_valid(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n < KEY_NAME_SIZE && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

int key_make(struct key_file *io) {
    if (zmq_curve_keypair(io->public_key, io->secret_key) != 0)
        return cai_fail(CAI_EINTERNAL, "cannot make a key pair: %s", zmq_strerror(zmq_errno()));
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

struct place {
    const char *where;
    int line;
};

static int copy_key(const struct place *p, const char *word, const char *value,
                    char out[KEY_SIZE]) {
    if (!key_valid(value))
        return cai_fail(CAI_EINPUT, "%s:%d: %s is no key: 40 characters of Z85 are expected",
                        p->where, p->line, word);
    memcpy(out, value, KEY_SIZE);
    return 0;
}

static int add_server(struct key_file *io, const char *value) {
    if (io->n_servers == KEY_SERVERS)
        return cai_fail(CAI_EINPUT, "more than %d keys of servers", KEY_SERVERS);
    memcpy(io->server[io->n_servers++], value, KEY_SIZE);
    return 0;
}

/* All but servers are said once: of two secrets neither is sure to be the one that was meant. */
static bool said(const struct key_file *k, const char *word) {
    return (strcmp(word, "public") == 0 && *k->public_key) ||
           (strcmp(word, "secret") == 0 && *k->secret_key) ||
           (strcmp(word, "role") == 0 && k->role) || (strcmp(word, "name") == 0 && *k->name);
}

static int take_line(struct key_file *k, const struct place *p, const char *word,
                     const char *value) {
    char server[KEY_SIZE];
    if (said(k, word))
        return cai_fail(CAI_EINPUT, "%s:%d: a second line '%s': a key file has one", p->where,
                        p->line, word);
    if (strcmp(word, "public") == 0)
        return copy_key(p, word, value, k->public_key);
    if (strcmp(word, "secret") == 0)
        return copy_key(p, word, value, k->secret_key);
    if (strcmp(word, "server") == 0) {
        CAI_TRY(copy_key(p, word, value, server));
        return add_server(k, server);
    }
    if (strcmp(word, "role") == 0) {
        k->role = key_role_of(value);
        return k->role ? 0
                       : cai_fail(CAI_EINPUT, "%s:%d: '%.32s' is no role: client, reviewer, worker "
                                              "or admin", p->where, p->line, value);
    }
    if (strcmp(word, "name") != 0)
        return cai_fail(CAI_EINPUT, "%s:%d: '%.32s' is none of name, role, public, secret, server",
                        p->where, p->line, word);
    if (!key_name_valid(value))
        return cai_fail(CAI_EINPUT, "%s:%d: a name is of a-z, 0-9 and -, at most %d", p->where,
                        p->line, KEY_NAME_SIZE - 1);
    snprintf(k->name, sizeof k->name, "%s", value);
    return 0;
}

static int read_line(struct key_file *k, const struct place *p, char *line) {
    char *word = line + strspn(line, " \t");
    if (!*word || *word == '#')
        return 0;
    char *value = word + strcspn(word, " \t");
    if (*value)
        *value++ = '\0';
    value += strspn(value, " \t");
    char *end = value + strcspn(value, " \t");
    if (!*value || end[strspn(end, " \t")])
        return cai_fail(CAI_EINPUT, "%s:%d: a line is a word and its value", p->where, p->line);
    *end = '\0';
    return take_line(k, p, word, value);
}

int key_file_parse(const char *text, size_t len, const char *where, struct key_file *ret) {
    struct key_file k = {0};
    struct place p = {where, 0};
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        char line[256];
        p.line++;
        if (n >= sizeof line || memchr(text + at, '\0', n))
            return cai_fail(CAI_EINPUT, "%s:%d: a line too long, or no text", where, p.line);
        memcpy(line, text + at, n);
        line[n > 0 && line[n - 1] == '\r' ? n - 1 : n] = '\0';
        CAI_TRY(read_line(&k, &p, line));
        at += n + 1;
    }
    char own[KEY_SIZE];
    if (!*k.secret_key)
        return cai_fail(CAI_EINPUT, "%s: no line 'secret KEY': it is no key file; `caictl key new` "
                                    "writes one", where);
    if (zmq_curve_public(own, k.secret_key) != 0 ||
        (*k.public_key && strcmp(own, k.public_key) != 0))
        return cai_fail(CAI_EINPUT, "%s: the public key is not the secret one's", where);
    memcpy(k.public_key, own, KEY_SIZE);
    *ret = k;
    return 0;
}

int key_file_load(const char *path, struct key_file *ret) {
    struct stat st;
    if (stat(path, &st) < 0)
        return cai_fail_errno("%s", path);
    if (st.st_mode & 0027)
        return cai_fail(CAI_EAUTH, "%s: others can read or change it (mode %03o): chmod 600 it, and "
                                   "make a new key if somebody may have", path,
                        (unsigned)(st.st_mode & 0777));
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_TRY(cai_file_read(path, KEY_FILE_MAX, &text));
    int rc = key_file_parse(text.data ? text.data : "", text.len, path, ret);
    if (text.data)
        explicit_bzero(text.data, text.len);
    return rc;
}

int key_servers_parse(const char *text, struct key_file *io) {
    io->n_servers = 0;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, ",");
        char key[KEY_SIZE] = "";
        if (n == KEY_SIZE - 1)
            memcpy(key, at, n);
        if (!key_valid(key))
            return cai_fail(CAI_EINPUT, "the server's key must be 40 characters of Z85, as `caictl "
                                        "key server` prints it; several with commas between");
        CAI_TRY(add_server(io, key));
        at += n + (at[n] == ',');
    }
    return 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

void key_file_write(const struct key_file *k, const char *comment, struct cai_buf *ret) {
    cai_buf_printf(ret, "# %s\n", comment);
    if (*k->name)
        cai_buf_printf(ret, "name %s\nrole %s\n", k->name, key_role_name(k->role));
    cai_buf_printf(ret, "public %s\nsecret %s\n", k->public_key, k->secret_key);
    for (size_t i = 0; i < k->n_servers; i++)
        cai_buf_printf(ret, "server %s\n", k->server[i]);
}

static int write_all(int fd, const struct cai_buf *text, const char *path) {
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);
        if (n < 0)
            return cai_fail_errno("cannot write %s", path);
        done += (size_t)n;
    }
    return fsync(fd) < 0 ? cai_fail_errno("cannot make %s durable", path) : 0;
}

/* Never readable by others, not for a moment: it is made with its mode under another name. */
int key_file_save(const char *path, const struct key_file *k, const char *comment, bool replace) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_AUTO(mem) char *temporary = cai_format("%s.tmp", path);
    key_file_write(k, comment, &text);
    CAI_TRY(cai_buf_status(&text));
    unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return cai_fail_errno("cannot write %s", path);
    int rc = write_all(fd, &text, path);
    close(fd);
    explicit_bzero(text.data, text.len);
    if (rc == 0 && !replace && link(temporary, path) < 0)
        rc = errno == EEXIST ? cai_fail(CAI_ESTATE, "%s is there already; give another name", path)
                             : cai_fail_errno("cannot write %s", path);
    else if (rc == 0 && replace)
        rc = cai_file_rename_durable(temporary, path);
    unlink(temporary);
    return rc;
}
