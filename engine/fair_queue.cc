#include "engine/fair_queue.h"

#include <algorithm>
#include <cassert>
#include <optional>

namespace strata {
namespace {

int PriorityOf(const Sequence& sequence) { return sequence.request()->params.tenant.priority; }

}  // namespace

// ---- Lines --------------------------------------------------------------------------------------

void FairQueue::Push(Sequence* sequence) {
  SchedulingState& state = sequence->scheduling;
  assert(state.account == nullptr);
  TenantAccount& account = AccountOf(sequence->request()->params.tenant);
  state.account = &account;
  state.arrival = ++num_pushed_;
  if (account.num_waiting == 0) Lift(account, PriorityOf(*sequence));
  Sequence* ahead = account.last;
  while (ahead != nullptr && PriorityOf(*ahead) < PriorityOf(*sequence)) {
    ahead = ahead->scheduling.ahead;
  }
  Insert(sequence, ahead != nullptr ? ahead->scheduling.behind : account.first);
}

void FairQueue::PushBack(Sequence* sequence) {
  SchedulingState& state = sequence->scheduling;
  assert(state.running);
  state.running = false;
  --state.account->num_running;
  Sequence* behind = state.account->first;
  while (behind != nullptr && PriorityOf(*behind) > PriorityOf(*sequence)) {
    behind = behind->scheduling.behind;
  }
  Insert(sequence, behind);
}

void FairQueue::Run(Sequence* sequence) {
  Unlink(sequence);
  sequence->scheduling.running = true;
  ++sequence->scheduling.account->num_running;
}

void FairQueue::Remove(Sequence* sequence) {
  TenantAccount* account = sequence->scheduling.account;
  if (account == nullptr) return;
  if (sequence->scheduling.running) {
    --account->num_running;
  } else {
    Unlink(sequence);
  }
  sequence->scheduling = {};
  if (account->num_running + account->num_waiting > 0) return;
  sum_of_weights_ -= account->tenant.weight;
  if (--num_busy_ == 0) sum_of_weights_ = 0;  // no rounding errors to gather
  ForgetIdle();
}

// `behind`: null for the end of the line.
void FairQueue::Insert(Sequence* sequence, Sequence* behind) {
  TenantAccount& account = *sequence->scheduling.account;
  Sequence* ahead = behind != nullptr ? behind->scheduling.ahead : account.last;
  sequence->scheduling.ahead = ahead;
  sequence->scheduling.behind = behind;
  (ahead != nullptr ? ahead->scheduling.behind : account.first) = sequence;
  (behind != nullptr ? behind->scheduling.ahead : account.last) = sequence;
  ++num_waiting_;
  if (account.num_waiting++ > 0) return;
  account.index = static_cast<int>(waiting_.size());
  waiting_.push_back(&account);
}

void FairQueue::Unlink(Sequence* sequence) {
  TenantAccount& account = *sequence->scheduling.account;
  Sequence*& ahead = sequence->scheduling.ahead;
  Sequence*& behind = sequence->scheduling.behind;
  (ahead != nullptr ? ahead->scheduling.behind : account.first) = behind;
  (behind != nullptr ? behind->scheduling.ahead : account.last) = ahead;
  ahead = behind = nullptr;
  --num_waiting_;
  if (--account.num_waiting > 0) return;
  waiting_.back()->index = account.index;
  waiting_[account.index] = waiting_.back();
  waiting_.pop_back();
  account.index = -1;
  last_counter_ = account.counter;
}

// ---- Turns --------------------------------------------------------------------------------------

Sequence* FairQueue::Next() const {
  const auto before = [](const TenantAccount* a, const TenantAccount* b) {
    const int a_priority = PriorityOf(*a->first), b_priority = PriorityOf(*b->first);
    if (a_priority != b_priority) return a_priority > b_priority;
    if (a->counter != b->counter) return a->counter < b->counter;
    return a->first->scheduling.arrival < b->first->scheduling.arrival;
  };
  const TenantAccount* best = nullptr;
  for (const TenantAccount* account : waiting_) {
    const int most = account->tenant.max_running;
    if (most > 0 && account->num_running >= most) continue;
    if (best == nullptr || before(account, best)) best = account;
  }
  return best != nullptr ? best->first : nullptr;
}

void FairQueue::Charge(const Sequence& sequence, double service) {
  TenantAccount& account = *sequence.scheduling.account;
  account.counter += service / account.tenant.weight;
}

double FairQueue::Share(const TenantAccount& account, int num_places) const {
  return std::max(1.0, num_places * account.tenant.weight / sum_of_weights_);
}

bool FairQueue::MayDisplace(const Sequence& waiting, const Sequence& running,
                            int num_places) const {
  const TenantAccount& gains = *waiting.scheduling.account;
  const TenantAccount& loses = *running.scheduling.account;
  return &gains != &loses && gains.num_running + 1 <= Share(gains, num_places) &&
         loses.num_running - 1 >= Share(loses, num_places);
}

// ---- Accounts -----------------------------------------------------------------------------------

const TenantAccount* FairQueue::Find(const std::string& tenant) const {
  const auto it = accounts_.find(tenant);
  return it != accounts_.end() ? &it->second : nullptr;
}

TenantAccount& FairQueue::AccountOf(const Tenant& tenant) {
  TenantAccount& account = accounts_[tenant.name];
  const bool busy = account.num_running + account.num_waiting > 0;
  if (!busy) ++num_busy_;
  sum_of_weights_ += tenant.weight - (busy ? account.tenant.weight : 0);
  account.tenant = tenant;
  return account;
}

void FairQueue::Lift(TenantAccount& account, int priority) {
  std::optional<double> least;
  for (const TenantAccount* other : waiting_) {
    if (PriorityOf(*other->first) != priority) continue;
    least = std::min(least.value_or(other->counter), other->counter);
  }
  account.counter = std::max(account.counter, least.value_or(last_counter_));
}

void FairQueue::ForgetIdle() {
  const size_t most = static_cast<size_t>(most_idle_);
  const auto is_idle = [](const TenantAccount& account) {
    return account.num_running + account.num_waiting == 0;
  };
  // Half of them at once, so that it is seldom done.
  if (accounts_.size() - static_cast<size_t>(num_busy_) <= 2 * most) return;
  std::vector<double> counters;
  for (const auto& [name, account] : accounts_) {
    if (is_idle(account)) counters.push_back(account.counter);
  }
  const auto first_kept = counters.end() - most_idle_;
  std::nth_element(counters.begin(), first_kept, counters.end());
  const double least_kept = *first_kept;
  std::erase_if(accounts_, [&](const auto& entry) {
    return is_idle(entry.second) && entry.second.counter <= least_kept;
  });
}

}  // namespace strata
