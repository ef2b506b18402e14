// Starts writes of streams in the place of the engine's step thread: gRPC takes tens of
// microseconds for each, which every other stream would wait for.

#ifndef STRATA_SERVER_WRITE_THREAD_H_
#define STRATA_SERVER_WRITE_THREAD_H_

#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace strata::server {

// Thread-safe.
class WriteThread {
 public:
  WriteThread() : thread_([this] { RunAll(); }) {}
  // Does what waits.
  ~WriteThread();

  // `work` is done soon, after what came before. It must not block. A stream has one piece at a
  // time, so that what waits is bounded by the calls in flight.
  void Do(std::function<void()> work);

 private:
  void RunAll();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return ends_ || !waiting_.empty(); }

  absl::Mutex mu_;
  std::vector<std::function<void()>> waiting_ ABSL_GUARDED_BY(mu_);
  bool ends_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace strata::server

#endif  // STRATA_SERVER_WRITE_THREAD_H_
