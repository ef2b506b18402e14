// Who waits for a place, and whose turn it is: priorities first, then tenants
// by the Virtual Token Counter (Sheng et al., "Fairness in Serving Large
// Language Models", OSDI 2024).
//
// Each tenant has a counter of the service that it has received, divided by its
// weight; the one with the least is next, with its own sequences in the order of
// arrival. A tenant that comes back after a while without requests is lifted to
// the least of those that wait: idle time is not credit. So of two tenants that
// both always wait, with weight 1, at any time the services differ by at most
//     2 * max(kPromptTokenCost * (longest prompt), kOutputTokenCost * M)
// where M bounds the tokens that running sequences hold (here: the KV pool's).
// The tests hold it with displacement and preemption, which the paper has not.

#ifndef STRATA_ENGINE_FAIR_QUEUE_H_
#define STRATA_ENGINE_FAIR_QUEUE_H_

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/sequence.h"
#include "engine/tenant.h"

namespace strata {

// Service for one computed prompt token, and for one generated token.
inline constexpr double kPromptTokenCost = 1;
inline constexpr double kOutputTokenCost = 2;

// What is kept of a tenant while it has sequences, and for a time after.
struct TenantAccount {
  Tenant tenant;  // as its latest request said
  double counter = 0;
  int num_running = 0;
  int num_waiting = 0;
  Sequence* first = nullptr;  // of those that wait: higher priorities first
  Sequence* last = nullptr;
  int index = -1;  // among the accounts with waiting sequences; -1: none waits
};

// Used from one thread at a time. Does not own the sequences. Pushing, popping and charging take
// constant time but for unequal priorities of one tenant; Next takes a step per waiting tenant.
class FairQueue {
 public:
  // `most_idle_accounts` (at least 1): tenants without sequences beyond twice as many are
  // forgotten, those with the least service first, for whom it is no advantage.
  explicit FairQueue(int most_idle_accounts = 1'000) : most_idle_(most_idle_accounts) {}

  // Puts a new sequence at the end of its tenant's line.
  void Push(Sequence* sequence);
  // Whose turn it is, leaving out tenants that have as many running as they may; null: nobody's.
  Sequence* Next() const;
  // Takes a waiting sequence out: it runs now.
  void Run(Sequence* sequence);
  // Puts a running sequence back, before its tenant's others of the same priority.
  void PushBack(Sequence* sequence);
  // Forgets a sequence, waiting or running.
  void Remove(Sequence* sequence);

  // Counts `service` (in token costs) for a sequence's tenant.
  void Charge(const Sequence& sequence, double service);
  // Whether fairness lets `waiting` take the place of `running`: its tenant has less than its
  // share of `num_places`, and the other's more than its own. Shares go by the weights of tenants
  // that have sequences.
  bool MayDisplace(const Sequence& waiting, const Sequence& running, int num_places) const;

  int num_waiting() const { return num_waiting_; }
  int num_accounts() const { return static_cast<int>(accounts_.size()); }
  // Null: not known (any more).
  const TenantAccount* Find(const std::string& tenant) const;

 private:
  TenantAccount& AccountOf(const Tenant& tenant);
  void Lift(TenantAccount& account, int priority);
  void Insert(Sequence* sequence, Sequence* behind);
  void Unlink(Sequence* sequence);
  void ForgetIdle();
  double Share(const TenantAccount& account, int num_places) const;

  const int most_idle_;
  std::unordered_map<std::string, TenantAccount> accounts_;
  std::vector<TenantAccount*> waiting_;  // those with waiting sequences
  int num_waiting_ = 0;
  int num_busy_ = 0;           // accounts with sequences
  double sum_of_weights_ = 0;  // of those
  double last_counter_ = 0;    // of the tenant that was the last to leave waiting_
  uint64_t num_pushed_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_FAIR_QUEUE_H_
