/* tiles.h: the processor's tile registers (Intel AMX) as the kernel's own words. Tiles are
 * numbered by literals. Not for whether there are any (amx.h). Only for kernels_amx.c; its
 * test brings these words itself, in plain C.
 *
 * gcc 12's intrinsics do not say that they read and write memory, hence the barriers. */
#ifndef CAI_SHIM_TILES_H
#define CAI_SHIM_TILES_H

#include <immintrin.h>
#include <stdint.h>

/* What LDTILECFG reads: Intel SDM vol. 1, 18.3. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16]; /* 0: a tile that is not used */
    uint8_t rows[16];
};

#define TILE_BARRIER() __asm__ volatile("" ::: "memory")

/* Also zeroes all tiles. */
#define tile_configure(config)                                                                     \
    do {                                                                                           \
        TILE_BARRIER();                                                                            \
        _tile_loadconfig(config);                                                                  \
    } while (0)
#define tile_zero(tile) _tile_zero(tile)
#define tile_load(tile, from, stride) /* bytes between rows */                                     \
    do {                                                                                           \
        TILE_BARRIER();                                                                            \
        _tile_loadd(tile, from, stride);                                                           \
    } while (0)
#define tile_store(tile, to, stride)                                                               \
    do {                                                                                           \
        _tile_stored(tile, to, stride);                                                            \
        TILE_BARRIER();                                                                            \
    } while (0)
/* c [M, N] in fp32 += a [M, K pairs] · b [K, N pairs], pairs of bfloat16. */
#define tile_dot(c, a, b) _tile_dpbf16ps(c, a, b)
#define tile_release() _tile_release()

#endif
