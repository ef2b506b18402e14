#include "kernels/cpu/thread_pool.h"

#include <system_error>

#include "kernels/backend.h"
#include "kernels/cpu/cores.h"
#include "kernels/spin_wait.h"

namespace strata::kernels {
namespace {

uint64_t FirstTicket(uint32_t epoch, int num_items) {
  return uint64_t{epoch} << 32 | static_cast<uint64_t>(num_items) << 16;
}

// Takes the next item of a share; -1 if none is left, or if the share belongs
// to another operation by now.
int TakeItem(std::atomic<uint64_t>& ticket, uint32_t epoch) {
  uint64_t now = ticket.load(std::memory_order_acquire);
  for (;;) {
    const uint64_t next = now & 0xffff;
    if (now >> 32 != epoch || next == (now >> 16 & 0xffff)) return -1;
    if (ticket.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      return static_cast<int>(next);
    }
  }
}

}  // namespace

ThreadPool::ThreadPool(int num_threads, const std::vector<int>& cores, bool pinned)
    : num_threads_(num_threads > 0 ? num_threads : static_cast<int>(AvailableCores().size())),
      shares_(num_threads_) {
  try {
    workers_.reserve(num_threads_ - 1);
    for (int i = 1; i < num_threads_; ++i) {
      workers_.emplace_back([this, i, own = pinned ? std::vector<int>{cores[i]} : cores] {
        BindThisThread(own);
        WorkerLoop(i);
      });
    }
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
  function_.store(nullptr, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunErased(Function function, void* context, int num_items) {
  if (workers_.empty()) {
    for (int item = 0; item < num_items; ++item) function(context, item);
    return;
  }
  if (num_items == 0) return;
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  function_.store(function, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  num_items_.store(num_items, std::memory_order_relaxed);
  unfinished_.store(static_cast<uint32_t>(num_items), std::memory_order_relaxed);
  for (int thread = 0; thread < num_threads_; ++thread) {
    const int count = FirstItem(num_items, thread + 1) - FirstItem(num_items, thread);
    shares_[thread].ticket.store(FirstTicket(epoch, count), std::memory_order_release);
  }
  epoch_.store(epoch, std::memory_order_release);
  epoch_.notify_all();
  Work(0, epoch);
  for (uint32_t left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) {
    WaitWhileEqual(unfinished_, left);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  for (uint32_t seen = 0;;) {
    WaitWhileEqual(epoch_, seen);
    seen = epoch_.load(std::memory_order_acquire);
    if (function_.load(std::memory_order_relaxed) == nullptr) return;
    Work(thread, seen);
  }
}

void ThreadPool::Work(int thread, uint32_t epoch) {
  const Function function = function_.load(std::memory_order_relaxed);
  void* const context = context_.load(std::memory_order_relaxed);
  const int num_items = num_items_.load(std::memory_order_relaxed);
  for (int step = 0; step < num_threads_; ++step) {
    const int owner = (thread + step) % num_threads_;
    for (int item; (item = TakeItem(shares_[owner].ticket, epoch)) >= 0;) {
      function(context, FirstItem(num_items, owner) + item);
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
    }
  }
}

}  // namespace strata::kernels
