// What drafting is worth: a round's time beside that in which plain decoding would have committed
// the same tokens, by the prices of the cost model.

#ifndef STRATA_ENGINE_SPEEDUP_METER_H_
#define STRATA_ENGINE_SPEEDUP_METER_H_

#include "engine/observer.h"
#include "engine/policy/cost_model.h"
#include "engine/policy/row_depths.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"

namespace strata {

// Used from one thread at a time.
class SpeedupMeter {
 public:
  explicit SpeedupMeter(int num_layers) : num_layers_(num_layers) {}

  // Around each round. End completes the report.
  void Begin(const StepPlan& plan);
  void End(const CostModel& costs, RoundReport& report);

 private:
  const int num_layers_;
  SweepRows plain_;  // the round without drafts
  bool has_prompts_ = false;
  Work work_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_SPEEDUP_METER_H_
