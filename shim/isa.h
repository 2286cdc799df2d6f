/* isa.h: which instructions oneDNN, inside libtorch, multiplies with in this process: with what
 * the processor has, up to what its variable allows. libtorch hides oneDNN's own answer
 * (dnnl_get_effective_cpu_isa), so the same rule is told again here. Private to the shim. */
#ifndef CAI_SHIM_ISA_H
#define CAI_SHIM_ISA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* From less to more, as oneDNN ranks them (oneDNN 3.x, "CPU dispatcher control"). */
enum isa { ISA_NONE, ISA_SSE41, ISA_AVX, ISA_AVX2, ISA_AVX2_VNNI, ISA_AVX2_VNNI_2, ISA_AVX512,
           ISA_AVX512_VNNI, ISA_AVX512_BF16, ISA_AVX512_FP16, ISA_AVX512_AMX, ISA_AVX512_AMX_FP16 };

/* What CPUID (leaf.subleaf) and XCR0 say. */
struct isa_facts {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf7_edx, leaf7_1_eax, leaf7_1_edx;
    uint64_t xcr0;
};
struct isa_facts isa_facts_here(void); /* all 0 where the processor is of another kind */
enum isa isa_of(const struct isa_facts *f);
/* The lower of it and the one that the variable's text names; NULL or an unknown name: itself. */
enum isa isa_limited(enum isa isa, const char *most);
const char *isa_name(enum isa isa); /* as oneDNN's variable has it, in lower case */
/* Of this process, by its processor and ONEDNN_MAX_CPU_ISA or DNNL_MAX_CPU_ISA. */
enum isa isa_here(void);
/* "/NAME=VALUE" for each further variable that changes what oneDNN or MKL compute and is set,
 * in letters, digits and "-", at most 24 each; "" without one. The size that always holds them
 * is ISA_VARIABLES_MAX. */
enum { ISA_VARIABLES_MAX = 160 };
void isa_variables(char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
