// Continuous batching: which sequences run in the next round, and with how
// many rows. Pure bookkeeping over queues and the block pool: no tensors, no
// clock, so a simulation can drive it.
//
// Places. Waiting sequences are let in in the order of FairQueue, where there is
// a place and blocks for all their pending positions; prefixes that KvPool
// knows are taken over, not computed. A sequence that does not fit holds up
// those behind it, so a large one is not overtaken for ever. It may take the
// place of running ones of a lower priority, or of a tenant that has more than
// its share.
//
// Rows. Each decoding sequence has its row. Prompts come next, and drafts get
// what they leave, or up to a quarter of all. Of the prompts' rows, half is kept
// for the prompt that was let in first, the rest goes to the shortest, and of
// those about as long to the tenant's that has received the least: a short
// prompt does not wait for long ones, nor a long one for ever, nor a tenant for
// another's many. Where several have to compute the same block next, one does,
// and the others take it over.
//
// Blocks. Where a decoding sequence wants one and none is to be had, sequences
// lose their place: those of the lowest priority first, the newest first. They
// wait before their tenant's others, and are computed again but for what the
// prefix cache still has. The first in rank always runs on, so all work gets
// done. A sequence that has lost its place n times comes back only where 2^n
// blocks (or all that it can still want) are to spare for it and for each that
// runs. So, higher priorities aside, it loses its place for want of blocks at most
// MostEvictions(blocks of its context) times.

#ifndef STRATA_ENGINE_SCHEDULER_H_
#define STRATA_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <vector>

#include "engine/fair_queue.h"
#include "engine/kv_pool.h"
#include "engine/sequence.h"

namespace strata {

struct SchedulerLimits {
  int max_batch_tokens = 512;   // rows of one full sweep; at least max_sequences
  int max_sequences = 64;       // running at once
  int max_prefill_chunk = 512;  // rows of prompts in one round, all together
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
  int num_preempted = 0;           // sequences that lost their place
  int num_cached_tokens = 0;       // positions taken over from the prefix cache
  bool empty() const { return entries.empty(); }
};

// Used from one thread at a time. Does not own the sequences. Planning allocates no memory once
// its buffers have grown to the number of sequences.
class Scheduler {
 public:
  // `kv_pool` must outlive the scheduler and be able to hold any one sequence.
  Scheduler(const SchedulerLimits& limits, KvPool* kv_pool);

  // How often one sequence loses its place for want of blocks, at most.
  static int MostEvictions(int most_blocks);
  // How often to a tenant with less than its share, at most.
  static constexpr int kMostDisplacements = 4;

  void Add(Sequence* sequence);
  // Forgets a sequence, wherever it is, and gives back its blocks. Not between Plan and EndRound.
  void Remove(Sequence* sequence);

  // The next round, which stays valid until the next call.
  const StepPlan& Plan();
  // Call once the planned round has run: each sequence knows its new tokens and num_computed.
  // Gives back blocks of rejected drafts, offers full ones to others, and counts the service.
  void EndRound();

  const std::vector<Sequence*>& running() const { return running_; }
  int num_running() const { return static_cast<int>(running_.size()); }
  int num_waiting() const { return queue_.num_waiting(); }
  const FairQueue& queue() const { return queue_; }

 private:
  void AdmitWaiting();
  bool TryAdmit(Sequence* sequence);
  bool IsStillBlocked(const Sequence& sequence) const;
  bool Fits(const Sequence& sequence) const;
  Sequence* VictimFor(const Sequence& sequence) const;
  void Preempt(Sequence* sequence);
  void InsertRunning(Sequence* sequence);

  void PlanDecodes();
  bool MakeRoom(Sequence* sequence, int num_positions);
  void PlanPrefills();
  // Plans at most `most_rows` of a prompt. Returns how many.
  int PlanPrefill(Sequence* sequence, int most_rows);

  // Blocks that nobody has a claim to.
  int num_spare_blocks() const { return kv_pool_->num_available() - num_promised_; }

  const SchedulerLimits limits_;
  KvPool* const kv_pool_;
  FairQueue queue_;
  std::vector<Sequence*> running_;  // by rank: priority, then admission
  uint64_t num_admitted_ = 0;
  // The last sequence that did not fit, and what there was then.
  struct {
    uint64_t arrival = 0;
    int num_running = 0;
    int num_spare_blocks = 0;
  } blocked_;

  // Of the round being planned, kept to reuse their memory.
  StepPlan plan_;
  int rows_left_ = 0;
  int num_promised_ = 0;  // available blocks that running prompts will need; until PlanPrefills
  std::vector<Sequence*> prefills_;
  std::vector<uint64_t> computed_blocks_;  // hashes of the blocks that planned prompts compute next
};

}  // namespace strata

#endif  // STRATA_ENGINE_SCHEDULER_H_
