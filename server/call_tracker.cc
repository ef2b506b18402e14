#include "server/call_tracker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace strata::server {

absl::Status CallTracker::Begin() {
  std::lock_guard lock(mu_);
  if (++calls_ <= max_calls_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} calls are in flight; try again later", max_calls_));
}

void CallTracker::End(const std::string& method, grpc::StatusCode code) {
  metrics_->OnCall(method, code);
  std::lock_guard lock(mu_);
  if (--calls_ == 0) idle_.notify_all();
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
  std::lock_guard lock(mu_);
  const double ends = ends_.Sum(std::chrono::steady_clock::now());
  return RetryDelayFor(calls_, ends / RateMeter::kWindowSeconds);
}

bool CallTracker::WaitUntilIdle(Instant deadline) {
  std::unique_lock lock(mu_);
  return idle_.wait_until(lock, deadline, [this] { return calls_ == 0; });
}

}  // namespace strata::server
