#include "server/rank_devices.h"

#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"
#include "kernels/cpu/cpu_ranks.h"

namespace strata::server {

absl::StatusOr<std::vector<kernels::RankDevice>> MakeRankDevices(const Options& options,
                                                                 const Checkpoint& checkpoint) {
  kernels::CpuBackendOptions cpu;
  ASSIGN_OR_RETURN(cpu.weights, ChooseWeightFormat(checkpoint, options.weights));
  cpu.num_threads = options.threads;
  try {
    return kernels::CreateCpuRanks(cpu, options.tensor_parallel, options.engine.rank_timeout);
  } catch (const kernels::DeviceError& error) {
    return absl::FailedPreconditionError(error.what());
  }
}

}  // namespace strata::server
