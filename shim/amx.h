/* amx.h: whether this process may use tile registers (Intel AMX) for bfloat16. Private to
 * the shim. */
#ifndef CAI_SHIM_AMX_H
#define CAI_SHIM_AMX_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the processor and the system say of it. */
struct amx_facts {
    uint32_t leaf1_ecx, leaf7_edx;                  /* CPUID 1; 7.0 */
    uint32_t palette_eax, palette_ebx, palette_ecx; /* CPUID 1D.1 */
    uint64_t xcr0;                                  /* 0 where it cannot be read */
};

/* Tiles of 16 rows × 64 bytes, eight of them, products of bfloat16, kept by the system when
 * it changes threads. */
bool amx_described(const struct amx_facts *f);
struct amx_facts amx_facts_here(void);
/* amx_described(), and Linux grants their use to this process, which must ask once. */
bool amx_allowed(void);

#ifdef __cplusplus
}
#endif
#endif
