// Makes metrics in a registry, which owns them.

#ifndef STRATA_SERVER_METRIC_FACTORY_H_
#define STRATA_SERVER_METRIC_FACTORY_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/clock.h"

namespace strata::server {

inline double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

class MetricFactory {
 public:
  explicit MetricFactory(prometheus::Registry* registry) : registry_(*registry) {}

  prometheus::Gauge& AddGauge(const std::string& name, const std::string& help) const;
  prometheus::Counter& AddCounter(const std::string& name, const std::string& help) const;
  prometheus::Histogram& AddHistogram(const std::string& name, const std::string& help,
                                      const prometheus::Histogram::BucketBoundaries& buckets) const;
  // With labels yet to be given.
  prometheus::Family<prometheus::Counter>& AddFamily(const std::string& name,
                                                     const std::string& help) const;

 private:
  prometheus::Registry& registry_;
};

// Counters of a family by a small number as their only label. They appear once they are used.
// Not thread-safe.
class NumberedCounters {
 public:
  NumberedCounters(prometheus::Family<prometheus::Counter>& family, std::string label)
      : family_(family), label_(std::move(label)) {}

  prometheus::Counter& operator[](int number);

 private:
  prometheus::Family<prometheus::Counter>& family_;
  const std::string label_;
  std::vector<prometheus::Counter*> counters_;  // by number; null: not used yet
};

}  // namespace strata::server

#endif  // STRATA_SERVER_METRIC_FACTORY_H_
