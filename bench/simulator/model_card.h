// Speeds and speed-ups that others have published, against the cost model:
// what acceptance they imply, and what Strata would make of it.

#ifndef STRATA_BENCH_SIMULATOR_MODEL_CARD_H_
#define STRATA_BENCH_SIMULATOR_MODEL_CARD_H_

#include <string>

#include "absl/status/statusor.h"
#include "bench/simulator/roofline.h"

namespace strata::sim {

// Tokens that a round commits on average if each of `num_drafts` is accepted with `acceptance`,
// independently: 1 + a + ... + a^K.
double TokensPerRound(double acceptance, int num_drafts);

// Speed over plain decoding of one sequence behind `context_tokens`.
// `reuses_early_layers`: as Strata, verification starts at the exit for all but the newest draft;
// else it runs all layers of all rows again.
double PredictedSpeedup(const Roofline& roofline, int exit_layer, int num_drafts, double acceptance,
                        int context_tokens, bool reuses_early_layers);
// The acceptance at which PredictedSpeedup is `speedup`; 1 if none is enough, 0 if any is.
double ImpliedAcceptance(const Roofline& roofline, int exit_layer, int num_drafts, double speedup,
                         int context_tokens, bool reuses_early_layers);

// The tables of docs/SIMULATION.md.
absl::StatusOr<std::string> ModelCardToText();

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_MODEL_CARD_H_
