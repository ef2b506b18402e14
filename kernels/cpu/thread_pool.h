// Worker threads that share one operation at a time with the calling thread.

#ifndef STRATA_KERNELS_CPU_THREAD_POOL_H_
#define STRATA_KERNELS_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace strata::kernels {

// Thread rule: one thread at a time calls Run and ParallelFor.
class ThreadPool {
 public:
  // num_threads counts the caller; 0 means one per core this process may run on.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(i) once for each i in [0, num_threads), body(0) here, and
  // returns when all are done. The body must not throw.
  template <typename Body>
  void Run(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    RunErased([](void* context, int thread) { (*static_cast<Plain*>(context))(thread); }, &body);
  }

  // Splits [0, count) into one contiguous range per thread: body(begin, end).
  // With `serial`, one call here for the whole range: for work that is smaller
  // than what waking the others costs.
  template <typename Body>
  void ParallelFor(int64_t count, bool serial, Body&& body) {
    if (serial || num_threads_ == 1 || count <= 1) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    Run([&](int thread) {
      const int64_t begin = count * thread / num_threads_;
      const int64_t end = count * (thread + 1) / num_threads_;
      if (begin < end) body(begin, end);
    });
  }

 private:
  using Function = void (*)(void* context, int thread);

  void RunErased(Function function, void* context);
  void WorkerLoop(int thread);

  // Constant after construction.
  int num_threads_;
  std::vector<std::thread> workers_;

  // Written by the caller before it advances epoch_, read by workers after.
  Function function_ = nullptr;  // null: stop
  void* context_ = nullptr;

  // Apart, since workers spin on the one while the other changes.
  alignas(64) std::atomic<int32_t> epoch_{0};
  alignas(64) std::atomic<int32_t> unfinished_{0};
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_THREAD_POOL_H_
