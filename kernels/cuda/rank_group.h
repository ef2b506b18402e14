// What the ranks of a group share in this process: whether it has ended, and why.

#ifndef STRATA_KERNELS_CUDA_RANK_GROUP_H_
#define STRATA_KERNELS_CUDA_RANK_GROUP_H_

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

#include "kernels/communicator.h"

namespace strata::kernels::cuda {

// Safe from any thread.
class RankGroup {
 public:
  explicit RankGroup(std::chrono::milliseconds timeout) : timeout_(timeout) {}

  std::chrono::milliseconds timeout() const { return timeout_; }
  bool aborted() const { return aborted_.load(std::memory_order_acquire); }

  // The first reason counts.
  void Abort(const std::string& reason) {
    const std::lock_guard lock(mu_);
    if (aborted()) return;
    reason_ = reason;
    aborted_.store(true, std::memory_order_release);
  }
  // Throws CommunicatorError with the reason if the group has ended.
  void ThrowIfAborted() const {
    if (!aborted()) return;
    const std::lock_guard lock(mu_);
    throw CommunicatorError(reason_);
  }

 private:
  const std::chrono::milliseconds timeout_;
  std::atomic<bool> aborted_{false};
  mutable std::mutex mu_;
  std::string reason_;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_RANK_GROUP_H_
