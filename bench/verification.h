// How many drafts verifying them together accepts, beside verifying them one by
// one.

#ifndef STRATA_BENCH_VERIFICATION_H_
#define STRATA_BENCH_VERIFICATION_H_

#include "absl/status/status.h"
#include "bench/options.h"
#include "bench/report.h"

namespace strata::bench {

// block_eE_kK and token_eE_kK: drafts accepted a round at exit layer E, of K, on text that the
// model samples after the prompt. Both are of the same drafts, whose verdicts are drawn many times.
absl::Status MeasureVerification(const Options& options, Report& report);

}  // namespace strata::bench

#endif  // STRATA_BENCH_VERIFICATION_H_
