/* hash: SHA-256 of buffers and of files, by published digests and against another library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "base/file.h"
#include <sodium.h>
#include <string.h>

static void published_digests(void **state) { /* FIPS 180-2, appendix B.1 and B.2; the empty text */
    (void)state;
    char hex[CAI_SHA256_HEX];
    cai_sha256("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cai_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    cai_sha256("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* Lengths around a chunk of the reader, and of many. */
static void files_are_hashed_whole(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 262143, 262144, 262145, 1000003};
    CAI_AUTO(mem) char *path = cai_path_join(dir, "bytes");
    CAI_AUTO(mem) char *bytes = cai_alloc(1000003);
    for (size_t i = 0; i < 1000003; i++)
        bytes[i] = (char)(i * 2654435761u >> 11);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char digest[crypto_hash_sha256_BYTES];
        char file[CAI_SHA256_HEX], buffer[CAI_SHA256_HEX], other[CAI_SHA256_HEX];
        assert_int_equal(cai_file_write_atomic(path, bytes, lengths[i]), 0);
        assert_int_equal(cai_file_sha256(path, file), 0);
        cai_sha256(bytes, lengths[i], buffer);
        crypto_hash_sha256(digest, (const unsigned char *)bytes, lengths[i]);
        sodium_bin2hex(other, sizeof other, digest, sizeof digest);
        assert_string_equal(file, other);
        assert_string_equal(buffer, other);
        assert_true(cai_is_sha256(file));
    }
    CAI_AUTO(mem) char *none = cai_path_join(dir, "none");
    char hex[CAI_SHA256_HEX];
    assert_true(cai_file_sha256(none, hex) < 0);
    assert_non_null(strstr(cai_error_text(), "none"));
    assert_true(cai_file_sha256(dir, hex) < 0); /* a folder cannot be read */
}

static void what_is_a_digest(void **state) {
    (void)state;
    assert_false(cai_is_sha256(""));
    assert_false(cai_is_sha256("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"));
    assert_false(cai_is_sha256("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a"));
    assert_false(cai_is_sha256("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015adf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_digests),
                                       cmocka_unit_test(files_are_hashed_whole),
                                       cmocka_unit_test(what_is_a_digest)};
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
