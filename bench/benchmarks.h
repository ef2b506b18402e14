// The measurements of strata-bench.

#ifndef STRATA_BENCH_BENCHMARKS_H_
#define STRATA_BENCH_BENCHMARKS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/report.h"
#include "kernels/weight_format.h"

namespace strata::bench {

struct Options {
  std::string model;
  kernels::WeightFormat weights = kernels::WeightFormat::kBF16;
  int num_threads = 0;  // 0: one per core
  // The model card's prompt.
  std::string prompt = "typing import List\ndef bucket_sort(A: List):";
  float temperature = 0;         // of the speculative rows and their baseline
  int decode_tokens = 128;       // generated per sequence and repetition
  int repeat = 3;                // medians are taken over this many
  std::vector<int> exit_layers;  // empty: 1/16, 1/8, 1/4 and 1/2 of the depth
  std::vector<int> draft_tokens = {1, 2, 4, 6};
  std::vector<int> batch_sizes = {1, 8, 16};
};

// Loads the model and measures everything. The engine is otherwise idle.
absl::StatusOr<Report> RunBenchmarks(const Options& options);

}  // namespace strata::bench

#endif  // STRATA_BENCH_BENCHMARKS_H_
