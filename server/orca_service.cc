#include "server/orca_service.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/refused_stream.h"
#include "server/status_mapping.h"

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
  Reporter(OrcaService* service, Caller caller, std::chrono::milliseconds interval)
      : get_report_(service->get_report_),
        interval_(interval),
        entry_(service->access_->live_calls(), std::move(caller)) {
    {
      absl::MutexLock lock(&mu_);
      Write();
    }
    entry_.WhenRevoked([this](const absl::Status& why) { EndEarly(ToGrpcStatus(why)); });
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    waits_ = false;
    if (!ok && !end_) end_ = grpc::Status::CANCELLED;
    if (end_) return End();
    waits_ = true;
    alarm_.Set(std::chrono::system_clock::now() + interval_, [this](bool) { OnAlarm(); });
  }

  void OnCancel() override {
    EndEarly(grpc::Status(grpc::StatusCode::CANCELLED, "the stream has ended"));
  }

  void OnDone() override { delete this; }

 private:
  void EndEarly(const grpc::Status& status) {
    absl::MutexLock lock(&mu_);
    if (!end_) end_ = status;
    if (waits_) {
      alarm_.Cancel();  // a write under way ends by itself
    } else {
      End();
    }
  }

  void OnAlarm() {
    grpc::Status status;
    {
      absl::MutexLock lock(&mu_);
      waits_ = false;
      if (!end_) return Write();
      if (finished_) return;
      finished_ = true;
      status = *end_;
    }
    // Outside the lock: an alarm is no reaction of gRPC's, so this object may be
    // gone as soon as Finish is called.
    Finish(status);
  }

  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    waits_ = true;
    report_ = get_report_();
    StartWrite(&report_);
  }

  void End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return;
    finished_ = true;
    Finish(*end_);
  }

  const GetReport& get_report_;
  const std::chrono::milliseconds interval_;
  grpc::Alarm alarm_;
  absl::Mutex mu_;
  bool waits_ ABSL_GUARDED_BY(mu_) = false;               // a write or the alarm is under way
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mu_);  // what to end with, if it is to end
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  OrcaLoadReport report_;
  LiveCalls::Entry entry_;  // last: its end waits for whoever ends this call
};

grpc::ServerWriteReactor<OrcaLoadReport>* OrcaService::StreamCoreMetrics(
    grpc::CallbackServerContext* context, const OrcaLoadReportRequest* request) {
  auto caller = access_->authenticator().Authenticate(
      *context, "xds.service.orca.v3.OpenRcaService/StreamCoreMetrics");
  if (!caller.ok()) return new RefusedStream<OrcaLoadReport>(caller.status());
  return new Reporter(this, *std::move(caller), Interval(*request));  // deleted by OnDone
}

}  // namespace strata::server
