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
// memory. With options.pin_threads each thread has a core of its own, the rank's thread too, and
// so the weights that it multiplies in its own node's memory, even if one rank spans all nodes.
// One rank has a LocalCommunicator. `timeout` as of CreateThreadCommunicators. Throws DeviceError,
// as CreateCpuBackend, and if there are not enough cores to pin threads to.
std::vector<RankDevice> CreateCpuRanks(const CpuBackendOptions& options, int num_ranks,
                                       std::chrono::milliseconds timeout);

// The cores of each rank, empty: any. REQUIRES: at least one node.
std::vector<std::vector<int>> CoresOfRanks(const std::vector<std::vector<int>>& nodes,
                                           int num_ranks);

// Each rank's cores, one for each of its `threads`, of its node where the nodes divide the ranks
// and have enough. REQUIRES: as many cores as threads.
std::vector<std::vector<int>> PinnedCoresOfRanks(const std::vector<std::vector<int>>& nodes,
                                                 const std::vector<int>& threads);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_CPU_RANKS_H_
