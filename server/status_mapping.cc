#include "server/status_mapping.h"

#include <fmt/format.h>

#include <cctype>
#include <chrono>
#include <string_view>

#include "engine/admission.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace strata::server {
namespace {

// The path that a message like "sampling.top_p: 2 is ..." begins with; else empty.
std::string_view FieldPath(std::string_view message) {
  const size_t end = message.find(':');
  if (end == std::string_view::npos || end == 0) return {};
  const std::string_view path = message.substr(0, end);
  for (const char c : path) {
    const bool allowed = std::islower(static_cast<unsigned char>(c)) ||
                         std::isdigit(static_cast<unsigned char>(c)) || c == '_' || c == '.' ||
                         c == '[' || c == ']';
    if (!allowed) return {};
  }
  return path;
}

void AddBadRequest(std::string_view message, google::rpc::Status* details) {
  const std::string_view path = FieldPath(message);
  if (path.empty()) return;
  google::rpc::BadRequest bad_request;
  google::rpc::BadRequest::FieldViolation* violation = bad_request.add_field_violations();
  violation->set_field(std::string(path));
  std::string_view description = message.substr(path.size() + 1);
  if (description.substr(0, 1) == " ") description.remove_prefix(1);
  violation->set_description(std::string(description));
  details->add_details()->PackFrom(bad_request);
}

}  // namespace

absl::Status FieldError(const std::string& path, const std::string& problem) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", path, problem));
}

std::string CodeName(grpc::StatusCode code) {
  // gRPC's numbers are absl's.
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

grpc::Status ToGrpcStatus(const absl::Status& status, std::chrono::seconds retry_delay) {
  if (status.ok()) return grpc::Status::OK;
  auto code = static_cast<grpc::StatusCode>(status.code());
  if (code == grpc::StatusCode::OUT_OF_RANGE) code = grpc::StatusCode::INVALID_ARGUMENT;
  const std::string message(status.message());

  google::rpc::Status details;
  details.set_code(code);
  details.set_message(message);
  if (code == grpc::StatusCode::INVALID_ARGUMENT) AddBadRequest(message, &details);
  if (code == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    google::rpc::RetryInfo retry;
    // Whole seconds, rounded up: no sooner than it can help.
    const Duration delay = RetryDelay(status).value_or(retry_delay);
    retry.mutable_retry_delay()->set_seconds(
        std::chrono::ceil<std::chrono::seconds>(delay).count());
    details.add_details()->PackFrom(retry);
  }
  google::rpc::ErrorInfo info;
  info.set_reason(CodeName(code));
  info.set_domain("strata");
  details.add_details()->PackFrom(info);
  return grpc::Status(code, message, details.SerializeAsString());
}

}  // namespace strata::server
