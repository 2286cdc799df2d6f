/* isa.c: see isa.h. Bits of CPUID and XCR0 as Intel SDM vol. 2A, CPUID, and vol. 1, 13.1 say;
 * which of them make a rank, and the names, as oneDNN's cpu_isa_traits. */
#include "shim/isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const names[] = {
    "none", "sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni",
    "avx512_core_bf16", "avx512_core_fp16", "avx512_core_amx", "avx512_core_amx_fp16"};
/* Newer names of the last three. */
static const char *const newer[] = {"avx10_1_512", "avx10_1_512_amx", "avx10_1_512_amx_fp16"};

enum { N = sizeof names / sizeof *names, NEWER = sizeof newer / sizeof *newer };

static bool has(uint64_t word, int bit) {
    return word >> bit & 1;
}

/* Whether every bit from … to of XCR0 is on: the system saves those registers. */
static bool saved(const struct isa_facts *f, int from, int to) {
    for (int i = from; i <= to; i++)
        if (!has(f->xcr0, i))
            return false;
    return true;
}

static enum isa above_avx512(const struct isa_facts *f) {
    if (!has(f->leaf7_ecx, 11)) /* VNNI */
        return ISA_AVX512;
    if (!has(f->leaf7_1_eax, 5)) /* BF16 */
        return ISA_AVX512_VNNI;
    if (!has(f->leaf7_edx, 23)) /* FP16 */
        return ISA_AVX512_BF16;
    bool tiles = has(f->leaf7_edx, 24) && has(f->leaf7_edx, 25) && has(f->leaf7_edx, 22) &&
                 saved(f, 17, 18);
    if (!tiles)
        return ISA_AVX512_FP16;
    return has(f->leaf7_1_eax, 21) ? ISA_AVX512_AMX_FP16 : ISA_AVX512_AMX;
}

enum isa isa_of(const struct isa_facts *f) {
    if (!has(f->leaf1_ecx, 19))
        return ISA_NONE;
    if (!has(f->leaf1_ecx, 28) || !saved(f, 1, 2))
        return ISA_SSE41;
    if (!has(f->leaf7_ebx, 5) || !has(f->leaf1_ecx, 12)) /* AVX2, FMA */
        return ISA_AVX;
    bool avx512 = has(f->leaf7_ebx, 16) && has(f->leaf7_ebx, 17) && has(f->leaf7_ebx, 30) &&
                  has(f->leaf7_ebx, 31) && saved(f, 5, 7); /* F, DQ, BW, VL */
    if (avx512)
        return above_avx512(f);
    if (!has(f->leaf7_1_eax, 4))
        return ISA_AVX2;
    return has(f->leaf7_1_edx, 4) && has(f->leaf7_1_edx, 5) ? ISA_AVX2_VNNI_2 : ISA_AVX2_VNNI;
}

enum isa isa_limited(enum isa isa, const char *most) {
    int limit = N;
    for (int i = 1; i < N && most; i++)
        if (strcasecmp(most, names[i]) == 0)
            limit = i;
    for (int i = 0; i < NEWER && most; i++)
        if (strcasecmp(most, newer[i]) == 0)
            limit = ISA_AVX512_FP16 + i;
    return (int)isa < limit ? isa : (enum isa)limit;
}

const char *isa_name(enum isa isa) {
    return names[isa];
}

/* oneDNN's variables have an older name, too. */
static const char *variable(const char *name) {
    char full[48], older[48];
    snprintf(full, sizeof full, "ONEDNN_%s", name);
    snprintf(older, sizeof older, "DNNL_%s", name);
    const char *value = getenv(full);
    return value ? value : getenv(older);
}

enum isa isa_here(void) {
    struct isa_facts f = isa_facts_here();
    return isa_limited(isa_of(&f), variable("MAX_CPU_ISA"));
}

/* Adds one variable's part. */
static void add(char *text, size_t size, const char *name, const char *value) {
    size_t at = strlen(text);
    char plain[25];
    size_t n = 0;
    for (; value && value[n] && n + 1 < sizeof plain; n++) {
        char c = value[n];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        plain[n] = letter ? (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) : '-';
    }
    plain[n] = '\0';
    if (n > 0)
        snprintf(text + at, size - at, "/%s=%s", name, plain);
}

void isa_variables(char *text, size_t size) {
    *text = '\0';
    add(text, size, "fpmath", variable("DEFAULT_FPMATH_MODE"));
    add(text, size, "hints", variable("CPU_ISA_HINTS"));
    add(text, size, "mkl", getenv("MKL_ENABLE_INSTRUCTIONS"));
    add(text, size, "cbwr", getenv("MKL_CBWR"));
}

#if defined(__x86_64__)

#include <cpuid.h>

struct isa_facts isa_facts_here(void) {
    struct isa_facts f = {0};
    uint32_t a = 0, b = 0, c = 0, d = 0, high = 0;
    __get_cpuid(1, &a, &b, &f.leaf1_ecx, &d);
    __get_cpuid_count(7, 0, &a, &f.leaf7_ebx, &f.leaf7_ecx, &f.leaf7_edx);
    if (a >= 1) /* subleaves of 7 */
        __get_cpuid_count(7, 1, &f.leaf7_1_eax, &b, &c, &f.leaf7_1_edx);
    if (has(f.leaf1_ecx, 27)) { /* OSXSAVE */
        __asm__ volatile("xgetbv" : "=a"(a), "=d"(high) : "c"(0));
        f.xcr0 = (uint64_t)high << 32 | a;
    }
    return f;
}

#else

struct isa_facts isa_facts_here(void) {
    return (struct isa_facts){0};
}

#endif
