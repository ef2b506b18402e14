#include "server/call_tracker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace strata::server {

absl::Status CallTracker::Begin() {
  absl::MutexLock lock(&mu_);
  if (++calls_ <= max_calls_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} calls are in flight; try again later", max_calls_));
}

void CallTracker::End(const std::string& method, grpc::StatusCode code) {
  metrics_->OnCall(method, code);
  absl::MutexLock lock(&mu_);
  --calls_;
  if (code != grpc::StatusCode::RESOURCE_EXHAUSTED) ends_.Add(std::chrono::steady_clock::now(), 1);
}

std::chrono::seconds RetryDelayFor(int calls_in_flight, double ends_per_second) {
  constexpr double kMostSeconds = 30;
  // Nothing has ended yet: a long time for everybody.
  if (ends_per_second <= 0) return std::chrono::seconds(static_cast<int>(kMostSeconds));
  const double seconds = std::ceil(calls_in_flight / 2.0 / ends_per_second);
  return std::chrono::seconds(static_cast<int>(std::clamp(seconds, 1.0, kMostSeconds)));
}

std::chrono::seconds CallTracker::RetryDelay() {
  absl::MutexLock lock(&mu_);
  const double ends = ends_.Sum(std::chrono::steady_clock::now());
  return RetryDelayFor(calls_, ends / RateMeter::kWindowSeconds);
}

bool CallTracker::WaitUntilIdle(Instant deadline) {
  const absl::Duration left = absl::FromChrono(deadline - std::chrono::steady_clock::now());
  absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(
                                  +[](CallTracker* self) { return self->calls_ == 0; }, this),
                              left);
}

}  // namespace strata::server
