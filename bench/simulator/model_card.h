// Speeds and speed-ups that others have published, against the cost model:
// what acceptance they imply, and what Strata would make of it.

#ifndef STRATA_BENCH_SIMULATOR_MODEL_CARD_H_
#define STRATA_BENCH_SIMULATOR_MODEL_CARD_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/planning/roofline.h"

namespace strata::sim {

// The acceptance at which PredictedSpeedup is `speedup`; 1 if none is enough, 0 if any is.
double ImpliedAcceptance(const Roofline& roofline, int exit_layer, int num_drafts, double speedup,
                         int context_tokens, bool reuses_early_layers);

// The tables of docs/SIMULATION.md.
absl::StatusOr<std::string> ModelCardToText();

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_MODEL_CARD_H_
