/* plugin.c: a caid_cuda.so for tests: the product's NCCL backend behind the product's table, with a
 * device that only that backend knows of. Tensors cannot lie on it. */
#include "shim/device_plugin.h"

#include "base/error.h"
#include <stdio.h>

void *cai_cuda_stream(void);
void *cai_cuda_stream(void) {
    return NULL;
}

static int count(struct comm_text *why) {
    (void)why;
    return 1;
}
static int refuse(struct comm_text *why) {
    snprintf(why->text, sizeof why->text, "the stand-in has no such thing");
    return CAI_ESTATE;
}
static int choose(int index, struct device_facts *ret, struct comm_text *why) {
    (void)index, (void)ret;
    return refuse(why);
}
static int memory(struct ct_memory *ret, struct comm_text *why) {
    (void)ret;
    return refuse(why);
}
static int record(int (*work)(void *context), void *context, void **ret_graph,
                  struct comm_text *why) {
    (void)work, (void)context, (void)ret_graph;
    return refuse(why);
}
static int replay(void *graph, struct comm_text *why) {
    (void)graph;
    return refuse(why);
}
static void forget(void *graph) {
    (void)graph;
}

extern const struct comm_backend cai_comm_nccl;
extern const struct device_plugin cai_device_plugin;
const struct device_plugin cai_device_plugin = {DEVICE_PLUGIN_ABI, &cai_comm_nccl, count, choose,
                                                memory, refuse, refuse, record, replay, forget};
