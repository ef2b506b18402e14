// Whether this process may use AMX, the tile unit of Intel's server CPUs.

#ifndef STRATA_KERNELS_CPU_TILE_UNIT_H_
#define STRATA_KERNELS_CPU_TILE_UNIT_H_

namespace strata::kernels {

// The CPU has AMX with products of bf16 and of int8, and the system lets all threads of this
// process keep data in tiles, for which it is asked here. x86-64 only.
bool CanUseTiles();

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_TILE_UNIT_H_
