/* vfs.c: SQLite's files on the simulation's disk. As SQLite's own for Unix where it matters to
 * what is durable: the first sync of a new journal or log syncs its folder too. */
#include "sim.h"
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

struct file {
    sqlite3_file base;
    struct node *node;
    char path[256];
    bool sync_folder, remove;
    int error; /* errno of the last call that failed */
};

static int remember(struct file *f, int code) {
    f->error = errno;
    return f->error == ENOSPC ? SQLITE_FULL : code;
}

static int file_close(sqlite3_file *x) {
    struct file *f = (struct file *)x;
    if (f->remove)
        (void)node_unlink(f->path);
    return SQLITE_OK;
}

static int file_read(sqlite3_file *x, void *to, int len, sqlite3_int64 at) {
    struct file *f = (struct file *)x;
    size_t n = node_read(f->node, to, (size_t)len, (size_t)at);
    if (n == (size_t)len)
        return SQLITE_OK;
    memset((char *)to + n, 0, (size_t)len - n);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *x, const void *from, int len, sqlite3_int64 at) {
    struct file *f = (struct file *)x;
    return node_write(f->node, from, (size_t)len, (size_t)at) < 0 ? remember(f, SQLITE_IOERR_WRITE)
                                                                  : SQLITE_OK;
}

static int file_truncate(sqlite3_file *x, sqlite3_int64 size) {
    struct file *f = (struct file *)x;
    return node_truncate(f->node, (size_t)size) < 0 ? remember(f, SQLITE_IOERR_TRUNCATE) : SQLITE_OK;
}

static int file_sync(sqlite3_file *x, int flags) {
    (void)flags;
    struct file *f = (struct file *)x;
    if (node_sync(f->node) < 0) {
        f->error = errno;
        return SQLITE_IOERR_FSYNC;
    }
    if (f->sync_folder) {
        (void)node_sync_parent(f->path); /* as there: a failure is passed over */
        f->sync_folder = false;
    }
    return SQLITE_OK;
}

static int file_size(sqlite3_file *x, sqlite3_int64 *ret) {
    *ret = (sqlite3_int64)node_size(((struct file *)x)->node);
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *x, int level) {
    (void)x, (void)level;
    return SQLITE_OK;
}

static int file_reserved(sqlite3_file *x, int *ret) {
    (void)x;
    *ret = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *x, int op, void *argument) {
    if (op != SQLITE_FCNTL_LAST_ERRNO)
        return SQLITE_NOTFOUND;
    *(int *)argument = ((struct file *)x)->error;
    return SQLITE_OK;
}

static int file_sector(sqlite3_file *x) {
    (void)x;
    return 4096;
}

static int file_character(sqlite3_file *x) {
    (void)x;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1, .xClose = file_close, .xRead = file_read, .xWrite = file_write,
    .xTruncate = file_truncate, .xSync = file_sync, .xFileSize = file_size, .xLock = file_lock,
    .xUnlock = file_lock, .xCheckReservedLock = file_reserved, .xFileControl = file_control,
    .xSectorSize = file_sector, .xDeviceCharacteristics = file_character};

static int vfs_open(sqlite3_vfs *v, const char *path, sqlite3_file *x, int flags, int *ret_flags) {
    (void)v;
    struct file *f = (struct file *)x;
    *f = (struct file){.remove = flags & SQLITE_OPEN_DELETEONCLOSE};
    static unsigned temporary;
    if (path)
        snprintf(f->path, sizeof f->path, "%s", path);
    else
        snprintf(f->path, sizeof f->path, "/sim/temporary-%u", temporary++);
    bool existed = node_find(f->path) != NULL;
    f->node = node_open(f->path, flags & SQLITE_OPEN_CREATE, flags & SQLITE_OPEN_EXCLUSIVE, false);
    if (!f->node)
        return SQLITE_CANTOPEN;
    f->sync_folder = !existed && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL |
                                           SQLITE_OPEN_SUPER_JOURNAL));
    f->base.pMethods = &methods;
    if (ret_flags)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *v, const char *path, int sync) {
    (void)v;
    if (!node_find(path))
        return SQLITE_IOERR_DELETE_NOENT;
    if (node_unlink(path) < 0)
        return SQLITE_IOERR_DELETE;
    if (sync && node_sync_parent(path) < 0)
        return SQLITE_IOERR_DIR_FSYNC;
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *v, const char *path, int flags, int *ret) {
    (void)v;
    struct node *n = node_find(path);
    *ret = n && (flags != SQLITE_ACCESS_EXISTS || node_size(n) > 0 || node_is_dir(n));
    return SQLITE_OK;
}

static int vfs_full(sqlite3_vfs *v, const char *path, int size, char *out) {
    (void)v;
    return snprintf(out, (size_t)size, "%s", path) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_random(sqlite3_vfs *v, int n, char *out) {
    (void)v;
    for (int i = 0; i < n; i++)
        out[i] = (char)draw();
    return n;
}

static int vfs_sleep(sqlite3_vfs *v, int us) {
    (void)v;
    return us;
}

static int vfs_time(sqlite3_vfs *v, double *ret) {
    (void)v;
    *ret = 2460000.5;
    return SQLITE_OK;
}

static int vfs_error(sqlite3_vfs *v, int n, char *out) {
    (void)v, (void)n, (void)out;
    return errno;
}

void vfs_register(void) {
    static sqlite3_vfs vfs = {.iVersion = 1, .szOsFile = sizeof(struct file), .mxPathname = 255,
                              .zName = "sim", .xOpen = vfs_open, .xDelete = vfs_delete,
                              .xAccess = vfs_access, .xFullPathname = vfs_full,
                              .xRandomness = vfs_random, .xSleep = vfs_sleep,
                              .xCurrentTime = vfs_time, .xGetLastError = vfs_error};
    /* Killed processes hold nothing of SQLite's: there are no locks of its own. */
    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    sqlite3_vfs_register(&vfs, 1);
}
