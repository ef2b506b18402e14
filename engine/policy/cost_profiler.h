// Measures what passes through a model cost, as the server starts.

#ifndef STRATA_ENGINE_POLICY_COST_PROFILER_H_
#define STRATA_ENGINE_POLICY_COST_PROFILER_H_

#include "engine/clock.h"
#include "engine/model/model.h"
#include "engine/policy/cost_model.h"

namespace strata {

// Runs short passes on an idle model, whose KV cache is overwritten; its counters do not count
// them. Takes about `budget`, or one pass of a single layer if that is longer: large row counts are
// left out as far as time runs short, and what is not measured is extrapolated. Throws
// kernels::DeviceError.
CostProfile ProfileCosts(Model& model, const Clock& clock, Duration budget);

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_COST_PROFILER_H_
