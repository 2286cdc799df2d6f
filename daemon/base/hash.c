/* hash.c: SHA-256 of buffers and files; see file.h. By libgcrypt, which uses the processor's own
 * instructions where it has them: states and weights are hashed whole, and that is most of what
 * saving a state costs. libsodium's, used elsewhere for what is small, takes four times as long. */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { DIGEST = 32, CHUNK = 1 << 18 };

/* The library wants to be begun once a process; another user of it may have done so. */
static void begin(void) {
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
        return;
    CAI_CHECK(gcry_check_version(GCRYPT_VERSION) != NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

static void ready(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
}

static void to_hex(const unsigned char digest[DIGEST], char *ret) {
    for (int i = 0; i < DIGEST; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

bool cai_is_sha256(const char *s) {
    return strlen(s) == CAI_SHA256_HEX - 1 &&
           strspn(s, "0123456789abcdef") == CAI_SHA256_HEX - 1;
}

void cai_sha256(const void *data, size_t len, char ret_hex[CAI_SHA256_HEX]) {
    unsigned char digest[DIGEST];
    ready();
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, data, len);
    to_hex(digest, ret_hex);
}

static int hash_fd(int fd, const char *path, gcry_md_hd_t md) {
    CAI_AUTO(mem) char *chunk = cai_alloc(CHUNK);
    ssize_t n;
    while ((n = read(fd, chunk, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cai_fail_errno("%s", path);
        gcry_md_write(md, chunk, (size_t)n);
    }
    return 0;
}

int cai_file_sha256(const char *path, char ret_hex[CAI_SHA256_HEX]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cai_fail_errno("%s", path);
    gcry_md_hd_t md;
    ready();
    CAI_CHECK(gcry_md_open(&md, GCRY_MD_SHA256, 0) == 0);
    int rc = hash_fd(fd, path, md);
    close(fd);
    to_hex(gcry_md_read(md, GCRY_MD_SHA256), ret_hex);
    gcry_md_close(md);
    return rc;
}
