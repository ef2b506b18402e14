// Metrics of drafting: what was drafted, what came of it, and what the policy thinks.

#ifndef STRATA_SERVER_SPECULATION_METRICS_H_
#define STRATA_SERVER_SPECULATION_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>

#include "engine/observer.h"
#include "server/metric_factory.h"

namespace strata::server {

// Used from one thread at a time.
class SpeculationMetrics {
 public:
  explicit SpeculationMetrics(const MetricFactory& factory);

  void OnRound(const RoundReport& report);

 private:
  void CountDrafts(const RoundReport& report);
  void ShowSpeedup(const RoundReport& report);
  void ShowPolicy(const RoundReport& report);

  // Owned by the registry.
  prometheus::Counter& drafts_;
  prometheus::Counter& draft_tokens_;
  prometheus::Counter& accepted_tokens_;
  NumberedCounters drafted_by_position_;
  NumberedCounters accepted_by_position_;
  NumberedCounters drafted_by_exit_;
  NumberedCounters accepted_by_exit_;
  prometheus::Counter& seconds_;
  prometheus::Counter& plain_seconds_;
  prometheus::Gauge& expected_speedup_;
  prometheus::Family<prometheus::Counter>& policy_rounds_;
  NumberedCounters policy_exits_;
  prometheus::Counter& policy_micro_steps_;
  prometheus::Counter& policy_probes_;
  prometheus::Counter& policy_probe_seconds_;
  prometheus::Counter& predicted_seconds_;
  prometheus::Gauge& policy_price_;
  prometheus::Gauge& step_time_error_;
  prometheus::Gauge& calibration_error_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_SPECULATION_METRICS_H_
