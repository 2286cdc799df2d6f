/* backup.c: backup and restore. caid copies its database; this program takes the copy away
 * with the files that it names by hash, and checks every byte on the way back. A backup:
 *   DIR/TIME/caid.db, DIR/TIME/MANIFEST.json   one backup
 *   DIR/blobs/HASH                             files of all backups, each once
 * TIME.tmp is one that was not finished. Restoring needs no daemon, and must have none. */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "caictl.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MANIFEST_VERSION = 1, MANIFEST_MAX = 64 << 20 };

/* ---- files ------------------------------------------------------------------------------- */

static int copy_bytes(int in, int out, const char *from, const char *to) {
    char chunk[1 << 16];
    for (ssize_t n; (n = read(in, chunk, sizeof chunk)) != 0;) {
        if (n < 0)
            return cai_fail_errno("%s", from);
        for (ssize_t done = 0, k; done < n; done += k)
            if ((k = write(out, chunk + done, (size_t)(n - done))) < 0)
                return cai_fail_errno("cannot write %s", to);
    }
    return fsync(out) < 0 ? cai_fail_errno("cannot make %s durable", to) : 0;
}

/* Durable under its name only when whole, and equal to `hash` (NULL = not checked). */
static int copy_file(const char *from, const char *to, const char *hash) {
    CAI_AUTO(mem) char *temporary = cai_format("%s.tmp", to);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return cai_fail_errno("%s", from);
    int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    int rc = out < 0 ? cai_fail_errno("cannot write %s", to) : copy_bytes(in, out, from, to);
    close(in);
    if (out >= 0)
        close(out);
    char found[CAI_SHA256_HEX];
    if (rc == 0 && hash)
        rc = cai_file_sha256(temporary, found);
    if (rc == 0 && hash && strcmp(found, hash) != 0)
        rc = cai_fail(CAI_EINPUT, "%s is not what its hash says: it was changed or is damaged", from);
    if (rc == 0)
        rc = cai_file_rename_durable(temporary, to);
    if (rc < 0)
        unlink(temporary);
    return rc;
}

/* Calls back with each name that is a whole file's. */
static int each_name(const char *dir, int (*f)(void *c, const char *name), void *c) {
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : cai_fail_errno("%s", dir);
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (e->d_name[0] != '.' && !strstr(e->d_name, ".tmp"))
            rc = f(c, e->d_name);
    closedir(d);
    return rc;
}

/* ---- backup ------------------------------------------------------------------------------ */

struct backup {
    const char *dir;
    char *state, *snapshot, *unfinished, *whole, *from, *blobs;
    json_t *names;
    char hash[CAI_SHA256_HEX];
};

static int ask_for_snapshot(struct backup *b) {
    json_t *reply;
    int code = client_call("backup", NULL, false, &reply);
    if (code)
        return code;
    b->state = cai_strdup(text_of(reply, "state_dir"));
    b->snapshot = cai_strdup(text_of(reply, "path"));
    json_decref(reply);
    for (bool pending = true; pending;) {
        const struct timespec pause = {0, 50000000};
        code = client_call("backup.state", NULL, false, &reply);
        if (code)
            return code;
        pending = json_is_true(json_object_get(reply, "pending"));
        json_decref(reply);
        if (pending)
            nanosleep(&pause, NULL);
    }
    return 0;
}

static int take_blob(void *c, const char *name) {
    struct backup *b = c;
    CAI_AUTO(mem) char *from = cai_path_join(b->from, name);
    CAI_AUTO(mem) char *to = cai_path_join(b->blobs, name);
    json_array_append_new(b->names, json_string(name));
    return cai_file_exists(to) ? 0 : copy_file(from, to, name);
}

static int write_manifest(struct backup *b) {
    CAI_AUTO(mem) char *path = cai_path_join(b->unfinished, "MANIFEST.json");
    json_t *o = json_pack("{s:i, s:s, s:s, s:O}", "backup", MANIFEST_VERSION, "version", CAI_VERSION,
                          "database", b->hash, "blobs", b->names);
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    return cai_file_write_atomic(path, text, strlen(text));
}

static int fill(struct backup *b) {
    CAI_AUTO(mem) char *database = cai_path_join(b->unfinished, "caid.db");
    b->blobs = cai_path_join(b->dir, "blobs");
    b->from = cai_path_join(b->state, "blobs");
    CAI_TRY(cai_dir_make(b->blobs));
    CAI_TRY(cai_dir_remove(b->unfinished));
    CAI_TRY(cai_dir_make(b->unfinished));
    CAI_TRY(cai_file_sha256(b->snapshot, b->hash));
    CAI_TRY(copy_file(b->snapshot, database, b->hash));
    CAI_TRY(each_name(b->from, take_blob, b));
    CAI_TRY(write_manifest(b));
    return cai_file_rename_durable(b->unfinished, b->whole);
}

/* ---- old ones ---------------------------------------------------------------------------- */

static int read_manifest(const char *dir, json_t **ret) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "MANIFEST.json");
    CAI_AUTO(buf) struct cai_buf text = {0};
    json_error_t e;
    CAI_TRY(cai_file_read(path, MANIFEST_MAX, &text));
    *ret = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &e);
    json_int_t version = integer_of(*ret, "backup");
    if (json_is_object(*ret) && version == MANIFEST_VERSION &&
        json_is_array(json_object_get(*ret, "blobs")))
        return 0;
    json_decref(*ret);
    *ret = NULL;
    if (version > MANIFEST_VERSION)
        return cai_fail(CAI_EINPUT, "%s was made by a newer caictl", path);
    return cai_fail(CAI_EINPUT, "%s is no backup's manifest", path);
}

static int note_name(void *c, const char *name) {
    /* Backups are called by their time, so that names in order are times in order. */
    if (name[0] >= '0' && name[0] <= '9' && strchr(name, 'T'))
        json_array_append_new(c, json_string(name));
    return 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct sweep {
    const char *blobs;
    json_t *used;
};
static int sweep_blob(void *c, const char *name) {
    struct sweep *s = c;
    CAI_AUTO(mem) char *path = cai_path_join(s->blobs, name);
    return json_object_get(s->used, name) || unlink(path) == 0 ? 0
                                                              : cai_fail_errno("%s", path);
}

/* What the kept backups name stays; an unreadable manifest keeps everything. */
static int sweep(const struct backup *b, const char **names, size_t n) {
    json_t *used = json_object();
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        CAI_AUTO(mem) char *dir = cai_path_join(b->dir, names[i]);
        json_t *manifest = NULL, *name;
        size_t k;
        rc = read_manifest(dir, &manifest);
        json_array_foreach(json_object_get(manifest, "blobs"), k, name)
            json_object_set_new(used, json_string_value(name), json_true());
        json_decref(manifest);
    }
    struct sweep s = {b->blobs, used};
    if (rc == 0)
        rc = each_name(b->blobs, sweep_blob, &s);
    json_decref(used);
    return rc;
}

static int prune(const struct backup *b, int64_t keep) {
    json_t *list = json_array();
    int rc = each_name(b->dir, note_name, list);
    size_t n = json_array_size(list);
    const char **names = cai_realloc(NULL, n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i] = json_string_value(json_array_get(list, i));
    qsort(names, n, sizeof *names, compare_names);
    size_t gone = n > (size_t)keep ? n - (size_t)keep : 0;
    for (size_t i = 0; rc == 0 && i < gone; i++) {
        CAI_AUTO(mem) char *dir = cai_path_join(b->dir, names[i]);
        rc = cai_dir_remove(dir);
    }
    if (rc == 0 && gone)
        rc = sweep(b, names + gone, n - gone);
    free(names);
    json_decref(list);
    return rc;
}

static void free_backup(struct backup *b) {
    free(b->state);
    free(b->snapshot);
    free(b->unfinished);
    free(b->whole);
    free(b->from);
    free(b->blobs);
    json_decref(b->names);
}

static int run_backup(const struct args *a) {
    int64_t keep = 0, now = cai_wall_ms();
    if (args_has(a, "keep") && (!args_number("keep", args_get(a, "keep"), &keep) || keep < 1))
        return keep < 1 ? complain(EXIT_USAGE, "--keep takes a number from 1") : EXIT_USAGE;
    char stamp[32];
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H%M%S", &tm);
    snprintf(stamp + n, sizeof stamp - n, ".%03dZ", (int)(now % 1000));
    struct backup b = {.dir = a->positional[0], .names = json_array()};
    b.whole = cai_path_join(b.dir, stamp);
    b.unfinished = cai_format("%s.tmp", b.whole);
    int code = ask_for_snapshot(&b);
    int rc = code ? 0 : fill(&b);
    json_t *ended = NULL;
    /* From here on `ckpt gc` may remove files again; without this, it does after an hour. */
    if (code == 0 && client_try("backup.end", NULL, false, &ended) == 0)
        json_decref(ended);
    if (code == 0 && rc == 0 && keep)
        rc = prune(&b, keep);
    if (rc < 0)
        code = complain(control_exit_of(rc), "%s", cai_error_text());
    if (code == 0 && !globals.quiet)
        puts(b.whole);
    free_backup(&b);
    return code;
}

/* ---- restore ----------------------------------------------------------------------------- */

static int hold_lock(const char *state, int *ret_fd) {
    CAI_AUTO(mem) char *path = cai_path_join(state, "lock");
    *ret_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (*ret_fd < 0)
        return cai_fail_errno("%s", path);
    return flock(*ret_fd, LOCK_EX | LOCK_NB) < 0
               ? cai_fail(CAI_ESTATE, "a caid serves %s; stop it first", state)
               : 0;
}

/* The database comes last: until then a caid that starts would find an empty state folder. */
static int restore(const char *from, const char *state, const json_t *manifest) {
    CAI_AUTO(mem) char *database = cai_path_join(state, "caid.db");
    CAI_AUTO(mem) char *saved = cai_path_join(from, "caid.db");
    CAI_AUTO(mem) char *to_dir = cai_path_join(state, "blobs");
    CAI_AUTO(mem) char *from_dir = cai_format("%s/../blobs", from);
    if (cai_file_exists(database))
        return cai_fail(CAI_ESTATE, "%s is there already; move its folder away first", database);
    CAI_TRY(cai_dir_make(to_dir));
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(manifest, "blobs"), i, name) {
        const char *hash = json_string_value(name);
        if (!hash || !cai_is_sha256(hash))
            return cai_fail(CAI_EINPUT, "%s: a file's name is no hash", from);
        CAI_AUTO(mem) char *source = cai_path_join(from_dir, hash);
        CAI_AUTO(mem) char *target = cai_path_join(to_dir, hash);
        CAI_TRY(copy_file(source, target, hash));
    }
    return copy_file(saved, database, text_of(manifest, "database"));
}

static int run_restore(const struct args *a) {
    const char *from = a->positional[0], *state = a->positional[1];
    json_t *manifest = NULL;
    int fd = -1, rc = read_manifest(from, &manifest);
    if (rc == 0)
        rc = cai_dir_make(state);
    if (rc == 0)
        rc = hold_lock(state, &fd);
    if (rc == 0)
        rc = restore(from, state, manifest);
    if (rc == 0)
        say("Restored %zu files and the database to %s; start caid\n",
            json_array_size(json_object_get(manifest, "blobs")), state);
    json_decref(manifest);
    if (fd >= 0)
        close(fd);
    return rc < 0 ? complain(control_exit_of(rc), "%s", cai_error_text()) : EXIT_OK;
}

const struct command backup_commands[] = {
    {"backup", "DIR [--keep N]", "keep", 1, 1, run_backup,
     "Copy the daemon's database, and the files it names, while it works",
     "  caictl backup /var/backups/caid --keep 7\n",
     "  --keep N  remove the oldest, until N backups are left\n\n"
     "The models that jobs trained are not copied.\n"},
    {"restore", "BACKUP STATE", "", 2, 2, run_restore,
     "Make a state folder from a backup, every file checked; caid must not run on it",
     "  caictl restore /var/backups/caid/2026-01-31T020000.000Z /var/lib/caid\n", NULL},
    {0}};
