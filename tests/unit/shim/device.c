/* device: names of devices are read strictly; a machine without a GPU says why, whatever asks
 * for one, and computes on the processor; the plug-in can be opened there all the same, and
 * says the same. On a machine with a GPU the refusals are left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "shim/comm.h"
#include "shim/device_plugin.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void only_without_a_gpu(void) {
    if (ct_device_count(NULL, 0) > 0)
        skip();
}

static void assert_says(const char *part) {
    if (!strstr(cai_error_text(), part))
        fail_msg("\"%s\" does not say \"%s\"", cai_error_text(), part);
}

static void names_are_read_strictly(void **state) {
    static const char *const wrong[] = {"gpu",     "cuda:",   "cuda:x", "cuda:1x", "cuda0", "cuda:-1",
                                        "cuda:+1", "cuda: 1", "auto:",  "auto:-1", "",      "CPU"};
    struct ct_device d = {true, 7};
    char why[8] = "x";
    (void)state;
    assert_int_equal(ct_device_find("cpu", &d, why, sizeof why), 0);
    assert_false(d.cuda);
    assert_int_equal(d.index, 0);
    assert_string_equal(why, "");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(ct_device_find(wrong[i], &d, NULL, 0), CAI_EINPUT);
        assert_says("there are cpu, cuda:0");
    }
}

static void without_a_gpu_the_reason_is_said(void **state) {
    struct ct_device d;
    char why[256] = "";
    (void)state;
    only_without_a_gpu();
    assert_int_equal(ct_device_count(why, sizeof why), 0);
    assert_true(strlen(why) > 10);
    assert_int_equal(ct_device_find("cuda:0", &d, NULL, 0), CAI_ENOTFOUND);
    assert_says(why);
    assert_says("--device cpu");
    assert_int_equal(ct_device_find("cuda", &d, NULL, 0), CAI_ENOTFOUND);
    assert_int_equal(ct_device_use((struct ct_device){true, 0}), CAI_ENOTFOUND);
    assert_says(why);
}

static void without_a_gpu_auto_is_the_processor(void **state) {
    struct ct_device d = {true, 1};
    char why[256] = "";
    (void)state;
    only_without_a_gpu();
    assert_int_equal(ct_device_find("auto", &d, why, sizeof why), 0);
    assert_false(d.cuda);
    assert_true(strlen(why) > 10);
    assert_int_equal(ct_device_find("auto:5", &d, NULL, 0), 0);
    assert_false(d.cuda);
    assert_int_equal(ct_device_use(d), 0);
    assert_int_equal(strncmp(ct_numeric_class(), "cpu/", 4), 0);
}

static int nothing(void *context) {
    (void)context;
    return 0;
}

static void the_processor_has_no_device_memory_nor_graphs(void **state) {
    struct ct_memory memory;
    struct ct_graph *graph = (void *)state;
    (void)state;
    assert_int_equal(ct_device_use((struct ct_device){0}), 0);
    assert_int_equal(ct_device_memory(&memory), CAI_ESTATE);
    assert_int_equal(ct_graph_record(nothing, NULL, &graph), CAI_ESTATE);
    assert_null(graph);
    assert_int_equal(ct_device_sync(), 0);
    assert_int_equal(ct_device_trim(), 0);
}

static void without_a_gpu_nccl_is_refused(void **state) {
    struct comm_options o = {.backend = "nccl", .rank = 0, .world = 1, .timeout_ms = 1000};
    struct comm *c = (void *)state;
    (void)state;
    only_without_a_gpu();
    assert_int_equal(comm_open(&o, &c), CAI_ENOTFOUND);
    assert_null(c);
    assert_says("nccl needs a GPU");
    assert_says("gloo");
}

static void tensors_move_between_memories(void **state) {
    static const float data[3] = {1, 2, 3};
    float back[3] = {0};
    int64_t n = 3;
    (void)state;
    ct_scope *s = ct_scope_open();
    ct_tensor *t = ct_from_host(s, CT_F32, &n, 1, data);
    assert_false(ct_device_of(t).cuda);
    assert_ptr_equal(ct_data(t), ct_host_data(t));
    ct_tensor *same = ct_host(s, ct_move(s, t, (struct ct_device){0}));
    assert_int_equal(ct_scope_status(s), 0);
    assert_ptr_equal(ct_host_data(same), ct_host_data(t));
    assert_int_equal(ct_read_f32(same, back, 3), 0);
    assert_memory_equal(back, data, sizeof data);
    ct_tensor *wide = ct_view(s, ct_from_f32(s, (float[]){1, 2, 3, 4}, 4), (int64_t[]){2, 2}, 2);
    assert_null(ct_data(ct_transpose(s, wide, 0, 1))); /* not in one piece */
    assert_non_null(ct_host_data(ct_host(s, ct_transpose(s, wide, 0, 1))));
    ct_scope_close(s);
}

/* The module that a machine with a GPU opens, opened here: it must load whole. */
static void the_plugin_opens_and_says_the_same(void **state) {
    const char *path = getenv("CAI_TEST_CUDA_PLUGIN");
    (void)state;
    if (!path) {
        print_message("no CUDA plug-in was built here (option cuda)\n");
        skip();
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!module)
        fail_msg("%s", dlerror());
    const struct device_plugin *p = dlsym(module, DEVICE_PLUGIN_SYMBOL);
    assert_non_null(p);
    assert_int_equal(p->abi, DEVICE_PLUGIN_ABI);
    assert_int_equal(p->nccl->abi, COMM_PLUGIN_ABI);
    assert_non_null(p->nccl->exchange_device);
    struct comm_text why = {{0}};
    int n = p->count(&why);
    if (n > 0) {
        assert_int_equal(n, ct_device_count(NULL, 0));
        return;
    }
    assert_int_equal(n, 0);
    assert_non_null(strstr(why.text, "CUDA finds no GPU ("));
    struct device_facts facts;
    memset(&why, 0, sizeof why);
    assert_true(p->select(0, &facts, &why) < 0);
    assert_true(strlen(why.text) > 10);
    /* NCCL itself answers: it has no GPU to connect. */
    struct comm_options o = {.backend = "nccl", .rank = 0, .world = 1, .timeout_ms = 5000};
    void *gang = NULL;
    memset(&why, 0, sizeof why);
    assert_int_equal(p->nccl->open(&o, &gang, &why), CAI_EIO);
    assert_null(gang);
    assert_non_null(strstr(why.text, "NCCL: "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_strictly),
        cmocka_unit_test(without_a_gpu_the_reason_is_said),
        cmocka_unit_test(without_a_gpu_auto_is_the_processor),
        cmocka_unit_test(the_processor_has_no_device_memory_nor_graphs),
        cmocka_unit_test(without_a_gpu_nccl_is_refused),
        cmocka_unit_test(tensors_move_between_memories),
        cmocka_unit_test(the_plugin_opens_and_says_the_same),
    };
    return ct_init(1) < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
