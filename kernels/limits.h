// What this machine can do at best, to compare measured speeds with.

#ifndef STRATA_KERNELS_LIMITS_H_
#define STRATA_KERNELS_LIMITS_H_

#include <cstddef>

namespace strata::kernels {

// All: the best of several passes with `threads` threads (0: one per available
// core), on the best instruction set this CPU has of those the CPU backend
// knows.

// GB/s (1e9 bytes) of plain streaming reads of `bytes` in huge pages. Choose a
// size well beyond the last-level cache, or it is the cache that is measured.
double MeasureReadBandwidth(int threads, size_t bytes);

// GFLOP/s of bf16 products summed in f32 (a multiply-add counts two), operands
// in registers: the best of AMX and the AVX-512 BF16 dot instruction, where there
// are such, and of f32 multiply-add, which widened bf16 products use instead.
double MeasureBf16Peak(int threads);

// GOP/s of int8 products summed in int32: AMX or AVX-512 VNNI, else AVX2's
// maddubs + madd; 0 if the CPU has none of them.
double MeasureInt8Peak(int threads);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_LIMITS_H_
