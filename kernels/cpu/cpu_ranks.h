// The ranks of a tensor-parallel group on this machine's cores.

#ifndef STRATA_KERNELS_CPU_CPU_RANKS_H_
#define STRATA_KERNELS_CPU_CPU_RANKS_H_

#include <chrono>
#include <vector>

#include "kernels/communicator.h"
#include "kernels/cpu/cpu_backend.h"

namespace strata::kernels {

// options.num_threads (0: one per core) are divided over the ranks, each having
// one at least. If the ranks are a multiple of the machine's NUMA nodes, each
// runs on the cores of one node, and so has its weights and KV in that node's
// memory. One rank has a LocalCommunicator. `timeout` as of CreateThreadCommunicators.
// Throws DeviceError, as CreateCpuBackend.
std::vector<RankDevice> CreateCpuRanks(const CpuBackendOptions& options, int num_ranks,
                                       std::chrono::milliseconds timeout);

// The cores of each rank, empty: any. REQUIRES: at least one node.
std::vector<std::vector<int>> CoresOfRanks(const std::vector<std::vector<int>>& nodes,
                                           int num_ranks);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_CPU_RANKS_H_
