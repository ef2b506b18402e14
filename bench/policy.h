// Automatic speculation beside none and beside every fixed setting of a grid.

#ifndef STRATA_BENCH_POLICY_H_
#define STRATA_BENCH_POLICY_H_

#include "absl/status/status.h"
#include "bench/options.h"
#include "bench/report.h"

namespace strata::bench {

// policy_WORK_SAMPLING_N: N sequences (policy_batch_sizes) of code, prose and random text, greedy
// and sampled. All settings generate the same texts, a round each by turns. A repetition is as long
// as it takes to generate them without drafts.
absl::Status MeasurePolicy(const Options& options, Report& report);

}  // namespace strata::bench

#endif  // STRATA_BENCH_POLICY_H_
