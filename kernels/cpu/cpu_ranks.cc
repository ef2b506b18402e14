#include "kernels/cpu/cpu_ranks.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "kernels/cpu/cores.h"
#include "kernels/cpu/thread_communicator.h"

namespace strata::kernels {

std::vector<std::vector<int>> CoresOfRanks(const std::vector<std::vector<int>>& nodes,
                                           int num_ranks) {
  std::vector<std::vector<int>> cores(num_ranks);
  const size_t count = nodes.size();
  if (count == 1 || num_ranks % count != 0) return cores;
  for (int rank = 0; rank < num_ranks; ++rank) cores[rank] = nodes[rank * count / num_ranks];
  return cores;
}

std::vector<RankDevice> CreateCpuRanks(const CpuBackendOptions& options, int num_ranks,
                                       std::chrono::milliseconds timeout) {
  std::vector<RankDevice> ranks(num_ranks);
  if (num_ranks == 1) {
    ranks[0] = {CreateCpuBackend(options), std::make_unique<LocalCommunicator>(), {}};
    return ranks;
  }
  const int num_threads =
      options.num_threads > 0 ? options.num_threads : static_cast<int>(AvailableCores().size());
  std::vector<std::unique_ptr<Communicator>> communicators =
      CreateThreadCommunicators(num_ranks, timeout);
  std::vector<std::vector<int>> cores = CoresOfRanks(NumaNodes(), num_ranks);
  for (int rank = 0; rank < num_ranks; ++rank) {
    CpuBackendOptions of_rank = options;
    of_rank.num_threads =
        std::max(1, num_threads * (rank + 1) / num_ranks - num_threads * rank / num_ranks);
    of_rank.cores = cores[rank];
    ranks[rank] = {CreateCpuBackend(of_rank), std::move(communicators[rank]),
                   std::move(cores[rank])};
  }
  return ranks;
}

}  // namespace strata::kernels
