#include "engine/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/cord.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

constexpr char kRetryDelayUrl[] = "strata.RetryDelay";  // payload: nanoseconds, in decimal

// Tenants whose use of tokens is remembered although they have no requests. More than these
// begin anew: names that nobody has checked must not fill the memory.
constexpr size_t kMostIdle = 10'000;

}  // namespace

std::optional<Duration> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryDelayUrl);
  if (!payload) return std::nullopt;
  return Duration(std::stoll(std::string(*payload)));
}

absl::Status WithRetryDelay(absl::Status status, Duration delay) {
  status.SetPayload(kRetryDelayUrl, absl::Cord(std::to_string(delay.count())));
  return status;
}

// ---- TokenBudget --------------------------------------------------------------------------------

bool TokenBudget::HasTokens(int64_t per_minute, Instant now) {
  if (per_minute_ == 0) {
    level_ = static_cast<double>(per_minute);
    refilled_ = now;
  }
  per_minute_ = per_minute;
  if (per_minute == 0) return true;
  Refill(now);
  return level_ > 0;
}

void TokenBudget::Refill(Instant now) {
  const double minutes = std::chrono::duration<double, std::ratio<60>>(now - refilled_).count();
  const auto most = static_cast<double>(per_minute_);
  level_ = std::min(most, level_ + most * std::max(0.0, minutes));
  refilled_ = std::max(refilled_, now);
}

Duration TokenBudget::UntilPaid(int64_t per_minute) const {
  const double minutes = (1 - level_) / static_cast<double>(per_minute);
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::ratio<60>>(minutes));
}

bool TokenBudget::IsFull(Instant now) {
  if (per_minute_ == 0) return true;
  Refill(now);
  return level_ >= static_cast<double>(per_minute_);
}

// ---- Tickets ------------------------------------------------------------------------------------

Admission::Ticket::Ticket(std::shared_ptr<Usage> tenant, std::shared_ptr<Usage> all,
                          int num_samples)
    : tenant_(std::move(tenant)), all_(std::move(all)), num_samples_(num_samples) {
  tenant_->unfinished += num_samples;
}

Admission::Ticket::Ticket(Ticket&& other) noexcept { *this = std::move(other); }

Admission::Ticket& Admission::Ticket::operator=(Ticket&& other) noexcept {
  std::swap(tenant_, other.tenant_);
  std::swap(all_, other.all_);
  std::swap(num_samples_, other.num_samples_);
  return *this;
}

void Admission::Ticket::CountGenerated(int64_t tokens) {
  if (tenant_ == nullptr) return;
  tenant_->generated += tokens;
  all_->generated += tokens;
}

void Admission::Ticket::EndSample() {
  if (num_samples_ == 0) return;
  --num_samples_;
  --tenant_->unfinished;
}

void Admission::Ticket::End() {
  while (num_samples_ > 0) EndSample();
}

// ---- Admission ----------------------------------------------------------------------------------

absl::StatusOr<Admission::Ticket> Admission::Admit(const Tenant& tenant, int num_samples,
                                                   int num_prompt_tokens, Instant now) {
  std::lock_guard lock(mu_);
  if (entries_.size() >= forget_at_) ForgetIdle(now);
  Entry& entry = entries_[tenant.name];
  RETURN_IF_ERROR(Check(tenant, num_samples, now, entry));
  entry.budget.Use(num_prompt_tokens);
  all_.budget.Use(num_prompt_tokens);
  return Ticket(entry.usage, all_.usage, num_samples);
}

absl::Status Admission::Check(const Tenant& tenant, int num_samples, Instant now, Entry& entry) {
  const std::string whose =
      tenant.name.empty() ? "the tenant" : fmt::format("tenant '{}'", tenant.name);
  const int running = tenant.max_running > 0 ? tenant.max_running : limits_.max_running;
  const int unfinished = entry.usage->unfinished;
  if (tenant.max_queued > 0 && unfinished + num_samples > running + tenant.max_queued) {
    return absl::ResourceExhaustedError(fmt::format(
        "the queue of {} is full: {} of its requests are running or waiting", whose, unfinished));
  }
  entry.Settle();
  all_.Settle();
  const auto refuse = [](const std::string& who, int64_t per_minute, const TokenBudget& budget) {
    return WithRetryDelay(absl::ResourceExhaustedError(fmt::format(
                              "{} used more than {} tokens per minute", who, per_minute)),
                          budget.UntilPaid(per_minute));
  };
  if (!entry.budget.HasTokens(tenant.max_tokens_per_minute, now)) {
    return refuse(whose + " has", tenant.max_tokens_per_minute, entry.budget);
  }
  if (!all_.budget.HasTokens(limits_.max_tokens_per_minute, now)) {
    return refuse("all requests together have", limits_.max_tokens_per_minute, all_.budget);
  }
  return absl::OkStatus();
}

void Admission::ForgetIdle(Instant now) {
  const bool crowded = entries_.size() >= kMostIdle;
  for (auto it = entries_.begin(); it != entries_.end();) {
    Entry& entry = it->second;
    entry.Settle();
    const bool idle = entry.usage->unfinished == 0 && (crowded || entry.budget.IsFull(now));
    it = idle ? entries_.erase(it) : std::next(it);
  }
  forget_at_ = std::max<size_t>(1'024, 2 * entries_.size());
}

int Admission::num_tenants() const {
  std::lock_guard lock(mu_);
  return static_cast<int>(entries_.size());
}

}  // namespace strata
