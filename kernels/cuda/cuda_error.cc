#include "kernels/cuda/cuda_error.h"

#include <cuda_runtime_api.h>

#include <string>

#include "kernels/backend.h"

namespace strata::kernels::cuda {

void Check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // CUDA would report it again
  throw DeviceError(std::string("GPU: ") + doing + ": " + cudaGetErrorString(error) + " (" +
                    cudaGetErrorName(error) + ")");
}

}  // namespace strata::kernels::cuda
