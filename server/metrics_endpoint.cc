#include "server/metrics_endpoint.h"

#include <fmt/format.h>

#include <exception>
#include <string>
#include <utility>

namespace strata::server {
namespace {

// Civetweb takes numeric addresses only.
std::string Numeric(HostPort listen) {
  if (listen.host == "localhost") listen.host = "127.0.0.1";
  return listen.ToString();
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Open(
    const HostPort& listen, std::vector<std::shared_ptr<prometheus::Collectable>> collectables) {
  std::unique_ptr<MetricsEndpoint> endpoint(new MetricsEndpoint);
  endpoint->collectables_ = std::move(collectables);
  try {
    endpoint->exposer_ = std::make_unique<prometheus::Exposer>(Numeric(listen));
  } catch (const std::exception&) {  // its message says nothing of the reason
    return absl::UnavailableError(fmt::format(
        "--metrics-listen: cannot listen on {}: the port is taken or the address is not this "
        "machine's",
        listen.ToString()));
  }
  for (const auto& collectable : endpoint->collectables_) {
    endpoint->exposer_->RegisterCollectable(collectable);
  }
  endpoint->port_ = endpoint->exposer_->GetListeningPorts().at(0);
  return endpoint;
}

}  // namespace strata::server
