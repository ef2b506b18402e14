#include "server/rank_devices.h"

#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"
#include "kernels/cpu/cpu_ranks.h"
#include "kernels/cuda/cuda_ranks.h"

namespace strata::server {

absl::StatusOr<std::vector<kernels::RankDevice>> MakeRankDevices(const Options& options,
                                                                 const Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const kernels::WeightFormat weights,
                   ChooseWeightFormat(checkpoint, options.weights));
  try {
    if (options.device == DeviceKind::kCuda) {
      return kernels::CreateCudaRanks({weights, /*device=*/0, options.deterministic},
                                      options.tensor_parallel, options.engine.rank_timeout);
    }
    return kernels::CreateCpuRanks({.weights = weights,
                                    .num_threads = options.threads,
                                    .isa = "",
                                    .pin_threads = options.pin_threads},
                                   options.tensor_parallel, options.engine.rank_timeout);
  } catch (const kernels::DeviceError& error) {
    return absl::FailedPreconditionError(error.what());
  }
}

}  // namespace strata::server
