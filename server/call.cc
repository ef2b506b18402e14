#include "server/call.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "engine/checkpoint/license.h"
#include "engine/status_macros.h"
#include "server/license_gate.h"
#include "server/request_translation.h"
#include "server/status_mapping.h"
#include "server/tenancy.h"
#include "strata/v1/inference.grpc.pb.h"

namespace strata::server {
namespace {

std::string FullName(const std::string& method) {
  return std::string(v1::Inference::service_full_name()) + "/" + method;
}

// In one line, whatever it is.
std::string Quote(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Call::Call(const Serving& serving, grpc::CallbackServerContext* context, std::string method,
           std::string request_id)
    : serving_(serving),
      method_(std::move(method)),
      // An id that is none will be refused; until then it must not get into logs.
      request_id_(request_id.empty() || !CheckRequestId(request_id).ok()
                      ? serving.request_ids->Next()
                      : std::move(request_id)),
      caller_(serving.access->authenticator().Authenticate(*context, FullName(method_))),
      tenant_(caller_.ok() && caller_->token() != nullptr ? caller_->tenant()
                                                          : TenantOf(*context, serving.tenancy)),
      tenant_metrics_(caller_.ok() && tenant_.ok() ? &serving.tenant_metrics->Find(tenant_->name)
                                                   : nullptr),
      entry_(serving.access->live_calls(), caller_.ok() ? *caller_ : Caller()),
      admission_(Admit()) {
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
  spdlog::info("{}: prompt {}", request_id_,
               Quote(text != nullptr ? *text
                                     : serving_.engine->tokenizer().Decode(
                                           std::get<std::vector<TokenId>>(request.prompt))));
}

void Call::OnStarted(const StartedEvent& event) {
  prompt_tokens_ += event.prompt_tokens;
  tenant_metrics_->OnPrompt(event.prompt_tokens);
}

void Call::OnDelta(int sample_index, const Delta& delta) {
  generated_tokens_ += static_cast<int64_t>(delta.token_ids.size());
  tenant_metrics_->OnGenerated(delta.token_ids.size());
  if (serving_.log_prompts) answers_[sample_index] += delta.text;
}

grpc::Status Call::End(absl::Status status) {
  const absl::Status revoked = entry_.revoked();
  if (!status.ok() && !revoked.ok()) status = revoked;
  grpc::Status mapped = ToGrpcStatus(status, serving_.calls->RetryDelay());
  code_ = mapped.error_code();
  // Messages name fields and limits, never what a prompt says.
  if (!status.ok()) {
    spdlog::debug("{}: {}: {}: {}", request_id_, method_, CodeName(code_), mapped.error_message());
  }
  for (const auto& [sample, text] : answers_) {
    spdlog::info("{}: answer {} {}", request_id_, sample, Quote(text));
  }
  Audit();
  return mapped;
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
