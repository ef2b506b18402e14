// Decides how much each round drafts, and where drafts exit: speculation's goodput-price
// controller. docs/POLICY.md has the reasoning.
//
// Time has a price in tokens: what the batch at hand commits per second by the best plan, corrected
// by what recent rounds really committed. A micro-step runs while the tokens that it is expected to
// add are worth more than the time that it takes, its rows' share of the sweep included. So
// drafting ends by itself where a batch is large or drafts are bad.
//
// It sees numbers and returns numbers: no model, no clock, no randomness. A round is
//   Plan -> scheduling -> Begin -> ChooseProbes -> Review between micro-steps -> Verified and
//   Probed
//   -> End
// Not thread-safe. In the steady state nothing is allocated.

#ifndef STRATA_ENGINE_POLICY_DRAFT_CONTROLLER_H_
#define STRATA_ENGINE_POLICY_DRAFT_CONTROLLER_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/policy/acceptance_model.h"
#include "engine/policy/cost_model.h"
#include "engine/policy/draft_report.h"
#include "engine/policy/draft_row.h"
#include "engine/policy/promise_ledger.h"
#include "engine/policy/round_prices.h"
#include "engine/policy/row_depths.h"
#include "engine/policy/tenant_factors.h"

namespace strata {

struct DraftControllerConfig {
  int num_layers = 0;
  std::vector<int> exit_layers;  // candidates of rows that name none; at least one
  int most_drafts = 16;          // of any row in any round
  // Automatic rows do not draft on where the round is predicted to take longer. 0: no ceiling.
  double latency_ceiling_seconds = 0;
  double probe_share = 0.005;  // of the time, that probes may take
  double trial_share = 0.005;  // of the time without drafts, that trials may cost
  int most_probes = 16;        // in one round
};

// LayerSkip trains its checkpoints to exit early: fractions of the depth from a 16th to a half.
std::vector<int> CandidateExits(int num_layers);

class DraftController {
 public:
  DraftController(DraftControllerConfig config, const CostProfile& costs);

  // For DraftRow::tenant.
  int Tenant(const std::string& name) { return tenants_.Find(name); }

  // ---- Before scheduling
  // Decides exit_layer and num_drafts of all `rows`, which are those that decode. `prefill_rows`:
  // what the round may have beside them, by expectation.
  void Plan(std::span<DraftRow* const> rows, int prefill_rows);

  // ---- The round as it was scheduled
  struct Schedule {
    std::span<DraftRow* const> rows;  // decoding, with num_drafts as granted
    int prefill_rows = 0;
    double prefill_context_tokens = 0;  // sum over the prefill's rows
    int prefill_logit_rows = 0;         // those whose logits somebody needs
    double draft_head_share = 1;        // of the vocabulary that drafts are chosen among
  };
  void Begin(const Schedule& schedule);

  // Rows that the round shall probe: run the head at `exit_layer` on the row of the newest
  // committed token, and tell by Probed whether the draft there would have been accepted. Valid
  // until the next call; nothing if the probes' share of the time is spent.
  struct Probe {
    DraftRow* row = nullptr;
    int exit_layer = 0;
  };
  std::span<const Probe> ChooseProbes();

  // After a micro-step; `rows` could draft once more, and their `drafted` and `confidence` are set.
  // Decides keep_drafting.
  void Review(std::span<DraftRow* const> rows);

  // What became of a row's drafts, of which the first num_accepted were committed. `finished`: the
  // sample ended, so that drafts after those were not refused.
  void Verified(DraftRow& row, std::span<const float> confidences, int num_accepted, bool finished);
  // confidence: of the draft there, if one was chosen. accepted: its probability to be accepted, 0
  // or 1 if it was.
  void Probed(const Probe& probe, std::optional<double> confidence, double accepted);

  struct Outcome {
    double draft_seconds = 0;  // of all micro-steps
    // Whether that tells what they took: otherwise their sum with sweep_seconds does.
    bool draft_timed = true;
    double sweep_seconds = 0;  // of the sweep, its heads and verification
    double probe_seconds = 0;  // in neither of the others
    int emitted_tokens = 0;    // by the decoding rows
  };
  void End(const Outcome& outcome);

  const DraftReport& report() const { return report_; }  // of the last round

  // What it has learnt about the traffic.
  struct Experience {
    AcceptanceModel acceptance;
    TenantFactors tenants;
    int exit_layer = 0;
  };
  Experience experience() const { return {acceptance_, tenants_, exit_layer_}; }
  // REQUIRES: of a model of as many layers; no rows yet.
  void Restore(const Experience& experience);
  const CostModel& costs() const { return prices_.costs(); }

 private:
  // What drafting is worth to a batch.
  struct Estimate {
    int micro_steps = 0;           // of the best plan
    double tokens_per_second = 0;  // by the best plan, of the time that is not the prompts'
    double plain = 0;              // the same without drafts
    double drafting = 0;           // the best with drafts, pay or not; 0: there can be none
    double promised = 0;           // by the best plan, in a round without prompts
    double promised_plain = 0;     // the same without drafts
    bool late = false;             // the latency ceiling kept the plan short
  };

  // The most that `row` may draft in a round.
  int Limit(const DraftRow& row) const;
  // `rows` stand for so many as `weight` each, drafting at exit_layer; 0: at their own. `sweep`:
  // without drafts.
  Estimate EstimateBatch(std::span<DraftRow* const> rows, double weight, int exit_layer,
                         const SweepRows& sweep);
  // Puts the rows into candidates_, what their drafts gain into gains_ and counts_, and each row's
  // first draft's into row.gain: 0 if it does not join in.
  void AddGains(std::span<DraftRow* const> rows, double weight, int exit_layer,
                const SweepRows& sweep);
  void ChooseExits();
  void ChooseSharedExit();
  int BestExitOf(DraftRow& row);
  void Decide(const Estimate& estimate);
  void GrantDrafts();
  void ConsiderTrial();
  SweepRows SweepOf(std::span<DraftRow* const> rows, double prefill_rows) const;
  Work WorkOfProbes() const;
  void SpendOnProbes(double round_seconds, double probe_seconds);
  void SaveForTrials(double round_seconds);
  // Whether a round of `scale` times candidates_ and the prompts that are expected breaks the
  // ceiling.
  bool IsLate(double draft_seconds, SweepRows sweep, double scale);
  // That the draft at `index` will be accepted, if those before it are.
  double Chance(const DraftRow& row, int exit_layer, int index, int previous) const;
  static void AddRow(const DraftRow& row, RowDepths& depths);
  bool KeepWorthwhile(std::span<DraftRow* const> rows);
  void Learn(DraftRow& row, int exit_layer, int index, int previous, int confidence,
             double accepted);

  const DraftControllerConfig config_;
  RoundPrices prices_;
  AcceptanceModel acceptance_;
  TenantFactors tenants_;

  // ---- From round to round
  int exit_layer_;
  bool exit_chosen_ = false;
  int better_exit_ = 0;  // that was found better once, if not 0
  int rounds_until_exit_choice_ = 0;
  size_t rows_at_exit_choice_ = 0;
  bool drafting_ = false;
  DraftDecision off_reason_ = DraftDecision::kAcceptance;
  double price_ = 0;                           // tokens per second
  PromiseLedger draft_ledger_, plain_ledger_;  // of rounds that drafted, and that did not
  double probe_budget_seconds_ = 0;
  size_t next_probed_ = 0;
  double trial_budget_seconds_ = 0;
  int rounds_until_trial_;

  // ---- Of the round; vectors keep their memory
  DraftReport report_;
  double promised_rate_ = 0;  // tokens per second by the best plan
  bool is_trial_ = false;
  int expected_prefill_rows_ = 0;
  SweepRows sweep_;
  RowDepths step_;                          // rows of the next micro-step
  RowDepths drafted_;                       // rows of all micro-steps so far
  RowDepths pinned_, candidates_, drafts_;  // for the length of a call
  std::vector<DraftRow*> autos_, sampled_, scheduled_;
  std::vector<Probe> probes_;
  std::vector<double> gains_, counts_;
  Work work_, draft_work_;
  bool has_prefill_ = false;
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_DRAFT_CONTROLLER_H_
