#include "server/audit_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/status_macros.h"
#include "server/logging.h"

namespace strata::server {
namespace {

absl::StatusOr<int> OpenForAppending(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (fd >= 0) return fd;
  return absl::InvalidArgumentError(
      fmt::format("--audit-log: cannot open {}: {}", path, std::strerror(errno)));
}

}  // namespace

std::string ToJson(const AuditRecord& record) {
  nlohmann::ordered_json json = {
      {"time", FormatTime(record.time)},
      {"request_id", record.request_id},
      {"method", record.method},
      {"tenant", record.tenant},
      {"token", record.token},
      {"code", record.code},
      {"prompt_tokens", record.prompt_tokens},
      {"generated_tokens", record.generated_tokens},
      {"model", record.model},
      {"license", record.license},
      {"accepted_by", record.accepted_by},
  };
  // A request id is the caller's text.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(const std::string& path,
                                                         ServerMetrics* metrics) {
  ASSIGN_OR_RETURN(const int fd, OpenForAppending(path));
  return std::unique_ptr<AuditLog>(new AuditLog(path, fd, metrics));
}

AuditLog::AuditLog(std::string path, int fd, ServerMetrics* metrics)
    : path_(std::move(path)),
      writer_(fd, {[this, metrics](int64_t num_lost, const std::string& reason) {
                     metrics->OnAuditLineLost();
                     if (num_lost > 1) return;
                     spdlog::error("audit log: {}: {}; lines are being lost", path_, reason);
                   },
                   [](int64_t num_lost) {
                     spdlog::error("audit log: written again; {} lines were lost", num_lost);
                   }}) {}

absl::Status AuditLog::Reopen() {
  ASSIGN_OR_RETURN(const int fd, OpenForAppending(path_));
  writer_.SetFile(fd);
  return absl::OkStatus();
}

}  // namespace strata::server
