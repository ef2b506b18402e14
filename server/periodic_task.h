// Something done again and again on a thread of its own.

#ifndef STRATA_SERVER_PERIODIC_TASK_H_
#define STRATA_SERVER_PERIODIC_TASK_H_

#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace strata::server {

// Runs from its construction to its destruction, which waits for a run under way.
class PeriodicTask {
 public:
  PeriodicTask(std::chrono::milliseconds interval, std::function<void()> work)
      : thread_([this, interval = absl::FromChrono(interval), work = std::move(work)] {
          while (!EndsWithin(interval)) work();
        }) {}
  ~PeriodicTask() {
    {
      absl::MutexLock lock(&mu_);
      ends_ = true;
    }
    thread_.join();
  }
  PeriodicTask(const PeriodicTask&) = delete;
  PeriodicTask& operator=(const PeriodicTask&) = delete;

 private:
  bool EndsWithin(absl::Duration time) {
    absl::MutexLock lock(&mu_);
    return mu_.AwaitWithTimeout(absl::Condition(&ends_), time);
  }

  absl::Mutex mu_;
  bool ends_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace strata::server

#endif  // STRATA_SERVER_PERIODIC_TASK_H_
