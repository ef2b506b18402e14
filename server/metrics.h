// What /metrics shows: the engine's events, calls by method and code, and, at
// each scrape, the engine's load.

#ifndef STRATA_SERVER_METRICS_H_
#define STRATA_SERVER_METRICS_H_

#include <grpcpp/support/status_code_enum.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/observer.h"

namespace strata::server {

// One per server. Thread-safe.
class ServerMetrics final : public EngineObserver {
 public:
  ServerMetrics();

  void OnRound(const RoundReport& report) override;
  void OnFirstToken(Duration since_submit) override;
  void OnInterToken(Duration since_last, int num_tokens) override;
  void OnFinished(const FinishedEvent& event) override;
  void OnAborted(const absl::Status& status) override;

  // A call of Inference has ended.
  void OnCall(const std::string& method, grpc::StatusCode code);

  // A line of the audit log could not be written.
  void OnAuditLineLost();
  // A line of the log could not be written.
  void OnLogLineLost();
  // A file could not be read again; `what`: "credentials", "certificates", ...
  void OnReloadFailed(const std::string& what);
  void SetCertificateEnd(std::chrono::system_clock::time_point not_after);
  // Whether the watchdog takes the engine for stuck.
  void SetStuck(bool stuck);

  // Shows `model` and `backend` as labels of strata_build_info.
  void SetBuildInfo(const std::string& model, const std::string& backend);

  // What an exposer collects.
  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }

 private:
  void ShowPolicy(const RoundReport& report);
  prometheus::Gauge& AddGauge(const std::string& name, const std::string& help);
  prometheus::Counter& AddCounter(const std::string& name, const std::string& help);
  prometheus::Histogram& AddHistogram(const std::string& name, const std::string& help,
                                      const prometheus::Histogram::BucketBoundaries& buckets);
  prometheus::Family<prometheus::Counter>& AddFamily(const std::string& name,
                                                     const std::string& help);

  const std::shared_ptr<prometheus::Registry> registry_;
  // Owned by the registry.
  prometheus::Counter& rounds_;
  prometheus::Counter& draft_tokens_;
  prometheus::Counter& accepted_tokens_;
  prometheus::Counter& generated_tokens_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& cached_tokens_;
  prometheus::Counter& preemptions_;
  prometheus::Family<prometheus::Counter>& accepted_per_position_;
  prometheus::Family<prometheus::Counter>& round_phases_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& finished_;
  prometheus::Family<prometheus::Counter>& aborted_;
  prometheus::Counter& audit_lines_lost_;
  prometheus::Counter& log_lines_lost_;
  prometheus::Family<prometheus::Counter>& reload_failures_;
  prometheus::Gauge& stuck_;
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& round_time_;
  prometheus::Family<prometheus::Counter>& policy_rounds_;
  prometheus::Family<prometheus::Counter>& policy_exits_;
  prometheus::Counter& policy_micro_steps_;
  prometheus::Counter& policy_probes_;
  prometheus::Counter& policy_probe_seconds_;
  prometheus::Counter& predicted_seconds_;
  prometheus::Gauge& policy_price_;
  prometheus::Gauge& step_time_error_;
  prometheus::Gauge& calibration_error_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_METRICS_H_
