// One engine round: draft micro-steps, one full sweep, verification.
//
// Drafting runs layers [0, exit) of the rows that still draft, sorted so that
// those which leave first stand last; each leaves its hidden state in the
// exit cache. The sweep then runs every layer of the rows whose early layers
// have not run yet, and takes the drafted rows in at their exit. So each
// (layer, position) of a committed token is computed exactly once.

#ifndef STRATA_ENGINE_ROUND_H_
#define STRATA_ENGINE_ROUND_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/block_pool.h"
#include "engine/clock.h"
#include "engine/model/model.h"
#include "engine/observer.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"

namespace strata {

// Used from one thread at a time.
class RoundExecutor {
 public:
  // Both must outlive the executor. `clock` is for the report only.
  RoundExecutor(Model* model, const Clock* clock);

  struct Result {
    RoundReport report;
    // Requests whose logits were not finite: the weights or the kernels are broken.
    std::vector<uint64_t> failed;
  };
  // Runs the plan and commits tokens to its sequences; blocks of rejected drafts are left for
  // Scheduler::EndRound to take back. Sends only drafts to
  // sinks; the caller sends what was committed.
  // Throws kernels::DeviceError.
  Result Run(const StepPlan& plan);

  // Drafts come from `head`, which must outlive its use; null: from the model's own. Between
  // rounds.
  void set_draft_head(const Head* head) { draft_head_ = head != nullptr ? head : &model_->head(); }

  int exit_rows_used() const { return exit_rows_.num_used(); }

 private:
  // A plan's entry and what this round has made of it.
  struct Work {
    Sequence* sequence = nullptr;
    int32_t index = 0;       // row of the block tables
    int first_position = 0;  // of the sweep's rows
    int num_rows = 0;        // committed positions that the sweep computes
    int max_drafts = 0;
    bool drafting = false;
    bool failed = false;
    std::vector<TokenId> drafts;
    std::vector<Distribution> proposals;  // unseeded: what each draft was drawn from
    std::vector<int32_t> exit_rows;       // of the positions that drafted
    int num_accepted = 0;
    int num_committed = 0;
  };
  // A row of the sweep with logits: the `offset`-th row of its work.
  struct LogitRow {
    Work* work = nullptr;
    int offset = 0;
    int32_t row = 0;  // in the forward batch
  };

  void Begin(const StepPlan& plan);
  void FillBlockTables();

  void Draft(RoundReport& report);
  void DraftMicroStep(const std::vector<Work*>& active);
  void DraftToken(Work& work, std::span<const float> logits);
  void SendDrafts();

  void Sweep(RoundReport& report);
  void AddSweepRows(std::vector<LogitRow>& rows);
  bool NeedsLogits(const Work& work, int offset) const;
  void Verify(RoundReport& report);
  // Calls visit(i, logits) for each row of the last Forward. logits [head.num_tokens]
  void ForEachLogits(std::span<const int32_t> rows, const Head& head,
                     const std::function<void(size_t, std::span<const float>)>& visit);
  bool VisitLogits(Work& work, int offset, std::span<const float> logits);
  void ReportPromptLogprobs(Work& work, int position, std::span<const float> logits);
  // Determines and commits the token after row `offset`. False if the rows after it are void.
  bool CommitNext(Work& work, int offset, std::span<const float> logits);
  void Finish(Work& work, RoundReport& report);

  Model* const model_;
  const Clock* const clock_;
  BlockPool exit_rows_;
  const Head* draft_head_;

  // Of the current round, kept to reuse their memory.
  std::vector<Work> works_;
  ForwardBatch batch_;
  std::vector<LogitRow> logit_rows_;
  std::vector<int32_t> row_indices_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_ROUND_H_
