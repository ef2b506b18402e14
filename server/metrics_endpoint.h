// The HTTP port that serves /metrics.

#ifndef STRATA_SERVER_METRICS_ENDPOINT_H_
#define STRATA_SERVER_METRICS_ENDPOINT_H_

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "server/option_values.h"

namespace strata::server {

class MetricsEndpoint {
 public:
  // Errors: UNAVAILABLE if the port cannot be opened.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Open(
      const HostPort& listen, std::vector<std::shared_ptr<prometheus::Collectable>> collectables);

  int port() const { return port_; }

 private:
  MetricsEndpoint() = default;

  std::vector<std::shared_ptr<prometheus::Collectable>> collectables_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // after what it collects
  int port_ = 0;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_METRICS_ENDPOINT_H_
