#include "kernels/cpu/thread_communicator.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#include "kernels/cpu/cores.h"
#include "kernels/spin_wait.h"

namespace strata::kernels {
namespace {

// What a rank asks of a collective.
struct Call {
  const char* name = "";
  void* data = nullptr;
  int64_t size_bytes = 0;
  int root = 0;

  bool Fits(const Call& other) const {
    return std::strcmp(name, other.name) == 0 && size_bytes == other.size_bytes &&
           root == other.root;
  }
  std::string ToString() const {
    if (data == nullptr) return name;
    return std::string(name) + " of " + std::to_string(size_bytes) + " bytes";
  }
};

// A collective is two meetings of all ranks: from the first on the calls of all
// are known and their memory is ready; at the second all are done with it.
class ThreadGroup {
 public:
  ThreadGroup(int size, std::chrono::milliseconds timeout)
      : timeout_(timeout),
        // Spinning for somebody who waits for this very core helps nobody.
        spins_(static_cast<int>(AvailableCores().size()) >= size),
        ranks_(size) {}

  int size() const { return static_cast<int>(ranks_.size()); }
  const Call& call(int rank) const { return ranks_[rank].call; }

  // The first meeting. Throws CommunicatorError.
  void Begin(int rank, const Call& call) {
    ranks_[rank].call = call;
    Meet(rank);
    // All look at all, so that nobody touches memory of another size than its own.
    const Call& first = ranks_[0].call;
    for (int i = 1; i < size(); ++i) {
      if (ranks_[i].call.Fits(first)) continue;
      Abort("rank " + std::to_string(i) + " calls " + ranks_[i].call.ToString() + ", rank 0 " +
            first.ToString());
      ThrowAborted();
    }
  }
  // The second.
  void End(int rank) { Meet(rank); }

  void Abort(const std::string& reason) {
    std::lock_guard lock(mu_);
    AbortLocked(reason);
  }

 private:
  struct alignas(64) Rank {
    std::atomic<uint64_t> arrived{0};  // meetings that it has come to
    Call call;
  };

  bool AllArrived(uint64_t meeting) const {
    return std::all_of(ranks_.begin(), ranks_.end(),
                       [&](const Rank& rank) { return rank.arrived.load() >= meeting; });
  }

  void Meet(int rank) {
    const uint64_t meeting = ranks_[rank].arrived.load(std::memory_order_relaxed) + 1;
    // Sequentially consistent with num_parked_: whoever parks has seen this, or is seen here.
    ranks_[rank].arrived.store(meeting);
    if (num_parked_.load() > 0) {
      std::lock_guard lock(mu_);
      arrived_.notify_all();
    }
    const auto ready = [&] { return AllArrived(meeting) || aborted_.load(); };
    if (!(spins_ ? SpinUntil(ready) : ready())) Park(rank, meeting, ready);
    if (aborted_.load()) ThrowAborted();
  }

  template <typename Ready>
  void Park(int rank, uint64_t meeting, const Ready& ready) {
    std::unique_lock lock(mu_);
    ++num_parked_;
    if (!arrived_.wait_for(lock, timeout_, ready)) AbortLocked(TimeoutReason(rank, meeting));
    --num_parked_;
  }

  std::string TimeoutReason(int rank, uint64_t meeting) const {
    std::string late;
    for (int i = 0; i < size(); ++i) {
      if (ranks_[i].arrived.load() >= meeting) continue;
      late += (late.empty() ? "" : ", ") + std::to_string(i);
    }
    return "rank " + late + " has not joined " + ranks_[rank].call.ToString() + " within " +
           std::to_string(timeout_.count()) + " ms of rank " + std::to_string(rank);
  }

  void AbortLocked(const std::string& reason) {
    if (aborted_.load()) return;
    reason_ = reason;
    aborted_.store(true);
    arrived_.notify_all();
  }

  [[noreturn]] void ThrowAborted() {
    std::lock_guard lock(mu_);
    throw CommunicatorError(reason_);
  }

  // Constant after construction.
  const std::chrono::milliseconds timeout_;
  const bool spins_;

  std::vector<Rank> ranks_;
  std::atomic<int> num_parked_{0};
  std::atomic<bool> aborted_{false};

  std::mutex mu_;
  std::condition_variable arrived_;  // or aborted
  std::string reason_;               // guarded by mu_
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, int rank)
      : group_(std::move(group)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }

  void AllReduceSum(TensorView x) override;
  void AllGather(TensorView x) override;
  void Broadcast(TensorView x, int root) override;
  void Barrier() override {
    group_->Begin(rank_, {"Barrier"});
    group_->End(rank_);
  }
  void Abort(const std::string& reason) override { group_->Abort(reason); }

 private:
  template <typename T>
  T* DataOf(int rank) const {
    return static_cast<T*>(group_->call(rank).data);
  }
  // The part of `count` elements that this rank adds up, in whole cache lines.
  int64_t SliceBegin(int64_t count, int rank) const {
    constexpr int64_t kLine = 64 / sizeof(float);
    const int64_t lines = (count + kLine - 1) / kLine;
    return std::min(count, lines * rank / size() * kLine);
  }
  void AddUp(int64_t begin, int64_t end);

  const std::shared_ptr<ThreadGroup> group_;
  const int rank_;
};

int64_t SizeBytes(const TensorView& x) {
  return x.rows * x.cols * static_cast<int64_t>(SizeOf(x.dtype));
}

// Each rank adds up its slice of everybody's elements and writes the sums to everybody.
void ThreadCommunicator::AllReduceSum(TensorView x) {
  const int64_t count = x.rows * x.cols;
  group_->Begin(rank_, {"AllReduceSum", x.data, SizeBytes(x)});
  AddUp(SliceBegin(count, rank_), SliceBegin(count, rank_ + 1));
  group_->End(rank_);
}

void ThreadCommunicator::AddUp(int64_t begin, int64_t end) {
  constexpr int64_t kChunk = 1024;  // stays in L1
  float sums[kChunk];
  for (int64_t first = begin; first < end; first += kChunk) {
    const int64_t n = std::min(kChunk, end - first);
    std::memcpy(sums, DataOf<float>(0) + first, n * sizeof(float));
    for (int rank = 1; rank < size(); ++rank) {
      const float* addends = DataOf<float>(rank) + first;
      for (int64_t i = 0; i < n; ++i) sums[i] += addends[i];
    }
    for (int rank = 0; rank < size(); ++rank) {
      std::memcpy(DataOf<float>(rank) + first, sums, n * sizeof(float));
    }
  }
}

void ThreadCommunicator::AllGather(TensorView x) {
  group_->Begin(rank_, {"AllGather", x.data, SizeBytes(x)});
  const int64_t shard_bytes = SizeBytes(x) / size();
  for (int rank = 0; rank < size(); ++rank) {
    if (rank == rank_) continue;
    const int64_t offset = rank * shard_bytes;
    std::memcpy(x.as<char>() + offset, DataOf<char>(rank) + offset, shard_bytes);
  }
  group_->End(rank_);
}

void ThreadCommunicator::Broadcast(TensorView x, int root) {
  group_->Begin(rank_, {"Broadcast", x.data, SizeBytes(x), root});
  if (rank_ != root) std::memcpy(x.data, DataOf<char>(root), SizeBytes(x));
  group_->End(rank_);
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> CreateThreadCommunicators(
    int size, std::chrono::milliseconds timeout) {
  const auto group = std::make_shared<ThreadGroup>(size, timeout);
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int rank = 0; rank < size; ++rank) {
    communicators.push_back(std::make_unique<ThreadCommunicator>(group, rank));
  }
  return communicators;
}

}  // namespace strata::kernels
