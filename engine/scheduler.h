// Continuous batching: which sequences run in the next round, and with how
// many rows. Pure bookkeeping over queues and the block pool: no tensors, no
// clock, so a simulation can drive it.

#ifndef STRATA_ENGINE_SCHEDULER_H_
#define STRATA_ENGINE_SCHEDULER_H_

#include <deque>
#include <vector>

#include "engine/block_pool.h"
#include "engine/sequence.h"

namespace strata {

struct SchedulerLimits {
  int max_batch_tokens = 512;   // rows of one full sweep; at least max_sequences
  int max_sequences = 64;       // running at once
  int max_prefill_chunk = 512;  // rows of one sequence's prefill in one round
};

struct PlanEntry {
  Sequence* sequence = nullptr;
  // Committed positions to bring to full depth: those from num_computed() on.
  int num_rows = 0;
  // Tokens to draft first; > 0 only where num_rows is 1.
  int num_draft_tokens = 0;
};

// One round. KV blocks for all its positions are allocated already.
struct StepPlan {
  std::vector<PlanEntry> entries;  // decoding sequences first
  int num_preempted = 0;
  bool empty() const { return entries.empty(); }
};

// Used from one thread at a time. Does not own the sequences.
class Scheduler {
 public:
  // `kv_blocks` must outlive the scheduler and be able to hold any one sequence.
  Scheduler(const SchedulerLimits& limits, BlockPool* kv_blocks)
      : limits_(limits), kv_blocks_(kv_blocks) {}

  void Add(Sequence* sequence) { waiting_.push_back(sequence); }
  // Forgets a sequence, wherever it is, and gives back its blocks.
  void Remove(Sequence* sequence);

  // Decoding sequences come first, each with its row and as many drafts as
  // rows and blocks allow; then prefill chunks, oldest first; then waiting sequences are admitted.
  // Where blocks run out, drafts shrink first; then the newest running sequence is preempted: it
  // gives back its blocks and will be computed again.
  StepPlan Plan();

  const std::vector<Sequence*>& running() const { return running_; }
  int num_running() const { return static_cast<int>(running_.size()); }
  int num_waiting() const { return static_cast<int>(waiting_.size()); }

 private:
  void PlanDecodes(StepPlan& plan, int& rows_left);
  void PlanPrefills(StepPlan& plan, int& rows_left);
  void AdmitWaiting(StepPlan& plan, int& rows_left);
  void PlanPrefill(Sequence* sequence, StepPlan& plan, int& rows_left);
  // Makes `num_positions` of `sequence` writable, at the cost of newer
  // sequences. False if `sequence` itself had to go.
  bool MakeRoom(Sequence* sequence, int num_positions, StepPlan& plan);
  void PreemptNewest(StepPlan& plan);

  const SchedulerLimits limits_;
  BlockPool* const kv_blocks_;
  std::deque<Sequence*> waiting_;   // front: next; preempted ones return to the front
  std::vector<Sequence*> running_;  // oldest admission first
};

}  // namespace strata

#endif  // STRATA_ENGINE_SCHEDULER_H_
