#include "server/rank_devices.h"

#include <fmt/format.h>

#include <memory>

#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"
#include "kernels/cpu/cpu_ranks.h"
#include "kernels/cuda/cuda_backend.h"

namespace strata::server {
namespace {

std::vector<kernels::RankDevice> MakeDevices(const Options& options,
                                             kernels::WeightFormat weights) {
  if (options.device == DeviceKind::kCpu) {
    return kernels::CreateCpuRanks({weights, options.threads, /*isa=*/""}, options.tensor_parallel,
                                   options.engine.rank_timeout);
  }
  std::vector<kernels::RankDevice> ranks(1);
  ranks[0].backend = kernels::CreateCudaBackend({weights, /*device=*/0, options.deterministic});
  ranks[0].communicator = std::make_unique<kernels::LocalCommunicator>();
  return ranks;
}

}  // namespace

absl::StatusOr<std::vector<kernels::RankDevice>> MakeRankDevices(const Options& options,
                                                                 const Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const kernels::WeightFormat weights,
                   ChooseWeightFormat(checkpoint, options.weights));
  if (options.device == DeviceKind::kCuda && options.tensor_parallel > 1) {
    return absl::FailedPreconditionError(
        fmt::format("--tensor-parallel {}: this version runs a model on one GPU only",
                    options.tensor_parallel));
  }
  try {
    return MakeDevices(options, weights);
  } catch (const kernels::DeviceError& error) {
    return absl::FailedPreconditionError(error.what());
  }
}

}  // namespace strata::server
