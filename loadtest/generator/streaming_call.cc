#include "loadtest/generator/streaming_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <utility>

namespace strata::loadtest {
namespace {

// Deletes itself in OnDone. gRPC calls one reaction at a time.
class StreamingCall final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  StreamingCall(const PlannedCall& call, CallRecord record, const CallSettings& settings,
                const Stopwatch* stopwatch, CallObserver* observer)
      : request_(call.request),
        cancel_after_tokens_(call.cancel_after_tokens),
        record_(std::move(record)),
        stopwatch_(stopwatch),
        observer_(observer) {
    context_.set_deadline(std::chrono::system_clock::now() + settings.timeout);
    if (!settings.token.empty()) context_.AddMetadata("authorization", "Bearer " + settings.token);
  }

  void Start(v1::Inference::Stub* stub) {
    record_.sent_s = stopwatch_->Seconds();
    stub->async()->Generate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone follows
    switch (response_.event_case()) {
      case v1::GenerateResponse::kStarted:
        record_.prompt_tokens = static_cast<int>(response_.started().prompt_tokens());
        record_.cached_prompt_tokens = static_cast<int>(response_.started().cached_prompt_tokens());
        break;
      case v1::GenerateResponse::kDelta:
        OnDelta(response_.delta());
        break;
      case v1::GenerateResponse::kFinished:
        record_.drafted_tokens +=
            static_cast<int>(response_.finished().speculation().drafted_tokens());
        record_.accepted_tokens +=
            static_cast<int>(response_.finished().speculation().accepted_tokens());
        break;
      default:
        break;
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    record_.end_s = stopwatch_->Seconds();
    record_.code = status.error_code();
    record_.error = status.error_message();
    // Once the last call is done, connections may be closed: its context must be gone by then.
    CallRecord record = std::move(record_);
    CallObserver* const observer = observer_;
    delete this;
    observer->OnCallDone(std::move(record));
  }

 private:
  void OnDelta(const v1::Delta& delta) {
    if (delta.token_ids().empty()) return;
    const double now_s = stopwatch_->Seconds();
    if (record_.has_token()) {
      record_.token_gaps_s.push_back(static_cast<float>(now_s - record_.last_token_s));
    } else {
      record_.first_token_s = now_s;
      record_.first_tokens = delta.token_ids_size();
    }
    record_.last_token_s = now_s;
    record_.tokens += delta.token_ids_size();
    observer_->OnTokens(now_s, delta.token_ids_size());
    if (cancel_after_tokens_ > 0 && record_.tokens >= cancel_after_tokens_ && !record_.cancelled) {
      record_.cancelled = true;
      context_.TryCancel();
    }
  }

  grpc::ClientContext context_;
  const v1::GenerateRequest request_;
  const int cancel_after_tokens_;
  v1::GenerateResponse response_;
  CallRecord record_;
  const Stopwatch* const stopwatch_;
  CallObserver* const observer_;
};

}  // namespace

void StartStreamingCall(v1::Inference::Stub* stub, const PlannedCall& call, CallRecord record,
                        const CallSettings& settings, const Stopwatch* stopwatch,
                        CallObserver* observer) {
  auto* streaming = new StreamingCall(call, std::move(record), settings, stopwatch, observer);
  streaming->Start(stub);
}

}  // namespace strata::loadtest
