/* Any bytes as a key file and as caid's list of keys: refused with a line, or what is read is
 * written and read again as it was. */
#include "base/check.h"
#include "base/error.h"
#include "proto/keys.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void file(const char *text, size_t size) {
    struct key_file k, back;
    if (key_file_parse(text, size, "fuzz", &k) < 0)
        return;
    struct cai_buf out = {0};
    key_file_write(&k, "fuzz", &out);
    if (*k.name && k.role) { /* the others are written without both */
        CAI_CHECK(key_file_parse(out.data, out.len, "again", &back) == 0);
        CAI_CHECK(memcmp(&k, &back, sizeof k) == 0);
    }
    cai_buf_free(&out);
}

static void ring(const char *text, size_t size) {
    struct keyring k, back;
    if (keyring_parse(text, size, "fuzz", &k) < 0)
        return;
    struct cai_buf out = {0};
    keyring_write(&k, &out);
    CAI_CHECK(keyring_parse(out.data, out.len, "again", &back) == 0 && back.n == k.n);
    for (size_t i = 0; i < k.n; i++) {
        const struct key_entry *e = &k.entries[i];
        CAI_CHECK(memcmp(e, &back.entries[i], sizeof *e) == 0);
        CAI_CHECK(e->role && key_valid(e->public_key) && key_name_valid(e->name));
        CAI_CHECK(keyring_known(&k, e->public_key) == e);
    }
    keyring_free(&k);
    keyring_free(&back);
    cai_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    file((const char *)data, size);
    ring((const char *)data, size);
    return 0;
}
