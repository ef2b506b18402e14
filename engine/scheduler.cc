#include "engine/scheduler.h"

#include <algorithm>
#include <cstddef>

namespace strata {

void Scheduler::Remove(Sequence* sequence) {
  sequence->TruncateKv(0, *kv_blocks_);
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
}

StepPlan Scheduler::Plan() {
  StepPlan plan;
  int rows_left = limits_.max_batch_tokens;
  PlanDecodes(plan, rows_left);
  PlanPrefills(plan, rows_left);
  AdmitWaiting(plan, rows_left);
  return plan;
}

void Scheduler::PlanDecodes(StepPlan& plan, int& rows_left) {
  int decodes_left = static_cast<int>(std::count_if(
      running_.begin(), running_.end(), [](const Sequence* s) { return s->decoding(); }));
  // Drafts only make decoding faster: they leave a share to prompts, which could wait for ever.
  const bool has_prefill =
      decodes_left < num_running() || (!waiting_.empty() && num_running() < limits_.max_sequences);
  const int prefill_rows = has_prefill ? limits_.max_batch_tokens / 4 : 0;
  // Preemption shortens running_ from its end while this walks it from the front.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* sequence = running_[i];
    if (!sequence->decoding()) continue;
    --decodes_left;  // each of those left over needs one row
    const int committed = sequence->num_computed() + 1;
    int num_drafts = std::min({sequence->num_draft_tokens, sequence->num_tokens_left() - 1,
                               rows_left - 1 - decodes_left - prefill_rows});
    num_drafts = std::max(num_drafts, 0);
    if (sequence->NumBlocksMissing(committed + num_drafts) > kv_blocks_->num_free()) {
      num_drafts = 0;
    }
    if (!MakeRoom(sequence, committed + num_drafts, plan)) return;
    plan.entries.push_back({sequence, 1, num_drafts});
    rows_left -= 1 + num_drafts;
  }
}

void Scheduler::PlanPrefills(StepPlan& plan, int& rows_left) {
  for (Sequence* sequence : running_) {
    if (!sequence->decoding()) PlanPrefill(sequence, plan, rows_left);
  }
}

void Scheduler::AdmitWaiting(StepPlan& plan, int& rows_left) {
  while (!waiting_.empty() && rows_left > 0 && num_running() < limits_.max_sequences) {
    Sequence* sequence = waiting_.front();
    // Blocks of the whole prefill are taken at once. One block for each running sequence stays
    // free, or the newcomer would be preempted in the next rounds.
    const int num_positions = sequence->num_computed() + sequence->num_pending();
    if (sequence->NumBlocksMissing(num_positions) + num_running() > kv_blocks_->num_free()) return;
    sequence->GrowKv(num_positions, *kv_blocks_);
    waiting_.pop_front();
    running_.push_back(sequence);
    PlanPrefill(sequence, plan, rows_left);
  }
}

void Scheduler::PlanPrefill(Sequence* sequence, StepPlan& plan, int& rows_left) {
  const int chunk = std::min({sequence->num_pending(), limits_.max_prefill_chunk, rows_left});
  if (chunk <= 0) return;
  plan.entries.push_back({sequence, chunk, 0});
  rows_left -= chunk;
}

bool Scheduler::MakeRoom(Sequence* sequence, int num_positions, StepPlan& plan) {
  while (sequence->NumBlocksMissing(num_positions) > kv_blocks_->num_free()) {
    const bool is_newest = running_.back() == sequence;
    PreemptNewest(plan);
    if (is_newest) return false;
  }
  sequence->GrowKv(num_positions, *kv_blocks_);
  return true;
}

void Scheduler::PreemptNewest(StepPlan& plan) {
  Sequence* newest = running_.back();
  running_.pop_back();
  newest->TruncateKv(0, *kv_blocks_);
  waiting_.push_front(newest);
  ++plan.num_preempted;
}

}  // namespace strata
