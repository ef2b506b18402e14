// What the kernels use of the device language beyond its keywords. For .cu files.

#ifndef STRATA_KERNELS_CUDA_DEVICE_LANGUAGE_H_
#define STRATA_KERNELS_CUDA_DEVICE_LANGUAGE_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/float_types.h"

static_assert(__cplusplus >= 202002L);

// An array in the block's shared memory, its own for each use of the macro. Macros, so that an
// emulator can give each array its own memory.
#ifdef __CUDACC__
#define STRATA_SHARED(T, name, count) __shared__ __align__(16) T name[count]
#endif

namespace strata::kernels::cuda {

constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float ToFloat(__half value) { return __half2float(value); }

// Round to nearest even; NaN stays NaN. What is beyond f16's range, infinity too, becomes its
// largest number: still a large one, where infinity would leave no numbers in the row after the
// next product.
template <typename T>
__device__ __forceinline__ T FromFloat(float value);
template <>
__device__ __forceinline__ float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ __half FromFloat<__half>(float value) {
  return __float2half_rn(fabsf(value) > kMaxF16 ? copysignf(kMaxF16, value) : value);
}

__device__ __forceinline__ float Silu(float x) { return x / (1.0f + expf(-x)); }

// The sum over the warp, in all its threads, by a tree of fixed shape.
__device__ __forceinline__ float WarpSum(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kWholeWarp, value, distance);
  }
  return value;
}

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_DEVICE_LANGUAGE_H_
