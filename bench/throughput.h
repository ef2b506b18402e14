// Prefill and plain decoding: rows of tokens per second.

#ifndef STRATA_BENCH_THROUGHPUT_H_
#define STRATA_BENCH_THROUGHPUT_H_

#include <vector>

#include "absl/status/status.h"
#include "bench/session.h"

namespace strata::bench {

// Those of `lengths` that are at most `max_length`; if none is, `max_length` alone.
std::vector<int> FittingLengths(const std::vector<int>& lengths, int max_length);

// One sequence behind `prompt_tokens` generates `new_tokens`, so that its context has `mean_tokens`
// on average.
struct ContextShape {
  int prompt_tokens = 0;
  int new_tokens = 0;
  double mean_tokens = 0;
};
// The context has about `context_tokens`, and never more than `max_context`.
// REQUIRES: 8 <= context_tokens <= max_context, decode_tokens >= 2.
ContextShape ShapeOfContext(int context_tokens, int decode_tokens, int max_context);

// Tokens of a prompt in the rows of decode_N.
inline constexpr int kBatchPromptTokens = 16;

absl::Status MeasurePrefill(const Session& session);  // prefill_N
absl::Status MeasureDecode(const Session& session);   // decode_N, N sequences
absl::Status MeasureContext(const Session& session);  // decode_ctx_N, N tokens of context

}  // namespace strata::bench

#endif  // STRATA_BENCH_THROUGHPUT_H_
