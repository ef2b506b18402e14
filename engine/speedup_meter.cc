#include "engine/speedup_meter.h"

namespace strata {

void SpeedupMeter::Begin(const StepPlan& plan) {
  plain_ = SweepRows{};
  plain_.num_layers = num_layers_;
  has_prompts_ = false;
  for (const PlanEntry& entry : plan.entries) {
    const Sequence& sequence = *entry.sequence;
    if (!sequence.decoding()) {
      has_prompts_ = true;
      return;
    }
    plain_.rows += 1;
    plain_.logit_rows += 1;
    plain_.context_tokens += sequence.num_computed();
    plain_.choices[static_cast<int>(sequence.draft_row->mode)] += 1;
  }
}

void SpeedupMeter::End(const CostModel& costs, RoundReport& report) {
  if (has_prompts_ || report.drafted_tokens == 0) return;
  work_.Clear();
  plain_.AddSweep({}, 0, work_);
  report.plain_seconds = report.emitted_tokens * costs.Seconds(work_) / plain_.rows;
}

}  // namespace strata
