/* worker.c: a worker whose engine computes toy results: the real loop, the real protocol. */
#include "base/error.h"
#include "base/log.h"
#include "engine.h"
#include <stdlib.h>

struct toy_place *toy_place(void) {
    static struct toy_place place;
    return &place;
}

int main(int argc, char **argv) {
    /* Called by the spawner as cai-worker is: --connect E --state D --name N --threads T
     * --device auto:I. */
    if (argc != 11)
        return 2;
    cai_log_open(argv[6], CAI_LOG_INFO);
    const char *memory = getenv("TOY_MEMORY"); /* bytes that it says it has */
    const char *key = getenv("TOY_KEY"); /* its key file, for a caid of another machine */
    struct key_file own;
    if (key && key_file_load(key, &own) < 0) {
        cai_error("%s", cai_error_text());
        return 2;
    }
    /* TOY_PROTOCOL: the number it says; TOY_VERSION: the version. */
    const char *protocol = getenv("TOY_PROTOCOL"), *version = getenv("TOY_VERSION");
    uint32_t number = protocol ? (uint32_t)atoi(protocol) : 0;
    struct loop_options o = {argv[2], argv[4], argv[6], version ? version : CAI_VERSION,
                             atoi(argv[8]), &toy_engine, memory ? strtoull(memory, NULL, 10) : 0,
                             argv[10]};
    o.key = key ? &own : NULL;
    o.protocol = protocol ? &number : NULL;
    if (worker_loop(&o) == 0)
        return 0;
    cai_error("%s", cai_error_text());
    return 1;
}
