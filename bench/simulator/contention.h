// What happens to others when one tenant, one prompt or the KV pool is a
// problem: scenarios with bounds.

#ifndef STRATA_BENCH_SIMULATOR_CONTENTION_H_
#define STRATA_BENCH_SIMULATOR_CONTENTION_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "bench/simulator/simulation.h"

namespace strata::sim {

// Two tenants, of which one sends ten times as much.
struct FairnessResult {
  // Both send more than half of what the machine can do: the largest difference of their services
  // (computed prompt and generated tokens at their costs) over any time, and what the virtual token
  // counter promises.
  double largest_gap = 0;
  double bound = 0;
  double services[2] = {};  // in all that time
  // The light tenant sends a tenth of what the machine can do, alone and beside the heavy one.
  double alone_ttft_p95_s = 0;
  double contended_ttft_p95_s = 0;
};
absl::StatusOr<FairnessResult> MeasureFairness(const SimulationOptions& options);

// A prompt of 6,000 tokens comes while 16 sequences decode.
struct LongPromptResult {
  double round_s = 0;  // of the 16 alone
  double chunk_s = 0;  // of the 16 and the largest chunk behind the whole prompt: the cost model's
  // Between two deltas of one of the 16, while the prompt is computed.
  double itl_p99_s = 0;
  double itl_most_s = 0;
  double prompt_ttft_s = 0;
};
absl::StatusOr<LongPromptResult> MeasureLongPrompt(const SimulationOptions& options);

// A burst of requests in a quarter of the blocks that it would use.
struct SmallPoolResult {
  int blocks_wanted = 0;
  int blocks_given = 0;
  int requests = 0;
  int finished = 0;
  int64_t preemptions = 0;
  int64_t most_preemptions = 0;  // the scheduler's promise
  double slowdown = 0;           // of the time until the last token
};
absl::StatusOr<SmallPoolResult> MeasureSmallPool(const SimulationOptions& options);

// All of them on `options`' machine, with "ok" or "MISSED" behind each bound.
absl::StatusOr<std::string> ContentionToText(const SimulationOptions& options);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_CONTENTION_H_
