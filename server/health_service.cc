#include "server/health_service.h"

#include <optional>
#include <utility>

#include "server/refused_stream.h"
#include "server/status_mapping.h"

namespace strata::server {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One Watch call. Owns itself: gRPC calls OnDone last, which deletes it.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService* service, Caller caller)
      : service_(service), entry_(service->access_->live_calls(), std::move(caller)) {
    entry_.WhenRevoked([this](const absl::Status& why) { End(ToGrpcStatus(why)); });
  }

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
    if (!ok && !end_) end_ = CancelledStatus();
    Advance();
  }

  void OnCancel() override { End(CancelledStatus()); }

  void OnDone() override {
    service_->Remove(this);
    delete this;
  }

 private:
  static grpc::Status CancelledStatus() {
    return grpc::Status(grpc::StatusCode::CANCELLED, "the watch has ended");
  }

  void End(const grpc::Status& status) {
    absl::MutexLock lock(&mu_);
    if (!end_) end_ = status;
    Advance();
  }

  // gRPC calls none of the reactions from within StartWrite or Finish, and
  // OnDone only after the reaction that called Finish has returned.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || finished_) return;
    if (end_) {
      finished_ = true;
      Finish(*end_);
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
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mu_);  // what to end with, if it is to end
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  HealthCheckResponse response_;
  LiveCalls::Entry entry_;  // last: its end waits for whoever ends this call
};

HealthService::HealthService(std::set<std::string> services, AccessControl* access)
    : services_([&] {
        services.insert("");
        return std::move(services);
      }()),
      access_(access) {}

HealthService::Status HealthService::status() const {
  return missing_.empty() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void HealthService::Set(Condition condition, bool met) {
  absl::MutexLock lock(&mu_);
  const Status before = status();
  if (met) {
    missing_.erase(condition);
  } else {
    missing_.insert(condition);
  }
  if (status() == before) return;
  for (Watcher* watcher : watchers_) watcher->Send(status());
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto caller =
      access_->authenticator().Authenticate(*context, "grpc.health.v1.Health/Check");
  if (!caller.ok()) {
    reactor->Finish(ToGrpcStatus(caller.status()));
    return reactor;
  }
  if (!services_.contains(request->service())) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service"));
    return reactor;
  }
  {
    absl::MutexLock lock(&mu_);
    response->set_status(status());
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext* context, const HealthCheckRequest* request) {
  auto caller = access_->authenticator().Authenticate(*context, "grpc.health.v1.Health/Watch");
  if (!caller.ok()) return new RefusedStream<HealthCheckResponse>(caller.status());
  auto* watcher = new Watcher(this, *std::move(caller));  // deleted by OnDone
  if (!services_.contains(request->service())) {
    watcher->Send(HealthCheckResponse::SERVICE_UNKNOWN);
    return watcher;
  }
  absl::MutexLock lock(&mu_);
  watchers_.insert(watcher);
  watcher->Send(status());
  return watcher;
}

void HealthService::Remove(Watcher* watcher) {
  absl::MutexLock lock(&mu_);
  watchers_.erase(watcher);
}

}  // namespace strata::server
