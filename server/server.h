// The gRPC server over one engine: services, ports, and how it ends.

#ifndef STRATA_SERVER_SERVER_H_
#define STRATA_SERVER_SERVER_H_

#include <grpcpp/server.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/call_tracker.h"
#include "server/control_service.h"
#include "server/health_service.h"
#include "server/inference_service.h"
#include "server/metrics.h"
#include "server/metrics_endpoint.h"
#include "server/options.h"
#include "server/orca_service.h"
#include "server/request_ids.h"
#include "server/serving.h"

namespace strata::server {

class StrataServer {
 public:
  // Opens the ports and serves. `engine` and `metrics` must outlive the server.
  // Errors: UNAVAILABLE if a port cannot be opened.
  static absl::StatusOr<std::unique_ptr<StrataServer>> Start(const Options& options, Engine* engine,
                                                             ServerMetrics* metrics);
  // As by Drain with no time left.
  ~StrataServer();

  // "HOST:PORT" with the port in use.
  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& metrics_address() const { return metrics_address_; }  // empty: none

  // Reports NOT_SERVING, refuses new work, and lets calls in flight end until
  // `deadline` or until `hurry` says true (asked a few times a second); then
  // ends those left with UNAVAILABLE, stops the engine and closes the ports.
  // Returns whether all calls ended by themselves. Idempotent.
  bool Drain(Instant deadline, const std::function<bool()>& hurry);

 private:
  StrataServer(const Options& options, Engine* engine, ServerMetrics* metrics);
  absl::Status OpenMetrics(const Options& options);
  absl::Status OpenGrpc(const Options& options);

  Engine* const engine_;
  ServerMetrics* const metrics_;
  CallTracker calls_;
  RequestIds request_ids_;
  const Serving serving_;
  InferenceService inference_;
  ControlService control_;
  HealthService health_;
  OrcaService orca_;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint_;
  std::unique_ptr<grpc::Server> server_;  // after the services that it calls
  std::string grpc_address_;
  std::string metrics_address_;
  bool drained_ = false;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_SERVER_H_
