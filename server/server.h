// The gRPC server over one engine: services, ports, and how it ends.

#ifndef STRATA_SERVER_SERVER_H_
#define STRATA_SERVER_SERVER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/access_control.h"
#include "server/call_tracker.h"
#include "server/control_service.h"
#include "server/health_service.h"
#include "server/inference_service.h"
#include "server/metrics.h"
#include "server/metrics_endpoint.h"
#include "server/options.h"
#include "server/orca_service.h"
#include "server/periodic_task.h"
#include "server/request_ids.h"
#include "server/serving.h"
#include "server/watchdog.h"
#include "server/write_thread.h"

namespace strata::server {

class StrataServer {
 public:
  // What the server tells of itself while it serves.
  struct Hooks {
    // Now and then, as long as rounds end as they should.
    std::function<void()> on_alive;
    // Once, if the engine is stuck and options.watchdog.exit is set.
    std::function<void()> on_stuck;
  };

  // Opens the ports and serves. `access`, `engine` and `metrics` must outlive the server.
  // Errors: UNAVAILABLE if a port cannot be opened.
  static absl::StatusOr<std::unique_ptr<StrataServer>> Start(const Options& options,
                                                             AccessControl* access, Engine* engine,
                                                             ServerMetrics* metrics,
                                                             Hooks hooks = {});
  // As by Drain with no time left.
  ~StrataServer();

  // "HOST:PORT" with the port in use.
  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& metrics_address() const { return metrics_address_; }  // empty: none

  // Reports NOT_SERVING, refuses new work, and lets calls in flight end until
  // `deadline` or until `hurry` says true (asked a few times a second); then
  // ends those left with UNAVAILABLE, stops the engine and closes the ports.
  // Returns whether all calls ended by themselves. Idempotent. Waits for ever if the engine is
  // stuck: only the end of the process helps then.
  bool Drain(Instant deadline, const std::function<bool()>& hurry);

 private:
  StrataServer(const Options& options, AccessControl* access, Engine* engine,
               ServerMetrics* metrics, Hooks hooks);
  absl::Status OpenMetrics(const Options& options);
  absl::Status OpenGrpc(const Options& options);
  void RegisterServices(const AccessOptions& options, grpc::ServerBuilder* builder);
  void StartWatching(const WatchdogOptions& options);
  // On the watchdog's thread.
  void OnLook(bool stuck, bool exit);

  AccessControl* const access_;
  Engine* const engine_;
  ServerMetrics* const metrics_;
  const Hooks hooks_;
  CallTracker calls_;
  RequestIds request_ids_;
  WriteThread writes_;
  const Serving serving_;
  InferenceService inference_;
  ControlService control_;
  HealthService health_;
  OrcaService orca_;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;  // outlives server_
  std::unique_ptr<grpc::Server> server_;                  // after the services that it calls
  std::string grpc_address_;
  std::string metrics_address_;
  bool drained_ = false;
  bool stuck_ = false;  // on the watchdog's thread
  // Last: they use all of the above.
  std::unique_ptr<PeriodicTask> access_poll_;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_SERVER_H_
