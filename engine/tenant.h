// For whom a request runs: what fairness, limits and the prefix cache go by.

#ifndef STRATA_ENGINE_TENANT_H_
#define STRATA_ENGINE_TENANT_H_

#include <cstdint>
#include <string>

namespace strata {

inline constexpr double kMinTenantWeight = 0.001;
inline constexpr double kMaxTenantWeight = 1'000;
inline constexpr int kMinPriority = -100, kMaxPriority = 100;

// Tenants are told apart by name; where requests of one tenant say different things about it, the
// latest holds. Whoever submits a request vouches for it: the engine believes every word.
struct Tenant {
  // All requests without a name are one tenant's.
  std::string name;
  // Backlogged tenants of one priority are served in proportion; [kMinTenantWeight,
  // kMaxTenantWeight].
  double weight = 1;
  // Of this request: a higher one goes first, at the cost of running ones of a lower;
  // [kMinPriority, kMaxPriority].
  int priority = 0;

  // Limits; 0: none but the engine's. A sample counts as one.
  int max_running = 0;                // at once
  int max_queued = 0;                 // beside max_running, or beside all that the engine runs
  int64_t max_tokens_per_minute = 0;  // of prompts and answers, on average

  // Nobody else's requests find its prompts in the prefix cache, nor it theirs: what is cached can
  // be told from the time to the first token.
  bool isolates_prefixes = false;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TENANT_H_
