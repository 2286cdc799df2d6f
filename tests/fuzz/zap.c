/* Any parts as a request of ZeroMQ's authentication: accepted is only what is CURVE with a key of
 * 32 bytes in caid's domain. Each part is a byte for its length and its bytes. */
#include "base/check.h"
#include "proto/zap.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct zap_part part[ZAP_PARTS + 1];
    struct zap_request q;
    size_t n = 0;
    for (size_t at = 0; at < size && n < CAI_COUNT(part); n++) {
        size_t len = data[at++];
        len = len < size - at ? len : size - at;
        part[n] = (struct zap_part){data + at, len};
        at += len;
    }
    if (zap_parse(part, n, &q) == 0) {
        CAI_CHECK(n == ZAP_PARTS && part[6].len == 32 && part[5].len == 5);
        CAI_CHECK(memcmp(part[5].data, "CURVE", 5) == 0 && memcmp(part[2].data, "caid", 4) == 0);
        CAI_CHECK(strlen(q.public_key) == KEY_SIZE - 1 && strlen(q.address) < ZAP_TEXT);
    }
    CAI_CHECK(q.id_len <= sizeof q.id);
    return 0;
}
