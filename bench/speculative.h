// Self-speculative decoding beside plain decoding of the same prompt.

#ifndef STRATA_BENCH_SPECULATIVE_H_
#define STRATA_BENCH_SPECULATIVE_H_

#include <vector>

#include "absl/status/status.h"
#include "bench/session.h"

namespace strata::bench {

// 1/16, 1/8, 1/4 and 1/2 of the depth, as far as they are layers to exit at.
std::vector<int> DefaultExitLayers(int num_layers);

// speculative_eE_kK for the grid, and speculative_auto for what a server drafts by itself.
absl::Status MeasureSpeculative(const Session& session);

}  // namespace strata::bench

#endif  // STRATA_BENCH_SPECULATIVE_H_
