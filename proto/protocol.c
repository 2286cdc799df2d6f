/* protocol.c: which numbers of the protocol this program serves. Not for channels. */
#include "base/error.h"
#include "proto/channel.h"

int protocol_check(uint32_t number, const char *who) {
    uint32_t n = number ? number : 1;
    if (n >= PROTOCOL_OLDEST && n <= PROTOCOL)
        return 0;
    return cai_fail(CAI_EPROTO, "%s speaks protocol %u, this program %d to %d: %s", who, n,
                    PROTOCOL_OLDEST, PROTOCOL,
                    n > PROTOCOL ? "upgrade this side, or install the older program there"
                                 : "upgrade it there");
}
