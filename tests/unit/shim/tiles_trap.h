/* tiles_trap.h: runs machine code that uses tile registers on a processor without them: each
 * of its instructions is an illegal one there, and is done by hand (tiles_by_hand.h) in the
 * signal's handler. So a test runs the very object that ships. Encodings: Intel SDM vol. 2,
 * LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TILERELEASE, TDPBF16PS. */
#ifndef CAI_TEST_TILES_TRAP_H
#define CAI_TEST_TILES_TRAP_H

#include "tiles_by_hand.h"

#include <signal.h>
#include <ucontext.h>

struct trapped {
    const uint8_t *next;
    int opcode, prefix /* 0 none, 2 F3, 3 F2 */, third, reg, rm;
    int memory; /* whether rm stands for an address */
    uint64_t address, index;
};

static inline uint64_t trap_register(const ucontext_t *u, int number) {
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)u->uc_mcontext.gregs[order[number]];
}

static inline int64_t trap_offset(struct trapped *t, size_t size) {
    int32_t wide = 0;
    int8_t narrow = 0;
    memcpy(size == 4 ? (void *)&wide : (void *)&narrow, t->next, size);
    t->next += size;
    return size == 4 ? wide : narrow;
}

/* The address that ModRM names; for tiles the scaled index is the stride, and no part of it. */
static inline void trap_address(const ucontext_t *u, struct trapped *t, int mod, int x, int b,
                                int apart) {
    int base = t->rm, relative = mod == 0 && t->rm == 5;
    if (t->rm == 4) {
        int sib = *t->next++, index = (sib >> 3 & 7) | x << 3;
        base = sib & 7;
        t->index = index == 4 ? 0 : trap_register(u, index) << (sib >> 6);
    }
    int bare = mod == 0 && base == 5;
    int64_t offset = mod == 1 ? trap_offset(t, 1) : mod == 2 || bare ? trap_offset(t, 4) : 0;
    t->address = relative ? (uint64_t)t->next : bare ? 0 : trap_register(u, base | b << 3);
    t->address += (uint64_t)offset + (apart ? 0 : t->index);
}

/* 0 when it is none of theirs. */
static inline int trap_decode(const ucontext_t *u, struct trapped *t) {
    const uint8_t *at = (const uint8_t *)u->uc_mcontext.gregs[REG_RIP];
    if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || at[2] >> 7 || at[2] >> 2 & 1)
        return 0;
    t->opcode = at[3];
    t->prefix = at[2] & 3;
    t->third = ~at[2] >> 3 & 15;
    t->reg = (at[4] >> 3 & 7) | (~at[1] >> 7 & 1) << 3;
    t->rm = at[4] & 7;
    t->next = at + 5;
    t->memory = at[4] >> 6 != 3;
    if (t->memory)
        trap_address(u, t, at[4] >> 6, ~at[1] >> 6 & 1, ~at[1] >> 5 & 1, t->opcode == 0x4b);
    return t->opcode == 0x49 || t->opcode == 0x4b || t->opcode == 0x5c;
}

static inline int trap_done(const struct trapped *t) {
    void *memory = (void *)t->address;
    switch (t->opcode << 4 | t->prefix << 1 | t->memory) {
    case 0x491: hand_configure(memory); return 1;
    case 0x490: hand_release(); return 1;
    case 0x496: hand_zero(t->reg); return 1;
    case 0x4b7: hand_load(t->reg, memory, (ptrdiff_t)t->index); return 1;
    case 0x4b5: hand_store(t->reg, memory, (ptrdiff_t)t->index); return 1;
    case 0x5c4: hand_dot(t->reg, t->rm, t->third); return 1;
    default: return 0;
    }
}

static inline void trap_illegal(int number, siginfo_t *info, void *context) {
    ucontext_t *u = (ucontext_t *)context;
    struct trapped t;
    memset(&t, 0, sizeof t);
    (void)info;
    if (!trap_decode(u, &t) || !trap_done(&t)) {
        signal(number, SIG_DFL); /* and it comes again */
        return;
    }
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)t.next;
}

/* From inside a test: cmocka sets handlers of its own before each. */
static inline void trap_tiles(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = trap_illegal;
    a.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &a, NULL);
}

#endif
