/* memory: what a machine and its control groups leave, and amounts that people write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "worker/memory.h"
#include <stdlib.h>
#include <string.h>

static void the_least_limit_counts(void **state) {
    (void)state;
    assert_int_equal(memory_of_machine(dir), 0); /* nothing is known */
    put_text("proc", "meminfo", "MemFree:  1 kB\nMemTotal:       2000 kB\n");
    assert_int_equal(memory_of_machine(dir), 2000 * 1024);
    put_text("proc/self", "cgroup", "1:cpu:/old\n0::/caid/worker\n");
    assert_int_equal(memory_of_machine(dir), 2000 * 1024); /* the group says nothing */
    put_text("sys/fs/cgroup/caid/worker", "memory.max", "max\n");
    assert_int_equal(memory_of_machine(dir), 2000 * 1024);
    put_text("sys/fs/cgroup/caid", "memory.max", "1000000\n"); /* the one above */
    assert_int_equal(memory_of_machine(dir), 1000000);
    put_text("sys/fs/cgroup/caid/worker", "memory.max", "500000\n");
    assert_int_equal(memory_of_machine(dir), 500000);
    put_text("sys/fs/cgroup/caid/worker", "memory.max", "9000000000\n");
    assert_int_equal(memory_of_machine(dir), 1000000);
    put_text("proc", "meminfo", "MemTotal: 900 kB\n"); /* smaller than any group */
    assert_int_equal(memory_of_machine(dir), 900 * 1024);
    assert_true(memory_of_machine("") > (uint64_t)64 << 20);
}

static void a_device_has_memory_of_its_own(void **state) {
    (void)state;
    assert_int_equal(memory_for_tasks(0, 0, 0), 0);
    assert_int_equal(memory_for_tasks(0, 64, 0), 64);
    assert_int_equal(memory_for_tasks(80, 64, 0), 80); /* said of the machine's */
    assert_int_equal(memory_for_tasks(0, 64, 140), 140);
    assert_int_equal(memory_for_tasks(0, 640, 140), 140);
    assert_int_equal(memory_for_tasks(100, 64, 140), 100);
    assert_int_equal(memory_for_tasks(200, 640, 140), 140); /* no more than the device has */
}

static void amounts_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"65536", 65536}, {"800M", 800000000}, {"1.5G", 1500000000}, {"2T", 2000000000000},
                {"64k", 64000},   {"64K", 64000}};
    static const char *const bad[] = {"", "G", "-1", "0", "1x", "1GB", "nan", "inf", "1e30", "1 G"};
    uint64_t bytes = 7;
    for (size_t i = 0; i < CAI_COUNT(good); i++) {
        assert_int_equal(memory_parse(good[i].text, &bytes), 0);
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        assert_int_equal(memory_parse(bad[i], &bytes), CAI_EINPUT);
        assert_non_null(strstr(cai_error_text(), "800M"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_limit_counts),
        cmocka_unit_test(a_device_has_memory_of_its_own),
        cmocka_unit_test(amounts_are_read),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
