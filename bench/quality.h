// How well the model predicts a text: what quantised weights cost.

#ifndef STRATA_BENCH_QUALITY_H_
#define STRATA_BENCH_QUALITY_H_

#include "absl/status/status.h"
#include "bench/session.h"

namespace strata::bench {

// Tokens of a window, if the context is that long.
inline constexpr int kQualityTokens = 512;

// Row nll: the mean negative log-likelihood, in nats a token, of the file
// Options::text in windows of kQualityTokens, at most 16
// of them, each on its own. Errors: NOT_FOUND if the file cannot be read,
// INVALID_ARGUMENT if it is shorter than two tokens.
absl::Status MeasureQuality(const Session& session);

}  // namespace strata::bench

#endif  // STRATA_BENCH_QUALITY_H_
