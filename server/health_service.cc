#include "server/health_service.h"

#include <optional>
#include <utility>

namespace strata::server {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One Watch call. Owns itself: gRPC calls OnDone last, which deletes it.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  explicit Watcher(HealthService* service) : service_(service) {}

  // Sends `status` as soon as the write under way is through; of several that
  // wait, only the last is sent.
  void Send(Status status) {
    absl::MutexLock lock(&mu_);
    next_ = status;
    Advance();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    cancelled_ = cancelled_ || !ok;
    Advance();
  }

  void OnCancel() override {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    Advance();
  }

  void OnDone() override {
    service_->Remove(this);
    delete this;
  }

 private:
  // gRPC calls none of the reactions from within StartWrite or Finish, and
  // OnDone only after the reaction that called Finish has returned.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || finished_) return;
    if (cancelled_) {
      finished_ = true;
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the watch has ended"));
    } else if (next_) {
      response_.set_status(*std::exchange(next_, std::nullopt));
      writing_ = true;
      StartWrite(&response_);
    }
  }

  HealthService* const service_;
  absl::Mutex mu_;
  std::optional<Status> next_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  HealthCheckResponse response_;
};

HealthService::HealthService(std::set<std::string> services)
    : services_([&] {
        services.insert("");
        return std::move(services);
      }()) {}

void HealthService::SetServing(bool serving) {
  absl::MutexLock lock(&mu_);
  status_ = serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  for (Watcher* watcher : watchers_) watcher->Send(status_);
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!services_.contains(request->service())) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service"));
    return reactor;
  }
  {
    absl::MutexLock lock(&mu_);
    response->set_status(status_);
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  auto* watcher = new Watcher(this);  // deleted by OnDone
  if (!services_.contains(request->service())) {
    watcher->Send(HealthCheckResponse::SERVICE_UNKNOWN);
    return watcher;
  }
  absl::MutexLock lock(&mu_);
  watchers_.insert(watcher);
  watcher->Send(status_);
  return watcher;
}

void HealthService::Remove(Watcher* watcher) {
  absl::MutexLock lock(&mu_);
  watchers_.erase(watcher);
}

}  // namespace strata::server
