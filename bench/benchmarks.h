// The measurements of strata-bench.

#ifndef STRATA_BENCH_BENCHMARKS_H_
#define STRATA_BENCH_BENCHMARKS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "bench/options.h"
#include "bench/report.h"
#include "engine/checkpoint/model_config.h"

namespace strata::bench {

// Room in the engine, just enough for the groups that are asked for.
struct Room {
  int max_context = 0;    // positions of one sequence
  int max_sequences = 1;  // running at once
  int64_t kv_tokens = 0;  // of all of them, in whole blocks
};
Room RoomFor(const Options& options, const ModelConfig& config);

// Loads the model and measures what `options` asks for.
absl::StatusOr<Report> RunBenchmarks(const Options& options);

}  // namespace strata::bench

#endif  // STRATA_BENCH_BENCHMARKS_H_
