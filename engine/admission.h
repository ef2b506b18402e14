// What is taken in: limits on unfinished requests and on tokens per minute, of
// each tenant and of all together.

#ifndef STRATA_ENGINE_ADMISSION_H_
#define STRATA_ENGINE_ADMISSION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/clock.h"
#include "engine/tenant.h"

namespace strata {

// When to try again what `status` has refused; absent: it does not say.
std::optional<Duration> RetryDelay(const absl::Status& status);
absl::Status WithRetryDelay(absl::Status status, Duration delay);

// Tokens that may be used: refilled steadily, up to a minute's worth. Use is counted after the
// fact, so it may become a debt, which is paid back before anything is admitted. Over time no more
// than the limit is used.
class TokenBudget {
 public:
  // True if there is something left, or no limit (0).
  bool HasTokens(int64_t per_minute, Instant now);
  void Use(int64_t tokens) { level_ -= static_cast<double>(tokens); }
  // Until HasTokens. REQUIRES: it has just been false.
  Duration UntilPaid(int64_t per_minute) const;
  // Whether all of it is there: nothing to remember.
  bool IsFull(Instant now);

 private:
  void Refill(Instant now);

  double level_ = 0;
  int64_t per_minute_ = 0;  // 0: not begun, or no limit
  Instant refilled_;
};

class Admission {
  // What requests tell about a tenant, from any thread.
  struct Usage {
    std::atomic<int> unfinished{0};     // samples
    std::atomic<int64_t> generated{0};  // tokens, not yet taken from the budgets
  };

 public:
  struct Limits {
    int max_running = 64;               // samples that the engine runs at once
    int64_t max_tokens_per_minute = 0;  // of all tenants together; 0: no limit
  };

  // One admitted request. Used from one thread at a time.
  class Ticket {
   public:
    Ticket() = default;  // of a request that nobody counts
    ~Ticket() { End(); }
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&& other) noexcept;

    void CountGenerated(int64_t tokens);
    // One sample, or all that are left, no longer counts as unfinished.
    void EndSample();
    void End();

   private:
    friend class Admission;
    Ticket(std::shared_ptr<Usage> tenant, std::shared_ptr<Usage> all, int num_samples);

    std::shared_ptr<Usage> tenant_, all_;
    int num_samples_ = 0;
  };

  explicit Admission(const Limits& limits) : limits_(limits) {}

  // Thread-safe. RESOURCE_EXHAUSTED if the tenant has too many unfinished samples or, with a retry
  // delay, if it or all together have used too many tokens.
  absl::StatusOr<Ticket> Admit(const Tenant& tenant, int num_samples, int num_prompt_tokens,
                               Instant now);

  int num_tenants() const;

 private:
  struct Entry {
    std::shared_ptr<Usage> usage = std::make_shared<Usage>();
    TokenBudget budget;
    // Takes what has been generated since from the budget.
    void Settle() { budget.Use(usage->generated.exchange(0)); }
  };

  absl::Status Check(const Tenant& tenant, int num_samples, Instant now, Entry& entry);
  void ForgetIdle(Instant now);

  const Limits limits_;
  mutable std::mutex mu_;
  // Guarded by mu_.
  std::unordered_map<std::string, Entry> entries_;
  Entry all_;
  size_t forget_at_ = 1'024;  // entries
};

}  // namespace strata

#endif  // STRATA_ENGINE_ADMISSION_H_
