#include "server/load_metrics.h"

#include <prometheus/metric_family.h>

#include <string>

namespace strata::server {
namespace {

prometheus::MetricFamily Gauge(const std::string& name, const std::string& help, double value) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = prometheus::MetricType::Gauge;
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  family.metric.push_back(metric);
  return family;
}

}  // namespace

std::vector<prometheus::MetricFamily> LoadMetrics::Collect() const {
  const EngineLoad load = get_load_();
  return {
      Gauge("strata_running_requests", "Sequences that rounds work on", load.running_requests),
      Gauge("strata_queued_requests", "Requests waiting for a place", load.queued_requests),
      Gauge("strata_kv_blocks", "Blocks of the KV cache", load.kv_blocks_total),
      Gauge("strata_kv_blocks_used", "KV blocks held by running requests", load.kv_blocks_used),
      Gauge("strata_kv_blocks_cached", "Free KV blocks that still hold a prefix",
            load.kv_blocks_cached),
      Gauge("strata_exit_cache_rows_used", "Hidden states held at exit layers",
            load.exit_cache_rows_used),
      Gauge("strata_tokens_per_second", "Tokens sent per second, of late", load.tokens_per_second),
      Gauge("strata_spec_decode_acceptance_rate", "Accepted of the drafted tokens, of late",
            load.acceptance_rate),
  };
}

}  // namespace strata::server
