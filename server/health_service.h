// grpc.health.v1.Health: one status for all of Strata's services.

#ifndef STRATA_SERVER_HEALTH_SERVICE_H_
#define STRATA_SERVER_HEALTH_SERVICE_H_

#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace strata::server {

// Thread-safe. Not serving at first.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // `services`: full names that are known beside "", the server as a whole.
  explicit HealthService(std::set<std::string> services);

  void SetServing(bool serving);

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

  const std::set<std::string> services_;
  absl::Mutex mu_;
  Status status_ ABSL_GUARDED_BY(mu_) = grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  std::set<Watcher*> watchers_ ABSL_GUARDED_BY(mu_);  // of known services
};

}  // namespace strata::server

#endif  // STRATA_SERVER_HEALTH_SERVICE_H_
