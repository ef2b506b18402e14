// A call with one answer that takes one or several requests to the engine:
// GenerateUnary one, Score one per continuation.

#ifndef STRATA_SERVER_UNARY_REACTOR_H_
#define STRATA_SERVER_UNARY_REACTOR_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"
#include "server/call.h"
#include "server/serving.h"
#include "strata/v1/inference.pb.h"

namespace strata::server {

// Owns itself: gRPC calls OnDone last, which deletes it. Finish is called only
// after the engine is done with all its requests.
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  // What to submit, or why the call is refused.
  using Prepare = std::function<absl::StatusOr<std::vector<GenerateRequest>>()>;
  // Takes the results, in the order of the requests, once all are OK.
  using Complete = std::function<void(const Call& call, std::vector<v1::GenerateResult> results)>;

  // `method`, `request_id`: as Call's. `prepare` is called at once. The call's deadline is set on
  // each request.
  static UnaryReactor* Start(const Serving& serving, grpc::CallbackServerContext* context,
                             std::string method, std::string request_id, const Prepare& prepare,
                             Complete complete);

  void OnCancel() override;
  void OnDone() override;

 private:
  UnaryReactor(const Serving& serving, grpc::CallbackServerContext* context, std::string method,
               std::string request_id, Complete complete);
  void Submit(const grpc::CallbackServerContext& context, const Prepare& prepare);
  void SubmitOne(size_t index, GenerateRequest request);
  // One of `pending_` has ended. Nothing of this object may be touched
  // afterwards by the caller.
  void EndOne(const absl::Status& status);
  void CancelAll();

  const Serving& serving_;
  Call call_;
  const Complete complete_;

  absl::Mutex mu_;
  int pending_ ABSL_GUARDED_BY(mu_) = 1;      // requests, and the submitting itself
  absl::Status status_ ABSL_GUARDED_BY(mu_);  // the first failure
  std::vector<RequestId> ids_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::GenerateResult> results_ ABSL_GUARDED_BY(mu_);
};

}  // namespace strata::server

#endif  // STRATA_SERVER_UNARY_REACTOR_H_
