// The ranks of a tensor-parallel group, a GPU each.

#ifndef STRATA_KERNELS_CUDA_CUDA_RANKS_H_
#define STRATA_KERNELS_CUDA_CUDA_RANKS_H_

#include <chrono>
#include <vector>

#include "kernels/communicator.h"
#include "kernels/cuda/cuda_backend.h"

namespace strata::kernels {

// On the GPUs from options.device on. One rank has a LocalCommunicator. A rank that waits for its
// GPU for longer than `timeout` ends the group.
// Throws DeviceError, as CreateCudaBackend.
std::vector<RankDevice> CreateCudaRanks(const CudaBackendOptions& options, int num_ranks,
                                        std::chrono::milliseconds timeout);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CUDA_CUDA_RANKS_H_
