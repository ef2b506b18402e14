#include "kernels/cuda/cuda_ranks.h"

#include <utility>

#include "kernels/cuda/backend_on_device.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/nccl_communicator.h"

namespace strata::kernels {

std::vector<RankDevice> CreateCudaRanks(const CudaBackendOptions& options, int num_ranks,
                                        std::chrono::milliseconds timeout) {
  std::vector<RankDevice> ranks(num_ranks);
  if (num_ranks == 1) {
    ranks[0].backend = CreateCudaBackend(options);
    ranks[0].communicator = std::make_unique<LocalCommunicator>();
    return ranks;
  }
  cuda::CheckDevices(options.device + num_ranks);
  std::vector<std::shared_ptr<cuda::Device>> devices;
  for (int rank = 0; rank < num_ranks; ++rank) {
    devices.push_back(cuda::Device::Open(options.device + rank));
  }
  auto communicators = cuda::NcclCommunicator::CreateGroup(devices, timeout, options.deterministic);
  for (int rank = 0; rank < num_ranks; ++rank) {
    ranks[rank].backend = cuda::CreateBackendOn(devices[rank], options);
    ranks[rank].communicator = std::move(communicators[rank]);
  }
  return ranks;
}

}  // namespace strata::kernels
