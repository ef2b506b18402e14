// The engine's load as gauges, read anew at each scrape.

#ifndef STRATA_SERVER_LOAD_METRICS_H_
#define STRATA_SERVER_LOAD_METRICS_H_

#include <prometheus/collectable.h>

#include <functional>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace strata::server {

class LoadMetrics final : public prometheus::Collectable {
 public:
  using GetLoad = std::function<EngineLoad()>;
  explicit LoadMetrics(GetLoad get_load) : get_load_(std::move(get_load)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const GetLoad get_load_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_LOAD_METRICS_H_
