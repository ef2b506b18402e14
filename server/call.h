// One call of Inference: who makes it, whether it may, what it uses, how it ends. All of which is
// logged in one line.

#ifndef STRATA_SERVER_CALL_H_
#define STRATA_SERVER_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "engine/clock.h"
#include "engine/request.h"
#include "server/live_calls.h"
#include "server/serving.h"
#include "server/trace_context.h"

namespace strata::server {

// Lives from the call's begin to the end of its reactor. Its methods are called one after the
// other, from whichever thread, but for what WhenRevoked is given.
class Call {
 public:
  // `method`: of strata.v1.Inference, e.g. "Generate". `request_id`: the message's, may be empty;
  // see RequestIds::Choose. Adds to the call's initial metadata the id ("x-request-id"), the
  // caller's "traceparent" if it has sent one, and the model's licence.
  Call(const Serving& serving, grpc::CallbackServerContext* context, std::string method,
       const std::string& request_id);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Whether it may go on: UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, INVALID_ARGUMENT.
  const absl::Status& admission() const { return admission_; }
  // For whom it runs: the token's, else as in tenancy.h. REQUIRES: admission() is OK.
  const Tenant& tenant() const { return *tenant_; }
  const std::string& request_id() const { return request_id_; }

  // `cancel` is called, once, if the caller's token is no longer good. The call then ends with
  // UNAUTHENTICATED. It must neither block nor destroy this.
  void WhenRevoked(std::function<void()> cancel) {
    entry_.WhenRevoked([cancel = std::move(cancel)](const absl::Status&) { cancel(); });
  }

  // What the call uses. The text of both is logged where the operator wants that.
  void OnPrompt(const GenerateRequest& request);
  void OnStarted(const StartedEvent& event);
  void OnDelta(int sample_index, const Delta& delta);
  void OnFinished(const FinishedEvent& event);

  // Notes how the call ends and returns what to send. Until then: CANCELLED.
  grpc::Status End(absl::Status status);

 private:
  absl::Status Admit() const;
  void Audit() const;
  void LogEnd(const grpc::Status& status) const;

  const Serving& serving_;
  const std::string method_;
  const std::string request_id_;
  const std::string peer_;
  const std::optional<TraceContext> trace_;
  const Instant begin_;
  const absl::StatusOr<Caller> caller_;
  const absl::StatusOr<Tenant> tenant_;
  TenantMetrics::Tenant* const tenant_metrics_;  // null: nobody knows who calls
  LiveCalls::Entry entry_;
  const absl::Status admission_;
  std::optional<Instant> started_;      // the first sample
  std::optional<Instant> first_token_;  // of any sample
  uint64_t engine_request_ = 0;         // the first that the engine knows this call by; 0: none
  int64_t prompt_tokens_ = 0;
  int64_t cached_tokens_ = 0;  // of the prompt's
  int64_t generated_tokens_ = 0;
  // Of the samples that have finished.
  int64_t drafted_tokens_ = 0;
  int64_t accepted_tokens_ = 0;
  std::map<int, std::string> answers_;  // by sample; empty unless they are to be logged
  grpc::StatusCode code_ = grpc::StatusCode::CANCELLED;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_CALL_H_
