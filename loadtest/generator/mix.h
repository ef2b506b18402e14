// What is asked for: kinds of requests, and how often each.

#ifndef STRATA_LOADTEST_GENERATOR_MIX_H_
#define STRATA_LOADTEST_GENERATOR_MIX_H_

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "loadtest/generator/arrivals.h"
#include "strata/v1/inference.pb.h"

namespace strata::loadtest {

// Both ends included.
struct TokenRange {
  int least = 0;
  int most = 0;
};

struct MixEntry {
  std::string name;
  double weight = 1;
  // Sent as it is, but for what the fields below put in.
  v1::GenerateRequest request;
  std::optional<TokenRange> prompt_tokens;   // random token ids instead of the request's prompt
  int shared_tokens = 0;                     // so many first ones are the same in all calls
  std::optional<TokenRange> max_new_tokens;  // drawn for each request
  double cancel_share = 0;                   // of the calls, cancelled halfway
};

// One call to make.
struct PlannedCall {
  int entry = 0;
  v1::GenerateRequest request;
  // Cancel after so many tokens; 0: do not.
  int cancel_after_tokens = 0;
};

// JSON: [{"name", "weight", "request": {a GenerateRequest in protobuf's JSON},
//         "prompt_tokens": N or [LEAST, MOST], "shared_tokens": N, "max_new_tokens": as
//         prompt_tokens, "cancel": SHARE}, ...].
// Errors: INVALID_ARGUMENT, with the entry and the field.
absl::StatusOr<std::vector<MixEntry>> ParseMix(std::string_view json);

// Draws calls from a mix; the same ones for the same seed. Not thread-safe.
class CallPlanner {
 public:
  // REQUIRES: at least one entry. Random prompts are of ids in [0, vocab_size).
  CallPlanner(std::vector<MixEntry> mix, int vocab_size, uint64_t seed);

  // `arrival`: what a trace prescribes wins over the mix.
  PlannedCall Next(const Arrival& arrival);
  const std::vector<MixEntry>& mix() const { return mix_; }

 private:
  uint32_t RandomToken();

  const std::vector<MixEntry> mix_;
  const int vocab_size_;
  std::mt19937_64 random_;
  std::vector<std::vector<uint32_t>> shared_;  // by entry
  std::discrete_distribution<int> pick_;
};

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_MIX_H_
