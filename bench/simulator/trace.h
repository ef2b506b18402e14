// Who asks for what, and when.

#ifndef STRATA_BENCH_SIMULATOR_TRACE_H_
#define STRATA_BENCH_SIMULATOR_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"

namespace strata::sim {

struct TraceRequest {
  double arrival_s = 0;
  int tenant = 0;
  int prompt_tokens = 0;  // with the shared prefix
  int output_tokens = 0;
  int prefix = -1;  // requests of one number share their first prefix_tokens; -1: none
  int prefix_tokens = 0;
  int difficulty = 0;  // of its text: TokenProcess::DifficultyToken

  bool operator==(const TraceRequest&) const = default;
};
// By ascending arrival.
using Trace = std::vector<TraceRequest>;

struct Lengths {
  enum class Kind { kFixed, kLogNormal, kPareto };
  Kind kind = Kind::kLogNormal;
  double mean = 0;  // before the cut
  // kLogNormal: deviation of the logarithm. kPareto: tail index, > 1.
  double shape = 1;
  int max = 0;  // longer ones are cut to it
};

struct TraceOptions {
  int num_requests = 1000;
  double requests_per_s = 1;  // on average, of all tenants
  // Arrivals are Poisson. Within a burst the rate is so many times that of the time between bursts;
  // bursts take a tenth of the time, one per burst_period_s. 1: no bursts.
  double burst_factor = 1;
  double burst_period_s = 60;
  Lengths prompt{Lengths::Kind::kLogNormal, 256, 1, 3072};
  Lengths output{Lengths::Kind::kLogNormal, 128, 1, 1024};
  // So many different prefixes, each of the same length, stand before this part of the prompts (and
  // count for prompt.max); popular ones more often, the i-th in proportion to 1 / i.
  int num_prefixes = 0;
  int prefix_tokens = 0;
  double prefix_share = 0;
  std::vector<double> tenant_weights = {1};  // the tenants' parts of the requests
  uint64_t seed = 1;
};

// Errors: INVALID_ARGUMENT, with the value that is out of range.
absl::StatusOr<Trace> MakeTrace(const TraceOptions& options);

// The tokens of the `index`-th request's prompt; their last one is its difficulty.
std::vector<TokenId> MakePrompt(const TraceRequest& request, int index, uint64_t seed);

// CSV with the header "arrival_s,tenant,prompt_tokens,output_tokens,prefix,prefix_tokens,
// difficulty"; the columns from prefix on may be left out.
// Errors: NOT_FOUND (no such file), INVALID_ARGUMENT (with the line's number).
absl::StatusOr<Trace> ReadTrace(const std::string& path);
std::string TraceToCsv(const Trace& trace);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_TRACE_H_
