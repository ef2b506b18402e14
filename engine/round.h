// One engine round: draft micro-steps, one full sweep, verification.
//
// Drafting runs layers [0, exit) of the rows that still draft, sorted so that
// those which leave first stand last; each leaves its hidden state in the
// exit cache. The sweep then runs every layer of the rows whose early layers
// have not run yet, and takes the drafted rows in at their exit. So each
// (layer, position) of a committed token is computed exactly once.
//
// Tokens are chosen on the model's device, where that can: then nothing of a round is waited for
// before its end, but what the policy, a sink or log-probabilities ask for on the way.

#ifndef STRATA_ENGINE_ROUND_H_
#define STRATA_ENGINE_ROUND_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/block_pool.h"
#include "engine/clock.h"
#include "engine/device_choices.h"
#include "engine/drafting_policy.h"
#include "engine/exit_probes.h"
#include "engine/model/model.h"
#include "engine/observer.h"
#include "engine/proposal_store.h"
#include "engine/round_trace.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/verification.h"

namespace strata {

struct RoundOptions {
  Verification verification = Verification::kBlock;
  // For the distributions that one round's unseeded drafts were drawn from: see ProposalStore. A
  // row whose next one finds no room drafts no further in that round; answers do not change.
  int64_t proposal_bytes = int64_t{64} << 20;
};

// Used from one thread at a time. Once it has run rounds as large, a round allocates no memory,
// but for what log-probabilities, penalties and displayed drafts need.
class RoundExecutor {
 public:
  // Both must outlive the executor. `clock` is for the report only.
  RoundExecutor(const RoundOptions& options, Model* model, const Clock* clock);

  struct Result {
    RoundReport report;
    // Requests whose logits were not finite: the weights or the kernels are broken.
    std::vector<uint64_t> failed;
  };
  // Runs the plan and commits tokens to its sequences; blocks of rejected drafts are left for
  // Scheduler::EndRound to take back. Sends only drafts to
  // sinks; the caller sends what was committed. The report's drafts are valid until the next call.
  // Throws kernels::DeviceError.
  Result Run(const StepPlan& plan);

  // Drafts come from `head`, which must outlive its use; null: from the model's own. Between
  // rounds.
  void set_draft_head(const Head* head) { draft_head_ = head != nullptr ? head : &model_->head(); }
  // `policy` is asked between micro-steps and told what became of drafts; it must outlive its use.
  // Null: every row drafts as much as its plan lets it. Between rounds.
  void set_drafting_policy(DraftingPolicy* policy) { drafting_policy_ = policy; }

  // Writes down what the last round did with each sequence.
  void Describe(RoundRecord* record) const;

  int exit_rows_used() const { return exit_rows_.num_used(); }

 private:
  // A plan's entry and what this round has made of it.
  struct Work {
    Sequence* sequence = nullptr;
    int32_t index = 0;       // row of the block tables
    int first_position = 0;  // of the sweep's rows
    int num_rows = 0;        // committed positions that the sweep computes
    int max_drafts = 0;
    int first_slot = 0;  // of its max_drafts slots for drafts
    bool drafting = false;
    bool failed = false;
    int num_drafts = 0;
    // How many of its first rows micro-steps have taken to the exit: num_drafts, or one more if
    // nothing was drafted after the last.
    int num_exit_rows = 0;
    int late_row = 0;   // in the sweep's batch: the first of those
    int early_row = 0;  // the first of its other rows
    int num_accepted = 0;
    int num_committed = 0;
  };
  // What micro-steps make, by slot. A work's drafts are consecutive.
  struct DraftSlots {
    std::vector<TokenId> ids;
    std::vector<float> confidences;        // 0 where the policy need not know
    std::vector<Distribution> proposals;   // unseeded: what each draft was drawn from
    std::vector<int32_t> exit_cache_rows;  // of the rows that drafted
    void Resize(size_t size);
  };
  // A row of the sweep with logits: the `offset`-th row of its work.
  struct LogitRow {
    Work* work = nullptr;
    int offset = 0;
  };
  // What verification has found for the work whose rows it goes through.
  struct Verdict {
    int num_accepted = 0;
    TokenId token = 0;  // follows them
    // Where asked for: of all drafts so far, and of `token`.
    std::vector<TokenLogprobs> draft_logprobs;
    std::optional<TokenLogprobs> token_logprobs;
  };

  void Begin(const StepPlan& plan);
  void BeginChoices();
  Duration Since(Instant begin) const { return clock_->Now() - begin; }
  void FillBlockTables();
  std::span<const TokenId> Drafts(const Work& work) const {
    return std::span(slots_.ids).subspan(work.first_slot, work.num_drafts);
  }

  TokenId TokenAt(const Work& work, int offset) const;
  int32_t DraftSlotAt(const Work& work, int offset) const;

  void Draft(RoundReport& report);
  void SortByExit();
  void DraftMicroStep(RoundReport& report);
  void DraftOnDevice();
  // Waits for the drafts so far, and ends those rows' drafting that need no more.
  void ReadDrafts();
  bool NeedsConfidences() const;
  void DraftToken(Work& work, const Logits& logits);
  // Chooses the next draft. False: there is no room for what it was drawn from.
  bool ChooseDraft(Work& work, const Logits& logits, TokenId* id);
  void ReviewDrafts(int num_micro_steps);
  void SendDrafts();

  void Sweep(RoundReport& report);
  void AddSweepRow(const Work& work, int offset);
  void TapProbes(const Work& work, LayerRange layers);
  void FindLogitRows();
  bool NeedsLogits(const Work& work, int offset) const;
  void Verify();
  void VerifyOnDevice();
  // Of logit_rows_: whether anybody looks at its logits on the host.
  bool ShowsLogits(const LogitRow& row) const;
  // Calls visit(i, logits) for each row of row_indices_ in the last Forward.
  template <typename Visit>
  void ForEachLogits(const Head& head, Visit visit);
  // `logits` is null here and below where the device has chosen and nobody looks at them.
  void VisitRow(const LogitRow& row, const Logits* logits);
  // These say whether the rows of this work after `offset` matter.
  bool VisitLogits(Work& work, int offset, const Logits* logits);
  bool VerifyRow(Work& work, int offset, const Logits* logits);
  // Updates the verdict by the row after `num_before` drafts.
  bool Judge(Work& work, int num_before, const Logits* logits);
  bool JudgeByDevice(Work& work, int num_before);
  const kernels::ChosenTarget& TargetOf(const Work& work, int num_before) const {
    return choices_->chosen().targets[TargetIndex(work, num_before)];
  }
  // A work has a slot for each draft, and one target more.
  static int TargetIndex(const Work& work, int num_before) {
    return work.first_slot + work.index + num_before;
  }
  void KeepLogprobs(const Work& work, int num_before, const Logits* logits);
  void ReportPromptLogprobs(Work& work, int position, const Logits& logits);
  void Commit(Work& work);
  void Finish(Work& work, RoundReport& report);

  Model* const model_;
  const Clock* const clock_;
  BlockPool exit_rows_;
  ExitProbes probes_;
  std::optional<DeviceChoices> choices_;  // absent: tokens are chosen on the host
  const Head* draft_head_;
  DraftingPolicy* drafting_policy_ = nullptr;

  // Of the current round, kept to reuse their memory.
  std::vector<Work> works_;
  DraftSlots slots_;
  ProposalStore proposals_;
  std::vector<Work*> by_exit_;  // those that draft, the deepest exit first
  std::vector<Work*> active_;   // those of them that draft still
  std::vector<DraftingRow> drafting_rows_;
  ForwardBatch batch_;
  std::vector<kernels::DraftChoice> draft_choices_;
  std::vector<kernels::TargetChoice> target_choices_;
  bool drafts_read_ = false;  // all that were chosen
  std::vector<LogitRow> logit_rows_;
  Work* settled_ = nullptr;  // the rest of its rows is void: rows of one work are consecutive
  std::vector<int32_t> row_indices_;  // in the batch, of rows whose logits are wanted
  SamplerScratch scratch_;
  BlockVerifier verifier_;
  Verdict verdict_;
  std::vector<DraftTally> tallies_;
  Duration head_time_{};
};

}  // namespace strata

#endif  // STRATA_ENGINE_ROUND_H_
