/* device_plugin.h: what the shim asks of the CUDA plug-in, the only code that names CUDA.
 * Private to the shim, and the border of the plug-in, which shares no code with the
 * program: errors cross it as a code and a text. */
#ifndef CAI_SHIM_DEVICE_PLUGIN_H
#define CAI_SHIM_DEVICE_PLUGIN_H

#include "shim/comm_backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DEVICE_PLUGIN_ABI 1
#define DEVICE_PLUGIN_SYMBOL "cai_device_plugin"
#define DEVICE_PLUGIN_FILE "caid_cuda.so"

struct device_facts {
    char name[128];   /* "NVIDIA H200" */
    int major, minor; /* compute capability */
};

/* Functions return 0 or a code with `why` filled. All but count() need a selected device. */
struct device_plugin {
    int abi;
    const struct comm_backend *nccl;
    /* Devices that can be used; 0 with the reason. */
    int (*count)(struct comm_text *why);
    /* This thread, and every later allocation and kernel, is on that device. */
    int (*select)(int index, struct device_facts *ret, struct comm_text *why);
    int (*memory)(struct ct_memory *ret, struct comm_text *why);
    int (*trim)(struct comm_text *why);
    int (*sync)(struct comm_text *why);
    /* work() once as it is, then once more while the device records; what it returns is
     * returned, with `why` empty when the failure was its own. */
    int (*record)(int (*work)(void *context), void *context, void **ret_graph,
                  struct comm_text *why);
    int (*replay)(void *graph, struct comm_text *why);
    void (*forget)(void *graph);
};

/* The opened plug-in; CAI_ENOTFOUND with the reason when there is no device to use. */
int device_plugin_get(const struct device_plugin **ret);
/* Of the present device: at least `major`.0? False on the CPU. */
bool device_capable(int major);
/* "NVIDIA H200"; NULL on the CPU. */
const char *device_model(void);

#ifdef __cplusplus
}
#endif
#endif
