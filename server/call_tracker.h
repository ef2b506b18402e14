// Calls of Inference in flight: bounded, counted by outcome, awaited when the
// server drains.

#ifndef STRATA_SERVER_CALL_TRACKER_H_
#define STRATA_SERVER_CALL_TRACKER_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/clock.h"
#include "server/metrics.h"

namespace strata::server {

// Thread-safe.
class CallTracker {
 public:
  // `metrics` must outlive this.
  CallTracker(int max_calls, ServerMetrics* metrics) : max_calls_(max_calls), metrics_(metrics) {}

  // RESOURCE_EXHAUSTED if too many calls are in flight, this one included.
  absl::Status Begin();
  // Once per Begin, failed or not.
  void End(const std::string& method, grpc::StatusCode code);

  // Waits until no call is in flight; false at `deadline`.
  bool WaitUntilIdle(Instant deadline);

 private:
  const int max_calls_;
  ServerMetrics* const metrics_;
  absl::Mutex mu_;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
};

// One call, from its begin to the end of its reactor.
class Call {
 public:
  // `method`: as in metrics, e.g. "Generate".
  Call(CallTracker* tracker, std::string method);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Whether there was room for it.
  const absl::Status& admission() const { return admission_; }
  // Notes how the call ends and returns what to send. Until then: CANCELLED.
  grpc::Status End(const absl::Status& status);

 private:
  CallTracker* const tracker_;
  const std::string method_;
  const absl::Status admission_;
  grpc::StatusCode code_ = grpc::StatusCode::CANCELLED;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_CALL_TRACKER_H_
