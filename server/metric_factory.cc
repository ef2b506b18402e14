#include "server/metric_factory.h"

namespace strata::server {

prometheus::Gauge& MetricFactory::AddGauge(const std::string& name, const std::string& help) const {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add({});
}

prometheus::Counter& MetricFactory::AddCounter(const std::string& name,
                                               const std::string& help) const {
  return AddFamily(name, help).Add({});
}

prometheus::Family<prometheus::Counter>& MetricFactory::AddFamily(const std::string& name,
                                                                  const std::string& help) const {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
}

prometheus::Histogram& MetricFactory::AddHistogram(
    const std::string& name, const std::string& help,
    const prometheus::Histogram::BucketBoundaries& buckets) const {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add({}, buckets);
}

prometheus::Counter& NumberedCounters::operator[](int number) {
  const auto index = static_cast<size_t>(number);
  if (counters_.size() <= index) counters_.resize(index + 1);
  if (counters_[index] == nullptr) {
    counters_[index] = &family_.Add({{label_, std::to_string(number)}});
  }
  return *counters_[index];
}

}  // namespace strata::server
