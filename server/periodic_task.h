// Something done again and again on a thread of its own, whatever the wall clock is set to.

#ifndef STRATA_SERVER_PERIODIC_TASK_H_
#define STRATA_SERVER_PERIODIC_TASK_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace strata::server {

// Runs from its construction to its destruction, which waits for a run under way.
class PeriodicTask {
 public:
  PeriodicTask(std::chrono::milliseconds interval, std::function<void()> work)
      : thread_([this, interval, work = std::move(work)] {
          while (!EndsWithin(interval)) work();
        }) {}
  ~PeriodicTask() {
    {
      std::lock_guard lock(mu_);
      ends_ = true;
      end_.notify_one();
    }
    thread_.join();
  }
  PeriodicTask(const PeriodicTask&) = delete;
  PeriodicTask& operator=(const PeriodicTask&) = delete;

 private:
  bool EndsWithin(std::chrono::milliseconds time) {
    std::unique_lock lock(mu_);
    return end_.wait_for(lock, time, [this] { return ends_; });
  }

  std::mutex mu_;
  std::condition_variable end_;
  bool ends_ = false;   // guarded by mu_
  std::thread thread_;  // last: uses all of the above
};

}  // namespace strata::server

#endif  // STRATA_SERVER_PERIODIC_TASK_H_
