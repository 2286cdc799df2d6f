/* file.c: whole files, durable writes. Not for streaming, nor for digests (hash.c). */
#include "base/failpoint.h"
#include "base/file.h"
#include "base/error.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int read_all(int fd, const char *path, size_t max, struct cai_buf *ret) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return cai_fail_errno("%s", path);
    if (!S_ISREG(st.st_mode))
        return cai_fail(CAI_EINPUT, "%s is not a regular file", path);
    if ((uint64_t)st.st_size > max)
        return cai_fail(CAI_ELIMIT, "%s has %lld bytes, the limit is %zu", path,
                        (long long)st.st_size, max);
    char chunk[65536];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cai_fail_errno("%s", path);
        if (n == 0)
            break;
        cai_buf_append(ret, chunk, (size_t)n);
        if (ret->len > max)
            return cai_fail(CAI_ELIMIT, "%s grew past the limit of %zu bytes", path, max);
    }
    return cai_buf_status(ret);
}

int cai_file_read(const char *path, size_t max, struct cai_buf *ret) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cai_fail_errno("%s", path);
    ret->max = ret->max > max ? ret->max : max + 1;
    int rc = read_all(fd, path, max, ret);
    close(fd);
    return rc;
}

static int write_all(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static char *parent_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return cai_strdup(".");
    return slash == path ? cai_strdup("/") : cai_strndup(path, (size_t)(slash - path));
}

int cai_file_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cai_fail_errno("%s", path);
    int rc = fsync(fd) < 0 ? cai_fail_errno("cannot make %s durable", path) : 0;
    close(fd);
    return rc;
}

/* A name is durable once the folder that holds it is. */
static int sync_parent(const char *path) {
    CAI_AUTO(mem) char *dir = parent_of(path);
    return cai_file_sync(dir);
}

int cai_file_rename_durable(const char *from, const char *to) {
    CAI_TRY(CAI_FAILPOINT("file.rename.before"));
    if (rename(from, to) < 0)
        return cai_fail_errno("cannot rename %s to %s", from, to);
    CAI_TRY(CAI_FAILPOINT("file.rename.after"));
    CAI_TRY(sync_parent(to));
    return CAI_FAILPOINT("file.durable.after");
}

int cai_file_write_atomic(const char *path, const void *data, size_t len) {
    CAI_AUTO(mem) char *temporary = cai_format("%s.tmp-%d", path, (int)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return cai_fail_errno("cannot write %s", path);
    int rc = CAI_FAILPOINT("file.write.before");
    if (rc == 0 && write_all(fd, data, len) < 0)
        rc = cai_fail_errno("cannot write %s", path);
    if (rc == 0)
        rc = CAI_FAILPOINT("file.sync.before");
    if (rc == 0 && fsync(fd) < 0)
        rc = cai_fail_errno("cannot write %s", path);
    if (close(fd) < 0 && rc == 0)
        rc = cai_fail_errno("cannot write %s", path);
    if (rc == 0)
        rc = cai_file_rename_durable(temporary, path);
    if (rc < 0)
        unlink(temporary);
    return rc;
}

static int write_over(int from, int to, const char *path) {
    char chunk[65536];
    for (ssize_t n; (n = read(from, chunk, sizeof chunk)) != 0;)
        if (n < 0 || write_all(to, chunk, (size_t)n) < 0)
            return cai_fail_errno("cannot write %s", path);
    return fsync(to) < 0 ? cai_fail_errno("cannot make %s durable", path) : 0;
}

int cai_file_renew(const char *path) {
    int from = open(path, O_RDONLY | O_CLOEXEC), to = from < 0 ? -1 : open(path, O_WRONLY | O_CLOEXEC);
    int rc = from < 0 && errno == ENOENT ? 0
             : to < 0                    ? cai_fail_errno("%s", path)
                                         : write_over(from, to, path);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return rc;
}

bool cai_file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

int cai_dir_make(const char *path) {
    CAI_AUTO(mem) char *p = cai_strdup(path);
    for (char *s = p + 1;; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char saved = *s;
        *s = '\0';
        if (mkdir(p, 0750) == 0) {
            CAI_TRY(CAI_FAILPOINT("folder.make.after"));
            CAI_TRY(sync_parent(p));
            CAI_TRY(CAI_FAILPOINT("folder.durable.after"));
        } else if (errno != EEXIST)
            return cai_fail_errno("cannot make the folder %s", p);
        *s = saved;
        if (!saved)
            return 0;
    }
}

static int remove_at(int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            return 0;
        if (errno != ENOTDIR && errno != ELOOP)
            return -1;
        return unlinkat(parent, name, 0);
    }
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return -1;
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = remove_at(dirfd(d), e->d_name);
    closedir(d);
    return rc == 0 ? unlinkat(parent, name, AT_REMOVEDIR) : rc;
}

int cai_dir_remove(const char *path) {
    return remove_at(AT_FDCWD, path) < 0 ? cai_fail_errno("cannot remove %s", path) : 0;
}

int cai_dir_size(const char *path, int64_t *ret_bytes, int64_t *ret_files) {
    char *const paths[] = {(char *)(uintptr_t)path, NULL};
    *ret_bytes = *ret_files = 0;
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!tree)
        return cai_fail_errno("%s", path);
    int rc = 0;
    for (FTSENT *e; (e = fts_read(tree));) {
        if (e->fts_info == FTS_F || e->fts_info == FTS_SL) {
            *ret_bytes += e->fts_statp->st_size;
            ++*ret_files;
        } else if ((e->fts_info == FTS_NS || e->fts_info == FTS_DNR) && e->fts_errno != ENOENT) {
            errno = e->fts_errno;
            rc = cai_fail_errno("%s", e->fts_path);
        }
    }
    fts_close(tree);
    return rc;
}

int64_t cai_dir_free_bytes(const char *path) {
    struct statvfs v;
    if (statvfs(path, &v) < 0)
        return cai_fail_errno("%s", path);
    return (int64_t)(v.f_bavail * v.f_frsize);
}

char *cai_path_join(const char *dir, const char *name) {
    if (name[0] == '/')
        return cai_strdup(name);
    size_t n = strlen(dir);
    return cai_format("%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}
