#include "engine/policy/round_prices.h"

namespace strata {
namespace {

// Of how often rounds have prompts, and how many rows of them, a round keeps this much.
constexpr double kPromptsKept = 0.95;
constexpr double kLeastPromptShare = 0.01;  // below, they do not count

}  // namespace

double RoundPrices::MicroStep(const RowDepths& step, double scale) {
  work_.Clear();
  step.AddMicroStep(scale, head_share_, work_);
  return costs_.Seconds(work_);
}

double RoundPrices::Sweep(const SweepRows& sweep, const RowDepths& drafts, double scale) {
  work_.Clear();
  sweep.AddSweep(drafts, scale, work_);
  return costs_.Seconds(work_);
}

double RoundPrices::Row(const RowDepths& step, const SweepRows& sweep, const RowDepths& drafts) {
  return MicroStep(step, 1) - MicroStep(step, 1 - 1 / step.rows()) + Sweep(sweep, drafts, 1) -
         Sweep(sweep, drafts, 1 - 1 / drafts.rows());
}

void RoundPrices::NotePrompts(int rows) {
  prompt_share_ = kPromptsKept * prompt_share_ + (rows > 0 ? 1 - kPromptsKept : 0);
  if (rows == 0) return;
  prompt_rows_ = prompt_rows_ == 0 ? rows : kPromptsKept * prompt_rows_ + (1 - kPromptsKept) * rows;
}

double RoundPrices::Prompts(const SweepRows& sweep) {
  if (prompt_share_ < kLeastPromptShare) return 0;
  SweepRows mixed = sweep;
  mixed.rows += prompt_rows_;
  const RowDepths none;
  return Sweep(mixed, none, 0) - Sweep(sweep, none, 0);
}

double RoundPrices::NetSweep(const SweepRows& sweep, const RowDepths& drafts, double scale,
                             double prompts) {
  const double alone = Sweep(sweep, drafts, scale);
  if (prompts == 0) return alone;
  SweepRows mixed = sweep;
  mixed.rows += prompt_rows_;
  return (1 - prompt_share_) * alone + prompt_share_ * (Sweep(mixed, drafts, scale) - prompts);
}

}  // namespace strata
