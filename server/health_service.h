// grpc.health.v1.Health: one status for all of Strata's services.

#ifndef STRATA_SERVER_HEALTH_SERVICE_H_
#define STRATA_SERVER_HEALTH_SERVICE_H_

#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/access_control.h"

namespace strata::server {

// Thread-safe. Serving as long as all conditions are met.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // `services`: full names that are known beside "", the server as a whole. `access` says who may
  // ask, and must outlive this.
  HealthService(std::set<std::string> services, AccessControl* access);

  enum Condition { kReady, kMoving };
  // At first the server is not ready, and moves: no round is stuck.
  void Set(Condition condition, bool met);

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  void Remove(Watcher* watcher);
  Status status() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::set<std::string> services_;
  AccessControl* const access_;
  absl::Mutex mu_;
  std::set<Condition> missing_ ABSL_GUARDED_BY(mu_) = {kReady};
  std::set<Watcher*> watchers_ ABSL_GUARDED_BY(mu_);  // of known services
};

}  // namespace strata::server

#endif  // STRATA_SERVER_HEALTH_SERVICE_H_
