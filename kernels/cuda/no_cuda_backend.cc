// In place of cuda_backend.cc in builds without CUDA.

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_ranks.h"

namespace strata::kernels {

bool HasCudaBackend() { return false; }

std::vector<RankDevice> CreateCudaRanks(const CudaBackendOptions& options, int,
                                        std::chrono::milliseconds) {
  CreateCudaBackend(options);
  return {};
}

std::unique_ptr<Backend> CreateCudaBackend(const CudaBackendOptions&) {
  throw DeviceError(
      "this build has no CUDA backend; use the CPU, or build with the preset cuda (docs/GPU.md)");
}

}  // namespace strata::kernels
