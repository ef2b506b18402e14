// What /metrics shows: the engine's events, and calls by method, code and tenant. docs/METRICS.md
// lists all of them, and those of LoadMetrics.

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
#include <string>

#include "engine/observer.h"
#include "server/metric_factory.h"
#include "server/speculation_metrics.h"
#include "server/tenant_metrics.h"

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

  // What each tenant uses.
  TenantMetrics& tenants() { return tenants_; }

  // What an exposer collects.
  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }

 private:
  // Time of the step thread by what it does; sums to all of it but probes.
  struct Phases {
    explicit Phases(prometheus::Family<prometheus::Counter>& family);
    prometheus::Counter& draft;
    prometheus::Counter& verify;
    prometheus::Counter& head;
    prometheus::Counter& sampling;
    prometheus::Counter& overhead;
  };

  void CountTime(const RoundReport& report);

  const std::shared_ptr<prometheus::Registry> registry_;
  const MetricFactory factory_;
  // Owned by the registry.
  prometheus::Counter& rounds_;
  prometheus::Gauge& last_round_;
  prometheus::Histogram& round_time_;
  const Phases phases_;
  prometheus::Histogram& batch_rows_;
  prometheus::Histogram& batch_sequences_;
  prometheus::Counter& generated_tokens_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& cached_tokens_;
  prometheus::Counter& preemptions_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& finished_;
  prometheus::Family<prometheus::Counter>& aborted_;
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& queue_time_;
  prometheus::Histogram& prefill_time_;
  prometheus::Histogram& decode_time_;
  prometheus::Counter& audit_lines_lost_;
  prometheus::Counter& log_lines_lost_;
  prometheus::Family<prometheus::Counter>& reload_failures_;
  prometheus::Gauge& stuck_;
  SpeculationMetrics speculation_;
  TenantMetrics tenants_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_METRICS_H_
