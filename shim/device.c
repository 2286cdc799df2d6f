/* device.c: which device this process computes with, and the way to the CUDA plug-in. Not
 * for CUDA itself (cuda_plugin.cpp), nor for tensors (core.cpp).
 *
 * States: on the processor → (ct_device_use) on a GPU. The plug-in is unasked → opened or
 * refused, once: a driver does not come while a process runs. */
#include "shim/device_plugin.h"
#include "shim/plugin.h"

#include "base/check.h"
#include "base/error.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool asked;
    const struct device_plugin *table; /* NULL with the reason */
    int devices;
    struct comm_text why;
} plugin;

static struct {
    struct ct_device device;
    struct device_facts facts;
} present;

struct ct_graph {
    void *recorded; /* the plug-in's */
};

/* ---- the plug-in ------------------------------------------------------------------------ */

/* Whether NVIDIA's driver is installed, and has a device: asked of the driver itself, so
 * that gigabytes of libraries are not loaded to learn that there is none. */
static int driver_devices(struct comm_text *why) {
    int n = 0;
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!driver) {
        snprintf(why->text, sizeof why->text,
                 "this machine has no NVIDIA driver (libcuda.so.1 cannot be opened)");
        return 0;
    }
    int (*init)(unsigned) = NULL, (*count)(int *) = NULL;
    *(void **)&init = dlsym(driver, "cuInit");
    *(void **)&count = dlsym(driver, "cuDeviceGetCount");
    int rc = init && count ? init(0) : -1;
    if (rc == 0)
        rc = count(&n);
    if (rc != 0)
        snprintf(why->text, sizeof why->text, "NVIDIA's driver finds no GPU (error %d)", rc);
    else if (n == 0)
        snprintf(why->text, sizeof why->text, "NVIDIA's driver finds no GPU");
    return rc == 0 ? n : 0;
}

static void ask(void) {
    void *module;
    plugin.asked = true;
    if (driver_devices(&plugin.why) == 0)
        return;
    /* PyTorch's own parts find each other by name, hence RTLD_GLOBAL. */
    if (plugin_open(DEVICE_PLUGIN_FILE, RTLD_NOW | RTLD_GLOBAL, &module) < 0) {
        snprintf(plugin.why.text, sizeof plugin.why.text,
                 "%.400s; run tools/setup --gpu and build again", cai_error_text());
        cai_error_clear();
        return;
    }
    const struct device_plugin *table = dlsym(module, DEVICE_PLUGIN_SYMBOL);
    if (!table || table->abi != DEVICE_PLUGIN_ABI || table->nccl->abi != COMM_PLUGIN_ABI) {
        snprintf(plugin.why.text, sizeof plugin.why.text,
                 "the plug-in " DEVICE_PLUGIN_FILE " is of another version than this program");
        return;
    }
    plugin.devices = table->count(&plugin.why);
    if (plugin.devices > 0)
        plugin.table = table;
}

int device_plugin_get(const struct device_plugin **ret) {
    if (!plugin.asked)
        ask();
    *ret = plugin.table;
    return *ret ? 0 : cai_fail(CAI_ENOTFOUND, "%s", plugin.why.text);
}

bool device_capable(int major) {
    return present.device.cuda && present.facts.major >= major;
}

/* ---- choosing ----------------------------------------------------------------------------- */

int ct_device_count(char *why, size_t size) {
    if (!plugin.asked)
        ask();
    if (why && size)
        snprintf(why, size, "%s", plugin.table ? "" : plugin.why.text);
    return plugin.table ? plugin.devices : 0;
}

/* The number after "NAME:", -1 when there is none, -2 when the name is another. */
static int index_of(const char *text, const char *name) {
    size_t len = strlen(name);
    const char *digits = text + len + 1;
    if (strncmp(text, name, len) != 0 || (text[len] && text[len] != ':'))
        return -2;
    if (!text[len])
        return -1;
    size_t n = strspn(digits, "0123456789");
    return n > 0 && n < 6 && !digits[n] ? atoi(digits) : -2;
}

static int find_automatically(int index, struct ct_device *ret, char *why, size_t size) {
    int n = ct_device_count(why, size);
    if (n > 0 && index >= n)
        return cai_fail(CAI_ENOTFOUND,
                        "worker %d has no GPU of its own: this machine has %d; start fewer "
                        "workers, or all on the processor (--device cpu)",
                        index, n);
    *ret = (struct ct_device){n > 0, n > 0 ? index : 0};
    return 0;
}

int ct_device_find(const char *name, struct ct_device *ret, char *why, size_t size) {
    int any = index_of(name, "auto"), gpu = index_of(name, "cuda");
    *ret = (struct ct_device){0};
    if (why && size)
        *why = 0;
    if (strcmp(name, "cpu") == 0)
        return 0;
    if (any > -2)
        return find_automatically(any < 0 ? 0 : any, ret, why, size);
    if (gpu == -2)
        return cai_fail(CAI_EINPUT, "there is no device \"%s\"; there are cpu, cuda:0, cuda:1 … "
                                    "and auto", name);
    int n = ct_device_count(NULL, 0);
    gpu = gpu < 0 ? 0 : gpu;
    if (n == 0)
        return cai_fail(CAI_ENOTFOUND, "%s: %s; use --device cpu or auto", name, plugin.why.text);
    if (gpu >= n)
        return cai_fail(CAI_ENOTFOUND, "%s: this machine has %d GPU%s, counted from cuda:0", name,
                        n, n == 1 ? "" : "s");
    *ret = (struct ct_device){true, gpu};
    return 0;
}

/* 0, or the code; the plug-in's words, if it has any, become the message. */
static int said(const char *what, int rc, const struct comm_text *why) {
    return rc < 0 && why->text[0] ? cai_fail(rc, "%s: %s", what, why->text) : rc;
}

int ct_device_use(struct ct_device device) {
    const struct device_plugin *p;
    struct comm_text why = {{0}};
    if (device.cuda) {
        CAI_TRY(device_plugin_get(&p));
        CAI_TRY(said("the GPU cannot be used", p->select(device.index, &present.facts, &why),
                     &why));
    }
    present.device = device;
    return 0;
}

struct ct_device ct_device_now(void) {
    return present.device;
}

const char *device_model(void) {
    return present.device.cuda ? present.facts.name : NULL;
}

/* ---- what the present device does ----------------------------------------------------------- */

static int present_plugin(const char *what, const struct device_plugin **ret) {
    if (!present.device.cuda)
        return cai_fail(CAI_ESTATE, "%s: this process computes on the processor", what);
    return device_plugin_get(ret);
}

int ct_device_memory(struct ct_memory *ret) {
    const struct device_plugin *p;
    struct comm_text why = {{0}};
    *ret = (struct ct_memory){0};
    CAI_TRY(present_plugin("ct_device_memory", &p));
    return said("ct_device_memory", p->memory(ret, &why), &why);
}

int ct_device_trim(void) {
    const struct device_plugin *p;
    struct comm_text why = {{0}};
    if (!present.device.cuda)
        return 0;
    CAI_TRY(device_plugin_get(&p));
    return said("ct_device_trim", p->trim(&why), &why);
}

int ct_device_sync(void) {
    const struct device_plugin *p;
    struct comm_text why = {{0}};
    if (!present.device.cuda)
        return 0;
    CAI_TRY(device_plugin_get(&p));
    return said("the GPU", p->sync(&why), &why);
}

int ct_graph_record(int (*work)(void *context), void *context, struct ct_graph **ret) {
    const struct device_plugin *p;
    struct comm_text why = {{0}};
    void *recorded = NULL;
    *ret = NULL;
    CAI_TRY(present_plugin("ct_graph_record", &p));
    CAI_TRY(said("recording", p->record(work, context, &recorded, &why), &why));
    *ret = cai_alloc(sizeof **ret);
    (*ret)->recorded = recorded;
    return 0;
}

int ct_graph_replay(struct ct_graph *g) {
    struct comm_text why = {{0}};
    return said("replaying", plugin.table->replay(g->recorded, &why), &why);
}

void ct_graph_free(struct ct_graph *g) {
    if (!g)
        return;
    plugin.table->forget(g->recorded);
    free(g);
}
