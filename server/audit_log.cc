#include "server/audit_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/status_macros.h"

namespace strata::server {
namespace {

constexpr size_t kMaxWaiting = 10'000;

absl::StatusOr<int> OpenForAppending(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (fd >= 0) return fd;
  return absl::InvalidArgumentError(
      fmt::format("--audit-log: cannot open {}: {}", path, std::strerror(errno)));
}

}  // namespace

std::string ToJson(const AuditRecord& record) {
  using std::chrono::floor;
  const auto seconds = floor<std::chrono::seconds>(record.time);
  const auto fraction = floor<std::chrono::milliseconds>(record.time - seconds);
  nlohmann::ordered_json json = {
      {"time", fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", seconds, fraction.count())},
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
    : path_(std::move(path)), metrics_(metrics), fd_(fd), thread_([this] { Run(); }) {}

AuditLog::~AuditLog() {
  {
    absl::MutexLock lock(&mu_);
    ends_ = true;
  }
  thread_.join();
  absl::MutexLock lock(&file_mu_);
  close(fd_);
}

void AuditLog::Append(std::string line) {
  {
    absl::MutexLock lock(&mu_);
    if (waiting_.size() < kMaxWaiting) {
      waiting_.push_back(std::move(line));
      return;
    }
  }
  metrics_->OnAuditLineLost();
}

absl::Status AuditLog::Reopen() {
  ASSIGN_OR_RETURN(const int fd, OpenForAppending(path_));
  absl::MutexLock lock(&file_mu_);
  close(std::exchange(fd_, fd));
  torn_ = false;
  return absl::OkStatus();
}

void AuditLog::Run() {
  while (true) {
    std::deque<std::string> lines;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(
          +[](AuditLog* self) { return self->ends_ || !self->waiting_.empty(); }, this));
      if (waiting_.empty()) return;
      lines.swap(waiting_);
    }
    for (const std::string& line : lines) Write(line);
  }
}

void AuditLog::Write(const std::string& line) {
  absl::MutexLock lock(&file_mu_);
  // In one piece, so that readers and other writers see whole lines.
  const std::string bytes = (torn_ ? "\n" : "") + line + "\n";
  const ssize_t written = write(fd_, bytes.data(), bytes.size());
  if (written == static_cast<ssize_t>(bytes.size())) {
    torn_ = false;
    if (lost_ > 0) spdlog::error("audit log: written again; {} lines were lost", lost_);
    lost_ = 0;
    return;
  }
  const std::string reason = written < 0 ? std::strerror(errno) : "the disk is full";
  torn_ = torn_ || written > 0;
  metrics_->OnAuditLineLost();
  if (++lost_ == 1) spdlog::error("audit log: {}: {}; lines are being lost", path_, reason);
}

}  // namespace strata::server
