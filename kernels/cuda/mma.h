// The one instruction that C++ cannot say: a matrix product by a warp's tensor cores.

#ifndef STRATA_KERNELS_CUDA_MMA_H_
#define STRATA_KERNELS_CUDA_MMA_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace strata::kernels::cuda {

// c[16, 8] += a[16, 16] b[16, 8], a and b Elements, c f32; all threads of a warp together
// (PTX: mma.sync.aligned.m16n8k16). With g = lane / 4 and t = lane % 4 a thread holds
//   a  {(g, 2t), (g, 2t+1)}, {(g+8, 2t), ..}, {(g, 2t+8), ..}, {(g+8, 2t+8), ..}, two to a word
//   b  {(2t, g), (2t+1, g)}, {(2t+8, g), (2t+9, g)}
//   c  (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1)
template <typename Element>
__device__ void Mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

#ifdef __CUDACC__
template <>
__device__ __forceinline__ void Mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4],
                                                   const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void Mma<__half>(float (&c)[4], const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
template <>
__device__ void Mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ void Mma<__half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
#endif

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_MMA_H_
