#include "server/orca_service.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <chrono>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace strata::server {

using xds::data::orca::v3::OrcaLoadReport;
using xds::service::orca::v3::OrcaLoadReportRequest;

namespace {

constexpr std::chrono::milliseconds kMinInterval{1000};
constexpr std::chrono::hours kMaxInterval{24};

std::chrono::milliseconds Interval(const OrcaLoadReportRequest& request) {
  const std::chrono::seconds seconds(std::clamp<int64_t>(
      request.report_interval().seconds(), 0, std::chrono::seconds(kMaxInterval).count()));
  const std::chrono::milliseconds fraction(request.report_interval().nanos() / 1'000'000);
  return std::max(kMinInterval, seconds + fraction);
}

}  // namespace

OrcaLoadReport MakeLoadReport(const EngineLoad& load, int max_sequences) {
  OrcaLoadReport report;
  const double requests = load.running_requests + load.queued_requests;
  report.set_application_utilization(requests / std::max(max_sequences, 1));
  if (load.kv_blocks_total > 0) {
    report.set_mem_utilization(static_cast<double>(load.kv_blocks_used) / load.kv_blocks_total);
  }
  auto& metrics = *report.mutable_named_metrics();
  metrics["running_requests"] = load.running_requests;
  metrics["queued_requests"] = load.queued_requests;
  metrics["tokens_per_second"] = load.tokens_per_second;
  metrics["acceptance_rate"] = load.acceptance_rate;
  return report;
}

// One stream: write, wait for the interval, write... Owns itself: gRPC calls
// OnDone last, which deletes it.
class OrcaService::Reporter final : public grpc::ServerWriteReactor<OrcaLoadReport> {
 public:
  Reporter(const GetReport& get_report, std::chrono::milliseconds interval)
      : get_report_(get_report), interval_(interval) {
    absl::MutexLock lock(&mu_);
    Write();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    waits_ = false;
    cancelled_ = cancelled_ || !ok;
    if (cancelled_) return End();
    waits_ = true;
    alarm_.Set(std::chrono::system_clock::now() + interval_, [this](bool) { OnAlarm(); });
  }

  void OnCancel() override {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    if (waits_) {
      alarm_.Cancel();  // a write under way ends by itself
    } else {
      End();
    }
  }

  void OnDone() override { delete this; }

 private:
  void OnAlarm() {
    {
      absl::MutexLock lock(&mu_);
      waits_ = false;
      if (!cancelled_) return Write();
      if (finished_) return;
      finished_ = true;
    }
    // Outside the lock: an alarm is no reaction of gRPC's, so this object may be
    // gone as soon as Finish is called.
    Finish(CancelledStatus());
  }

  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    waits_ = true;
    report_ = get_report_();
    StartWrite(&report_);
  }

  void End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return;
    finished_ = true;
    Finish(CancelledStatus());
  }

  static grpc::Status CancelledStatus() {
    return grpc::Status(grpc::StatusCode::CANCELLED, "the stream has ended");
  }

  const GetReport& get_report_;
  const std::chrono::milliseconds interval_;
  grpc::Alarm alarm_;
  absl::Mutex mu_;
  bool waits_ ABSL_GUARDED_BY(mu_) = false;  // a write or the alarm is under way
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  OrcaLoadReport report_;
};

grpc::ServerWriteReactor<OrcaLoadReport>* OrcaService::StreamCoreMetrics(
    grpc::CallbackServerContext*, const OrcaLoadReportRequest* request) {
  return new Reporter(get_report_, Interval(*request));  // deleted by OnDone
}

}  // namespace strata::server
