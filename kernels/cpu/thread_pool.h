// Worker threads that share one operation at a time with the calling thread.

#ifndef STRATA_KERNELS_CPU_THREAD_POOL_H_
#define STRATA_KERNELS_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace strata::kernels {

// An operation is cut into items. Each thread takes those of its own share
// first, so that the same columns stay with the same core, then what others
// have left: a thread that the system has put aside holds up nobody with work
// that it has not begun.
//
// Thread rule: one thread at a time calls Run and ParallelFor.
class ThreadPool {
 public:
  // num_threads counts the caller; 0 means one per core this process may run on. The pool's own
  // threads run on `cores`; empty: on any. If pinned, thread i runs on cores[i] alone, the caller
  // being thread 0, which is left as it is. REQUIRES: if pinned, a core for each thread.
  explicit ThreadPool(int num_threads, const std::vector<int>& cores = {}, bool pinned = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(i) once for each i in [0, num_items), and returns when all are done. The body must
  // not throw. num_items is at most kMaxItemsPerThread for each thread.
  template <typename Body>
  void Run(int num_items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    RunErased([](void* context, int item) { (*static_cast<Plain*>(context))(item); }, &body,
              num_items);
  }

  // Splits [0, count) into contiguous ranges, a few per thread: body(begin, end).
  // With `serial`, one call here for the whole range: for work that is smaller
  // than what waking the others costs.
  template <typename Body>
  void ParallelFor(int64_t count, bool serial, Body&& body) {
    ParallelFor(count, serial, kRangesPerThread, body);
  }
  // The same with up to `ranges_per_thread`: for items that cost unlike amounts.
  template <typename Body>
  void ParallelFor(int64_t count, bool serial, int ranges_per_thread, Body&& body) {
    if (serial || num_threads_ == 1 || count <= 1) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    const int64_t most = int64_t{ranges_per_thread} * num_threads_;
    const int64_t ranges = count < most ? count : most;
    Run(static_cast<int>(ranges),
        [&](int item) { body(count * item / ranges, count * (item + 1) / ranges); });
  }

  static constexpr int kMaxItemsPerThread = 0xffff;

 private:
  using Function = void (*)(void* context, int item);

  // Fine enough to even out, coarse enough to cost nothing.
  static constexpr int kRangesPerThread = 4;

  // The items of one thread that nobody has begun: epoch (32 bits), number of
  // items (16), next item (16). The epoch keeps a thread that is late for one
  // operation from taking items of the next.
  struct alignas(64) Share {
    std::atomic<uint64_t> ticket{0};
  };

  void RunErased(Function function, void* context, int num_items);
  void WorkerLoop(int thread);
  // Does items of operation `epoch` until none is left to begin.
  void Work(int thread, uint32_t epoch);
  int FirstItem(int num_items, int thread) const {
    return static_cast<int>(int64_t{num_items} * thread / num_threads_);
  }

  // Constant after construction.
  int num_threads_;
  std::vector<Share> shares_;
  std::vector<std::thread> workers_;

  // The current operation. Late threads may read it while the next is being
  // written; they find no ticket for what they have read then.
  std::atomic<Function> function_{nullptr};  // null: stop
  std::atomic<void*> context_{nullptr};
  std::atomic<int> num_items_{0};

  // Apart, since workers spin on the one while the other changes.
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // items
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_THREAD_POOL_H_
