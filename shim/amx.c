/* amx.c: see amx.h. CPUID and XCR0 as Intel SDM vol. 1, 18.2 says; the permission as Linux'
 * Documentation/arch/x86/xstate.rst: tile data is 8 KB a thread, so a process asks for it. */
#include "shim/amx.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OSXSAVE = 27, AMX_BF16 = 22, AMX_TILE = 24, XTILE_CONFIG = 17, XTILE_DATA = 18,
       ARCH_REQ_XCOMP_PERM = 0x1023 };

static bool has(uint64_t word, int bit) {
    return word >> bit & 1;
}

bool amx_described(const struct amx_facts *f) {
    return has(f->leaf1_ecx, OSXSAVE) && has(f->leaf7_edx, AMX_TILE) &&
           has(f->leaf7_edx, AMX_BF16) && has(f->xcr0, XTILE_CONFIG) && has(f->xcr0, XTILE_DATA) &&
           f->palette_eax >> 16 == 1024 /* bytes of a tile */ &&
           (f->palette_ebx & 0xffff) == 64 /* of its row */ && f->palette_ebx >> 16 >= 8 &&
           (f->palette_ecx & 0xffff) == 16 /* rows */;
}

struct amx_facts amx_facts_here(void) {
    struct amx_facts f = {0};
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0, high = 0;
    __get_cpuid(1, &eax, &ebx, &f.leaf1_ecx, &edx);
    __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &f.leaf7_edx);
    __get_cpuid_count(0x1d, 1, &f.palette_eax, &f.palette_ebx, &f.palette_ecx, &edx);
    if (has(f.leaf1_ecx, OSXSAVE)) {
        __asm__ volatile("xgetbv" : "=a"(eax), "=d"(high) : "c"(0));
        f.xcr0 = (uint64_t)high << 32 | eax;
    }
    return f;
}

bool amx_allowed(void) {
    struct amx_facts f = amx_facts_here();
    return amx_described(&f) && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILE_DATA) == 0;
}

#else

bool amx_described(const struct amx_facts *f) {
    (void)f;
    return false;
}

struct amx_facts amx_facts_here(void) {
    return (struct amx_facts){0};
}

bool amx_allowed(void) {
    return false;
}

#endif
