#include "server/call_tracker.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/status_mapping.h"

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
}

bool CallTracker::WaitUntilIdle(Instant deadline) {
  const absl::Duration left = absl::FromChrono(deadline - std::chrono::steady_clock::now());
  absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(
                                  +[](CallTracker* self) { return self->calls_ == 0; }, this),
                              left);
}

Call::Call(CallTracker* tracker, std::string method)
    : tracker_(tracker), method_(std::move(method)), admission_(tracker->Begin()) {}

Call::~Call() { tracker_->End(method_, code_); }

grpc::Status Call::End(const absl::Status& status) {
  grpc::Status mapped = ToGrpcStatus(status);
  code_ = mapped.error_code();
  // Messages name fields and limits, never what a prompt says.
  if (!status.ok()) {
    spdlog::debug("{}: {}: {}", method_, CodeName(code_), mapped.error_message());
  }
  return mapped;
}

}  // namespace strata::server
