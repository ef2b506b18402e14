// Puts the draft controller to work: between rounds it turns the engine's sequences into the
// controller's rows and its decisions into theirs; within rounds it is their drafting policy.

#ifndef STRATA_ENGINE_POLICY_AUTO_DRAFTING_H_
#define STRATA_ENGINE_POLICY_AUTO_DRAFTING_H_

#include <span>
#include <vector>

#include "engine/drafting_policy.h"
#include "engine/observer.h"
#include "engine/policy/draft_controller.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"

namespace strata {

// Used from one thread at a time.
class AutoDrafting final : public DraftingPolicy {
 public:
  AutoDrafting(const DraftControllerConfig& config, const CostProfile& costs)
      : controller_(config, costs) {}

  // Makes the sequence's draft row. `speculation` as SpeculationPolicy resolved it.
  void Accept(Sequence& sequence, const Speculation& speculation);

  // ---- Around each round
  // Sets exit_layer and num_draft_tokens of those of `running` that decode.
  void BeforePlan(std::span<Sequence* const> running);
  // draft_head_share: how much of the vocabulary drafts are chosen among.
  void AfterPlan(const StepPlan& plan, double draft_head_share);
  // Completes the report.
  void AfterRound(RoundReport& report);

  // ---- DraftingPolicy
  std::span<const WantedProbe> ChooseProbes() override;
  bool NeedsConfidence(const Sequence& sequence) const override {
    return sequence.draft_row->kind == DraftRow::Kind::kAuto;
  }
  void ReviewDrafts(int num_micro_steps, std::span<DraftingRow> rows) override;
  void OnVerified(const DraftOutcome& outcome) override;
  void OnProbed(const ProbeOutcome& outcome) override;

  DraftController& controller() { return controller_; }
  const DraftController& controller() const { return controller_; }

 private:
  DraftController controller_;
  int last_prefill_rows_ = 0;
  std::vector<DraftRow*> rows_;
  std::vector<WantedProbe> probes_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_AUTO_DRAFTING_H_
