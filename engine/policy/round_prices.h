// What the parts of a round are predicted to take.

#ifndef STRATA_ENGINE_POLICY_ROUND_PRICES_H_
#define STRATA_ENGINE_POLICY_ROUND_PRICES_H_

#include "engine/policy/cost_model.h"
#include "engine/policy/row_depths.h"

namespace strata {

// Seconds, all of them. Not thread-safe.
class RoundPrices {
 public:
  explicit RoundPrices(const CostProfile& profile) : costs_(profile) {}

  CostModel& costs() { return costs_; }
  const CostModel& costs() const { return costs_; }
  // Of the vocabulary that drafts are chosen among.
  void set_head_share(double share) { head_share_ = share; }
  double head_share() const { return head_share_; }

  // A micro-step of `scale` times `step`.
  double MicroStep(const RowDepths& step, double scale);
  // A sweep with `scale` times `drafts` besides.
  double Sweep(const SweepRows& sweep, const RowDepths& drafts, double scale);
  // What one of the rows in `step` adds to a micro-step, and to the sweep with `drafts`.
  double Row(const RowDepths& step, const SweepRows& sweep, const RowDepths& drafts);

  // ---- Prompts that are computed beside decoding rows, as often and as many as of late
  void NotePrompts(int rows);
  // What they add to a sweep without drafts, in rounds that have them.
  double Prompts(const SweepRows& sweep);
  // The mean over rounds with and without them. They have to be computed whatever is drafted, so
  // that tokens do not pay for `prompts`, which is Prompts(sweep); but drafts cost more beside
  // them.
  double NetSweep(const SweepRows& sweep, const RowDepths& drafts, double scale, double prompts);

 private:
  CostModel costs_;
  double head_share_ = 1;
  double prompt_share_ = 0;  // of the rounds
  double prompt_rows_ = 0;   // in those that have some
  Work work_;                // for the length of a call
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_ROUND_PRICES_H_
