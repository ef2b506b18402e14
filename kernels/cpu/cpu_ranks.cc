#include "kernels/cpu/cpu_ranks.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>

#include "kernels/cpu/cores.h"
#include "kernels/cpu/thread_communicator.h"

namespace strata::kernels {

namespace {

using Cores = std::vector<int>;

Cores Joined(const std::vector<Cores>& nodes) {
  Cores all;
  for (const Cores& node : nodes) all.insert(all.end(), node.begin(), node.end());
  return all;
}

// Of each rank.
std::vector<int> DivideThreads(int num_threads, int num_ranks) {
  std::vector<int> threads(num_ranks);
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads[rank] =
        std::max(1, num_threads * (rank + 1) / num_ranks - num_threads * rank / num_ranks);
  }
  return threads;
}

std::vector<Cores> ChoosePinnedCores(const std::vector<int>& threads) {
  const std::vector<Cores> nodes = NumaNodes();
  const int wanted = std::accumulate(threads.begin(), threads.end(), 0);
  const size_t available = Joined(nodes).size();
  if (static_cast<size_t>(wanted) > available) {
    throw DeviceError("cannot pin " + std::to_string(wanted) +
                      " threads to cores of their own: this process may run on " +
                      std::to_string(available) + "; ask for fewer threads, or do not pin them");
  }
  return PinnedCoresOfRanks(nodes, threads);
}

}  // namespace

std::vector<Cores> CoresOfRanks(const std::vector<Cores>& nodes, int num_ranks) {
  std::vector<Cores> cores(num_ranks);
  const size_t count = nodes.size();
  if (count == 1 || num_ranks % count != 0) return cores;
  for (int rank = 0; rank < num_ranks; ++rank) cores[rank] = nodes[rank * count / num_ranks];
  return cores;
}

std::vector<Cores> PinnedCoresOfRanks(const std::vector<Cores>& nodes,
                                      const std::vector<int>& threads) {
  const size_t count = threads.size() % nodes.size() == 0 ? nodes.size() : 1;
  const std::vector<Cores> places = count > 1 ? nodes : std::vector<Cores>{Joined(nodes)};
  std::vector<size_t> used(count);
  std::vector<Cores> cores(threads.size());
  for (size_t rank = 0; rank < threads.size(); ++rank) {
    const size_t place = rank * count / threads.size();
    const size_t end = used[place] + threads[rank];
    if (end > places[place].size()) return PinnedCoresOfRanks({Joined(nodes)}, threads);
    cores[rank].assign(places[place].begin() + used[place], places[place].begin() + end);
    used[place] = end;
  }
  return cores;
}

std::vector<RankDevice> CreateCpuRanks(const CpuBackendOptions& options, int num_ranks,
                                       std::chrono::milliseconds timeout) {
  const int num_threads =
      options.num_threads > 0 ? options.num_threads : static_cast<int>(AvailableCores().size());
  const std::vector<int> threads = DivideThreads(num_threads, num_ranks);
  const std::vector<Cores> cores =
      options.pin_threads ? ChoosePinnedCores(threads) : CoresOfRanks(NumaNodes(), num_ranks);
  std::vector<std::unique_ptr<Communicator>> communicators;
  if (num_ranks == 1) {
    communicators.push_back(std::make_unique<LocalCommunicator>());
  } else {
    communicators = CreateThreadCommunicators(num_ranks, timeout);
  }
  std::vector<RankDevice> ranks(num_ranks);
  for (int rank = 0; rank < num_ranks; ++rank) {
    CpuBackendOptions of_rank = options;
    of_rank.num_threads = threads[rank];
    of_rank.cores = cores[rank];
    ranks[rank] = {CreateCpuBackend(of_rank), std::move(communicators[rank]),
                   options.pin_threads ? Cores{cores[rank].front()} : cores[rank]};
  }
  return ranks;
}

}  // namespace strata::kernels
