#include "kernels/cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <system_error>

#include "kernels/backend.h"

namespace strata::kernels {
namespace {

// Longer than the serial gaps between the operations of a layer, short enough
// that an idle server takes no CPU time.
constexpr std::chrono::microseconds kSpinTime{40};

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once `value` is no longer `old`: spins a while, then parks.
void WaitWhileEqual(const std::atomic<int32_t>& value, int32_t old) {
  const auto give_up = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 16; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < give_up);
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

int AvailableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads > 0 ? num_threads : AvailableCores()) {
  try {
    workers_.reserve(num_threads_ - 1);
    for (int i = 1; i < num_threads_; ++i) workers_.emplace_back([this, i] { WorkerLoop(i); });
  } catch (const std::system_error& error) {
    // The destructor will not run: stop those that did start.
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    throw DeviceError("cannot start " + std::to_string(num_threads_) + " threads: " + error.what() +
                      "; ask for fewer");
  }
}

ThreadPool::~ThreadPool() {
  function_ = nullptr;
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunErased(Function function, void* context) {
  if (workers_.empty()) return function(context, 0);
  function_ = function;
  context_ = context;
  unfinished_.store(static_cast<int32_t>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  function(context, 0);
  for (int32_t left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) {
    WaitWhileEqual(unfinished_, left);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  for (int32_t seen = 0;; ++seen) {
    WaitWhileEqual(epoch_, seen);
    if (function_ == nullptr) return;
    function_(context_, thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

}  // namespace strata::kernels
