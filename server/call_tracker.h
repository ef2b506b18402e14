// Calls of Inference in flight: bounded, counted by outcome, awaited when the
// server drains.

#ifndef STRATA_SERVER_CALL_TRACKER_H_
#define STRATA_SERVER_CALL_TRACKER_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "engine/clock.h"
#include "engine/rate_meter.h"
#include "server/metrics.h"

namespace strata::server {

// When somebody for whom there is no room had best come again: when half of the calls in flight
// have ended, at the pace of late. From 1 to 30 seconds.
std::chrono::seconds RetryDelayFor(int calls_in_flight, double ends_per_second);

// Thread-safe.
class CallTracker {
 public:
  // `metrics` must outlive this.
  CallTracker(int max_calls, ServerMetrics* metrics) : max_calls_(max_calls), metrics_(metrics) {}

  // RESOURCE_EXHAUSTED if too many calls are in flight, this one included.
  absl::Status Begin();
  // Once per Begin, failed or not.
  void End(const std::string& method, grpc::StatusCode code);

  // As above, of this tracker's calls.
  std::chrono::seconds RetryDelay();

  // Waits until no call is in flight; false at `deadline`.
  bool WaitUntilIdle(Instant deadline);

 private:
  const int max_calls_;
  ServerMetrics* const metrics_;
  std::mutex mu_;
  std::condition_variable idle_;
  // Guarded by mu_.
  int calls_ = 0;
  RateMeter ends_;  // of calls for which there was room
};

}  // namespace strata::server

#endif  // STRATA_SERVER_CALL_TRACKER_H_
