#include "engine/scheduler.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <optional>
#include <string_view>

#include "engine/random.h"

namespace strata {
namespace {

int PriorityOf(const Sequence& sequence) { return sequence.request()->params.tenant.priority; }

uint64_t HashOf(std::string_view text) {
  uint64_t hash = text.size();
  for (const char c : text) hash = Mix64(hash ^ static_cast<unsigned char>(c));
  return hash;
}

// What may be found in the prefix cache by whom.
PrefixId RootFor(const RequestState& request, const KvPool& pool) {
  // Without the cache, samples of one request still share their prompt.
  if (!pool.keeps_prefixes()) return KvPool::Root(request.id);
  const Tenant& tenant = request.params.tenant;
  return KvPool::Root(tenant.isolates_prefixes ? HashOf(tenant.name) : 0);
}

// Blocks that are kept to spare for a sequence when another is let in that lost its place
// `num_evictions` times: at most all that it can want beyond what it has a claim to.
int Headroom(const Sequence& sequence, int num_evictions) {
  const int most = sequence.MostBlocksMissing() - sequence.NumBlocksMissing();
  return num_evictions < 30 ? std::min(most, 1 << num_evictions) : most;
}

// Whose prompt is computed first, of a priority: the shortest; of those that are about as long, the
// one whose tenant has received the least.
bool ComputesBefore(const Sequence* a, const Sequence* b) {
  if (PriorityOf(*a) != PriorityOf(*b)) return PriorityOf(*a) > PriorityOf(*b);
  const auto length = [](const Sequence* s) {
    return std::bit_width(static_cast<unsigned>(s->num_pending()));
  };
  if (length(a) != length(b)) return length(a) < length(b);
  const double a_service = a->scheduling.account->counter;
  const double b_service = b->scheduling.account->counter;
  if (a_service != b_service) return a_service < b_service;
  if (a->num_pending() != b->num_pending()) return a->num_pending() < b->num_pending();
  return a->scheduling.admission < b->scheduling.admission;
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, KvPool* kv_pool)
    : limits_(limits), kv_pool_(kv_pool) {}

int Scheduler::MostEvictions(int most_blocks) {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(most_blocks - 1))));
}

void Scheduler::Add(Sequence* sequence) {
  sequence->set_prefix_root(RootFor(*sequence->request(), *kv_pool_));
  queue_.Push(sequence);
}

void Scheduler::Remove(Sequence* sequence) {
  sequence->TruncateKv(0, *kv_pool_);
  if (sequence->scheduling.running) std::erase(running_, sequence);
  queue_.Remove(sequence);
}

const StepPlan& Scheduler::Plan() {
  plan_.entries.clear();
  plan_.num_preempted = 0;
  plan_.num_cached_tokens = 0;
  rows_left_ = limits_.max_batch_tokens;
  num_promised_ = 0;
  for (const Sequence* sequence : running_) {
    if (!sequence->decoding()) num_promised_ += sequence->NumBlocksMissing();
  }
  AdmitWaiting();
  PlanDecodes();
  PlanPrefills();
  return plan_;
}

void Scheduler::EndRound() {
  for (const PlanEntry& entry : plan_.entries) {
    Sequence* sequence = entry.sequence;
    sequence->TruncateKv(sequence->num_computed(), *kv_pool_);
    sequence->PublishPrefix(*kv_pool_);
    const int num_tokens = static_cast<int>(sequence->tokens().size());
    int& num_charged = sequence->scheduling.num_charged;
    queue_.Charge(*sequence, kOutputTokenCost * (num_tokens - num_charged));
    num_charged = num_tokens;
  }
}

// ---- Places -------------------------------------------------------------------------------------

void Scheduler::AdmitWaiting() {
  while (Sequence* sequence = queue_.Next()) {
    if (!TryAdmit(sequence)) return;
    queue_.Run(sequence);
    sequence->scheduling.admission = ++num_admitted_;
    InsertRunning(sequence);
    if (!sequence->decoding()) num_promised_ += sequence->NumBlocksMissing();
    if (sequence->scheduling.num_charged > 0) continue;  // it has been here before
    sequence->scheduling.num_charged = sequence->num_prompt_tokens();
    queue_.Charge(*sequence,
                  kPromptTokenCost * (sequence->num_prompt_tokens() - sequence->num_computed()));
  }
}

bool Scheduler::TryAdmit(Sequence* sequence) {
  if (IsStillBlocked(*sequence)) return false;
  // What it finds in the cache must not be taken for room.
  const int num_cached = sequence->AdoptPrefix(*kv_pool_);
  while (!Fits(*sequence)) {
    Sequence* victim = VictimFor(*sequence);
    if (victim == nullptr) {
      sequence->TruncateKv(0, *kv_pool_);
      blocked_ = {sequence->scheduling.arrival, num_running(), num_spare_blocks()};
      return false;
    }
    if (PriorityOf(*victim) == PriorityOf(*sequence)) ++victim->scheduling.num_displacements;
    Preempt(victim);
  }
  plan_.num_cached_tokens += num_cached;
  return true;
}

// To look a long prompt up in the cache takes a while: not again where there is no more room than
// the last time, nor anybody to make some.
bool Scheduler::IsStillBlocked(const Sequence& sequence) const {
  return sequence.scheduling.arrival == blocked_.arrival && num_running() >= blocked_.num_running &&
         num_running() > 0 && num_spare_blocks() <= blocked_.num_spare_blocks &&
         VictimFor(sequence) == nullptr;
}

bool Scheduler::Fits(const Sequence& sequence) const {
  if (num_running() >= limits_.max_sequences) return false;
  int wanted = sequence.NumBlocksMissing();
  const int num_evictions = sequence.scheduling.num_evictions;
  if (num_evictions == 0) {
    // One for each that runs, or the newcomer would have to go again in the next rounds.
    wanted += num_running();
  } else {
    wanted += Headroom(sequence, num_evictions);
    for (const Sequence* running : running_) wanted += Headroom(*running, num_evictions);
  }
  return wanted <= num_spare_blocks();
}

// Who has to go for `sequence`; null: nobody.
Sequence* Scheduler::VictimFor(const Sequence& sequence) const {
  if (running_.empty()) return nullptr;
  const int priority = PriorityOf(sequence);
  if (PriorityOf(*running_.back()) < priority) return running_.back();
  for (size_t i = running_.size(); i-- > 0 && PriorityOf(*running_[i]) == priority;) {
    if (running_[i]->scheduling.num_displacements < kMostDisplacements &&
        queue_.MayDisplace(sequence, *running_[i], num_running())) {
      return running_[i];
    }
  }
  return nullptr;
}

void Scheduler::Preempt(Sequence* sequence) {
  if (!sequence->decoding()) num_promised_ -= sequence->NumBlocksMissing();
  sequence->TruncateKv(0, *kv_pool_);
  std::erase(running_, sequence);
  queue_.PushBack(sequence);
  ++plan_.num_preempted;
}

// The newest of its priority.
void Scheduler::InsertRunning(Sequence* sequence) {
  auto place = running_.end();
  while (place != running_.begin() && PriorityOf(**(place - 1)) < PriorityOf(*sequence)) --place;
  running_.insert(place, sequence);
}

// ---- Rows ---------------------------------------------------------------------------------------

void Scheduler::PlanDecodes() {
  int decodes_left = static_cast<int>(std::count_if(
      running_.begin(), running_.end(), [](const Sequence* s) { return s->decoding(); }));
  // Drafts only make decoding faster: they take a small share of what prompts could use.
  int64_t pending = 0;
  for (const Sequence* sequence : running_) {
    if (!sequence->decoding()) pending += sequence->num_pending();
  }
  const int prefill_rows = static_cast<int>(
      std::min<int64_t>({pending, limits_.max_prefill_chunk,
                         limits_.max_batch_tokens - limits_.max_batch_tokens / 4}));
  // Preemption shortens running_ from its end while this walks it from the front.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* sequence = running_[i];
    if (!sequence->decoding()) continue;
    --decodes_left;  // each of those left over needs one row
    const int committed = sequence->num_computed() + 1;
    // Without a block it keeps those that it has, and waits for one.
    if (!MakeRoom(sequence, committed)) continue;
    int num_drafts = std::min({sequence->num_draft_tokens, sequence->num_tokens_left() - 1,
                               rows_left_ - 1 - decodes_left - prefill_rows});
    num_drafts = std::max(num_drafts, 0);
    // Drafts are at nobody's cost.
    if (sequence->NumBlocksMissing(committed + num_drafts) > num_spare_blocks()) num_drafts = 0;
    sequence->GrowKv(committed + num_drafts, *kv_pool_);
    plan_.entries.push_back({sequence, 1, num_drafts});
    rows_left_ -= 1 + num_drafts;
  }
}

// Makes `num_positions` of `sequence` writable, at the cost of those after it in rank. False if
// that is not enough.
bool Scheduler::MakeRoom(Sequence* sequence, int num_positions) {
  while (sequence->NumBlocksMissing(num_positions) > num_spare_blocks()) {
    Sequence* victim = running_.back();
    if (victim == sequence) return false;
    ++victim->scheduling.num_evictions;
    Preempt(victim);
  }
  sequence->GrowKv(num_positions, *kv_pool_);
  return true;
}

void Scheduler::PlanPrefills() {
  prefills_.clear();
  computed_blocks_.clear();
  for (Sequence* sequence : running_) {
    if (!sequence->decoding()) prefills_.push_back(sequence);
  }
  if (prefills_.empty()) return;
  for (Sequence* sequence : prefills_) {
    plan_.num_cached_tokens += sequence->AdoptPrefix(*kv_pool_);
  }
  int budget = std::min(rows_left_, limits_.max_prefill_chunk);
  const Sequence* const first = prefills_.front();
  int reserved = std::min(first->num_pending(), (budget + 1) / 2);  // of the budget, for the first
  std::sort(prefills_.begin(), prefills_.end(), ComputesBefore);
  for (Sequence* sequence : prefills_) {
    if (sequence == first) reserved = 0;
    budget -= PlanPrefill(sequence, budget - reserved);
  }
}

int Scheduler::PlanPrefill(Sequence* sequence, int most_rows) {
  const int num_rows = std::min(sequence->num_pending(), most_rows);
  if (num_rows <= 0) return 0;
  if (const std::optional<uint64_t> block = sequence->NextBlockHash(*kv_pool_)) {
    const auto end = computed_blocks_.end();
    if (std::find(computed_blocks_.begin(), end, *block) != end) return 0;
    computed_blocks_.push_back(*block);
  }
  plan_.entries.push_back({sequence, num_rows, 0});
  sequence->GrowKv(sequence->num_computed() + num_rows, *kv_pool_);  // out of what is promised
  return num_rows;
}

}  // namespace strata
