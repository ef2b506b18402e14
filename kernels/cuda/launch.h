// Launches a kernel. For .cu files.

#ifndef STRATA_KERNELS_CUDA_LAUNCH_H_
#define STRATA_KERNELS_CUDA_LAUNCH_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/cuda_error.h"
#include "kernels/tensor.h"

namespace strata::kernels::cuda {

constexpr int64_t CeilDiv(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// A grid or a block of these sizes.
inline dim3 Extent(int64_t x, int64_t y = 1, int64_t z = 1) {
  return {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
}

// Throws DeviceError if the launch is refused. What goes wrong later, the stream reports.
template <typename... Parameters, typename... Arguments>
void Launch(cudaStream_t stream, dim3 grid, dim3 block, void (*kernel)(Parameters...),
            Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream;
  Check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
        "launching a kernel");
}

// Calls launch(zero), whose type is that of elements of `dtype`.
template <typename LaunchAs>
void WithType(DType dtype, const LaunchAs& launch) {
  switch (dtype) {
    case DType::kF32:
      return launch(float());
    case DType::kBF16:
      return launch(__nv_bfloat16());
    case DType::kF16:
      return launch(__half());
  }
}

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_LAUNCH_H_
