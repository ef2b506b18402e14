// What /metrics shows: the engine's events, calls by method and code, and, at
// each scrape, the engine's load.

#ifndef STRATA_SERVER_METRICS_H_
#define STRATA_SERVER_METRICS_H_

#include <grpcpp/support/status_code_enum.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

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

  // Shows `model` and `backend` as labels of strata_build_info.
  void SetBuildInfo(const std::string& model, const std::string& backend);

  // What an exposer collects.
  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }

 private:
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
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& round_time_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_METRICS_H_
