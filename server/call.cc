#include "server/call.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "engine/checkpoint/license.h"
#include "engine/status_macros.h"
#include "server/license_gate.h"
#include "server/logging.h"
#include "server/status_mapping.h"
#include "server/tenancy.h"
#include "strata/v1/inference.grpc.pb.h"

namespace strata::server {
namespace {

std::string FullName(const std::string& method) {
  return std::string(v1::Inference::service_full_name()) + "/" + method;
}

double Milliseconds(Duration time) {
  return std::round(std::chrono::duration<double, std::milli>(time).count() * 1000) / 1000;
}

}  // namespace

Call::Call(const Serving& serving, grpc::CallbackServerContext* context, std::string method,
           const std::string& request_id)
    : serving_(serving),
      method_(std::move(method)),
      request_id_(serving.request_ids->Choose(request_id, *context)),
      peer_(context->peer()),
      trace_(TraceContextOf(*context)),
      begin_(std::chrono::steady_clock::now()),
      caller_(serving.access->authenticator().Authenticate(*context, FullName(method_))),
      tenant_(caller_.ok() && caller_->token() != nullptr ? caller_->tenant()
                                                          : TenantOf(*context, serving.tenancy)),
      tenant_metrics_(caller_.ok() && tenant_.ok() ? &serving.tenant_metrics->Find(tenant_->name)
                                                   : nullptr),
      entry_(serving.access->live_calls(), caller_.ok() ? *caller_ : Caller()),
      admission_(Admit()) {
  context->AddInitialMetadata("x-request-id", request_id_);
  if (trace_) context->AddInitialMetadata("traceparent", trace_->ToHeader());
  AddLicenseMetadata(serving, context);
}

Call::~Call() {
  if (tenant_metrics_ != nullptr) tenant_metrics_->OnCall(code_);
  serving_.calls->End(method_, code_);
}

absl::Status Call::Admit() const {
  const absl::Status room = serving_.calls->Begin();
  RETURN_IF_ERROR(caller_.status());
  RETURN_IF_ERROR(room);
  RETURN_IF_ERROR(tenant_.status());
  if (!serving_.access->authenticator().asks_for_tokens()) return absl::OkStatus();
  return CheckAcknowledgement(serving_.engine->checkpoint().license(), *caller_);
}

void Call::OnPrompt(const GenerateRequest& request) {
  if (!serving_.log_prompts) return;
  const auto* text = std::get_if<std::string>(&request.prompt);
  LogFields("prompt",
            {{"request_id", request_id_},
             {"prompt", text != nullptr ? *text
                                        : serving_.engine->tokenizer().Decode(
                                              std::get<std::vector<TokenId>>(request.prompt))}});
}

void Call::OnStarted(const StartedEvent& event) {
  if (!started_) started_ = std::chrono::steady_clock::now();
  if (engine_request_ == 0) engine_request_ = event.request;
  prompt_tokens_ += event.prompt_tokens;
  cached_tokens_ += event.cached_prompt_tokens;
  tenant_metrics_->OnPrompt(event.prompt_tokens);
}

void Call::OnDelta(int sample_index, const Delta& delta) {
  if (!first_token_ && !delta.token_ids.empty()) first_token_ = std::chrono::steady_clock::now();
  generated_tokens_ += static_cast<int64_t>(delta.token_ids.size());
  tenant_metrics_->OnGenerated(delta.token_ids.size());
  if (serving_.log_prompts) answers_[sample_index] += delta.text;
}

void Call::OnFinished(const FinishedEvent& event) {
  drafted_tokens_ += event.speculation.drafted_tokens;
  accepted_tokens_ += event.speculation.accepted_tokens;
}

grpc::Status Call::End(absl::Status status) {
  const absl::Status revoked = entry_.revoked();
  if (!status.ok() && !revoked.ok()) status = revoked;
  grpc::Status mapped = ToGrpcStatus(status, serving_.calls->RetryDelay());
  code_ = mapped.error_code();
  for (const auto& [sample, text] : answers_) {
    LogFields("answer", {{"request_id", request_id_}, {"sample", sample}, {"answer", text}});
  }
  LogEnd(mapped);
  Audit();
  return mapped;
}

void Call::LogEnd(const grpc::Status& status) const {
  if (!spdlog::should_log(spdlog::level::info)) return;
  nlohmann::ordered_json fields = {{"request_id", request_id_},
                                   {"method", method_},
                                   {"code", CodeName(code_)},
                                   {"tenant", tenant_.ok() ? tenant_->name : ""},
                                   {"peer", peer_},
                                   {"prompt_tokens", prompt_tokens_},
                                   {"cached_tokens", cached_tokens_},
                                   {"generated_tokens", generated_tokens_},
                                   {"drafted_tokens", drafted_tokens_},
                                   {"accepted_tokens", accepted_tokens_}};
  if (caller_.ok() && caller_->token() != nullptr) fields["token"] = caller_->token()->name;
  if (started_) fields["queue_ms"] = Milliseconds(*started_ - begin_);
  if (first_token_) fields["ttft_ms"] = Milliseconds(*first_token_ - begin_);
  fields["total_ms"] = Milliseconds(std::chrono::steady_clock::now() - begin_);
  if (engine_request_ != 0) fields["engine_request"] = engine_request_;
  if (trace_) {
    fields["trace_id"] = trace_->trace_id;
    fields["parent_id"] = trace_->parent_id;
  }
  // It names fields and limits, but may quote them.
  if (!status.ok() && spdlog::should_log(spdlog::level::debug)) {
    fields["error"] = status.error_message();
  }
  LogFields("request", fields);
}

void Call::Audit() const {
  AuditLog* log = serving_.access->audit_log();
  if (log == nullptr || prompt_tokens_ + generated_tokens_ == 0) return;
  const CheckpointLicense& license = serving_.engine->checkpoint().license();
  AuditRecord record;
  record.time = std::chrono::system_clock::now();
  record.request_id = request_id_;
  record.method = method_;
  record.tenant = tenant_->name;
  if (caller_->token() != nullptr) record.token = caller_->token()->name;
  record.code = CodeName(code_);
  record.prompt_tokens = prompt_tokens_;
  record.generated_tokens = generated_tokens_;
  record.model = serving_.engine->checkpoint().config().name;
  record.license = license.id;
  if (!license.id.empty()) {
    const bool by_tenant = caller_->token() != nullptr && IsNoncommercial(license.id);
    record.accepted_by = by_tenant ? "tenant" : "operator";
  }
  log->Append(ToJson(record));
}

}  // namespace strata::server
