/* isa: ranks by the bits that a processor and its system show, the variable that lowers them,
 * and that a process of another rank is of another numeric class: this program started again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shim/ct.h"
#include "shim/isa.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *program;

enum { AVX_STATE = 6, AVX512_STATE = 0xe6, TILE_STATE = 0x600e6 };
#define SSE41 (1u << 19)
#define AVX (SSE41 | 1u << 28 | 1u << 27 | 1u << 12)
#define AVX2 (1u << 5)
#define AVX512 (AVX2 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)
#define VNNI (1u << 11)
#define FP16 (1u << 23)
#define TILES (FP16 | 1u << 22 | 1u << 24 | 1u << 25)

static void bits_make_a_rank(void **state) {
    (void)state;
    static const struct {
        struct isa_facts f;
        enum isa isa;
    } cases[] = {
        {{0}, ISA_NONE},
        {{.leaf1_ecx = SSE41}, ISA_SSE41},
        {{.leaf1_ecx = AVX}, ISA_SSE41}, /* the system does not keep the registers */
        {{.leaf1_ecx = AVX, .xcr0 = AVX_STATE}, ISA_AVX},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX2, .xcr0 = AVX_STATE}, ISA_AVX2},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX2, .leaf7_1_eax = 1u << 4, .xcr0 = AVX_STATE},
         ISA_AVX2_VNNI},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX2, .leaf7_1_eax = 1u << 4,
          .leaf7_1_edx = 1u << 4 | 1u << 5, .xcr0 = AVX_STATE}, ISA_AVX2_VNNI_2},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX512, .xcr0 = AVX_STATE}, ISA_AVX2},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX512, .xcr0 = AVX512_STATE}, ISA_AVX512},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX512, .leaf7_ecx = VNNI, .xcr0 = AVX512_STATE},
         ISA_AVX512_VNNI},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX512, .leaf7_ecx = VNNI, .leaf7_1_eax = 1u << 5,
          .xcr0 = AVX512_STATE}, ISA_AVX512_BF16},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX512, .leaf7_ecx = VNNI, .leaf7_1_eax = 1u << 5,
          .leaf7_edx = TILES, .xcr0 = AVX512_STATE}, ISA_AVX512_FP16}, /* tiles are not kept */
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX512, .leaf7_ecx = VNNI, .leaf7_1_eax = 1u << 5,
          .leaf7_edx = TILES, .xcr0 = TILE_STATE}, ISA_AVX512_AMX},
        {{.leaf1_ecx = AVX, .leaf7_ebx = AVX512, .leaf7_ecx = VNNI,
          .leaf7_1_eax = 1u << 5 | 1u << 21, .leaf7_edx = TILES, .xcr0 = TILE_STATE},
         ISA_AVX512_AMX_FP16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (isa_of(&cases[i].f) != cases[i].isa)
            fail_msg("case %zu: %s instead of %s", i, isa_name(isa_of(&cases[i].f)),
                     isa_name(cases[i].isa));
}

static void a_variable_lowers_it(void **state) {
    (void)state;
    assert_int_equal(isa_limited(ISA_AVX512_AMX, NULL), ISA_AVX512_AMX);
    assert_int_equal(isa_limited(ISA_AVX512_AMX, "all"), ISA_AVX512_AMX);
    assert_int_equal(isa_limited(ISA_AVX512_AMX, "nonsense"), ISA_AVX512_AMX);
    assert_int_equal(isa_limited(ISA_AVX512_AMX, "AVX2"), ISA_AVX2);
    assert_int_equal(isa_limited(ISA_AVX512_AMX, "avx512_core_bf16"), ISA_AVX512_BF16);
    assert_int_equal(isa_limited(ISA_AVX512_AMX, "AVX10_1_512"), ISA_AVX512_FP16);
    assert_int_equal(isa_limited(ISA_AVX2, "AVX512_CORE"), ISA_AVX2); /* never raises it */
}

static void other_variables_show(void **state) {
    (void)state;
    char text[ISA_VARIABLES_MAX];
    static const char *const all[] = {"ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
                                      "ONEDNN_CPU_ISA_HINTS", "DNNL_CPU_ISA_HINTS",
                                      "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        unsetenv(all[i]);
    isa_variables(text, sizeof text);
    assert_string_equal(text, "");
    setenv("DNNL_DEFAULT_FPMATH_MODE", "BF16", 1);
    setenv("MKL_CBWR", "AVX2,STRICT/\nand so on and so on, for a long, long time", 1);
    isa_variables(text, sizeof text);
    assert_string_equal(text, "/fpmath=bf16/cbwr=avx2-strict--and-so-on-a");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        setenv(all[i], "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 1);
    isa_variables(text, sizeof text);
    assert_true(strlen(text) + 1 < sizeof text);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        unsetenv(all[i]);
}

/* The class that this program has with one variable set. */
static void class_with(const char *name, const char *value, char *ret, size_t size) {
    char command[4096];
    snprintf(command, sizeof command, "%s=%s '%s' class", name, value, program);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(ret, (int)size, f));
    assert_int_equal(pclose(f), 0);
}

static void another_rank_is_another_class(void **state) {
    (void)state;
    char plain[256], lowered[256], capability[256], mode[256];
    class_with("NOTHING", "1", plain, sizeof plain);
    assert_non_null(strstr(plain, isa_name(isa_here())));
    class_with("ONEDNN_MAX_CPU_ISA", "SSE41", lowered, sizeof lowered);
    assert_non_null(strstr(lowered, "/onednn=sse41/"));
    class_with("ATEN_CPU_CAPABILITY", "default", capability, sizeof capability);
    class_with("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", mode, sizeof mode);
    const char *all[] = {plain, lowered, capability, mode};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(all[i], all[j]) == 0 && isa_here() > ISA_SSE41)
                fail_msg("%s twice", all[i]);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc > 1)
        return ct_init(1) < 0 || printf("%s\n", ct_numeric_class()) < 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_make_a_rank),
        cmocka_unit_test(a_variable_lowers_it),
        cmocka_unit_test(other_variables_show),
        cmocka_unit_test(another_rank_is_another_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
