// The text that a simulated model writes, and how well its early exits guess
// it: a language model reduced to what speculation can notice.

#ifndef STRATA_BENCH_SIMULATOR_TOKEN_PROCESS_H_
#define STRATA_BENCH_SIMULATOR_TOKEN_PROCESS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"

namespace strata::sim {

// The part of a text's tokens that an exit's greedy choice agrees with.
struct ExitAcceptance {
  int exit_layer = 0;
  double mean = 0;  // in (0, 1)
};

struct AcceptanceOptions {
  // By ascending exit layer and mean; between them, and towards 0 at layer 0 and 1 at the last
  // layer, log-odds are interpolated linearly.
  std::vector<ExitAcceptance> exits;
  // Standard deviations of the log-odds: between requests (some texts are easy), and between the
  // tokens of one request, whose ease is correlated with the last token's by `correlation`.
  double request_spread = 0.7;
  double token_spread = 1.0;
  double correlation = 0.6;  // in [0, 1)
  // What an exit's confidence (its top probability) says about the odds of being right: log-odds
  // of confidence = truth + confidence_bias + noise of confidence_noise.
  double confidence_bias = 0.3;
  double confidence_noise = 0.7;
};

// What a model knows after some tokens. A value that depends on these tokens alone.
struct TextState {
  uint64_t hash = 0;
  float request_ease = 0;  // standard normal; set by a difficulty token
  float token_ease = 0;    // standard normal, correlated with the last one
};

// A pure function of tokens: the same prompt is continued by the same text whatever the batch, the
// policy and the caches. Immutable.
class TokenProcess {
 public:
  // Tokens that a text is written in.
  static constexpr int kAlphabet = 16;
  // A prompt's token kFirstDifficulty + i sets the ease of what follows it, to the middle of the
  // i-th of kDifficulties equally likely classes, 0 being the hardest.
  static constexpr int kDifficulties = 1024;
  static constexpr TokenId kFirstDifficulty = 1 << 20;
  static constexpr TokenId DifficultyToken(int difficulty) { return kFirstDifficulty + difficulty; }

  // Errors: INVALID_ARGUMENT, with the value that is out of range.
  static absl::StatusOr<TokenProcess> Create(const AcceptanceOptions& options, int num_layers,
                                             uint64_t seed);

  TextState Start() const;
  TextState Append(const TextState& state, TokenId token) const;

  // What the whole model writes next.
  TokenId NextToken(const TextState& state) const;
  // What the first `exit_layer` layers would write, and their probability of it.
  struct Guess {
    TokenId token = 0;
    double confidence = 0;  // in [1.5 / kAlphabet, 1)
  };
  Guess GuessAt(const TextState& state, int exit_layer) const;
  // The probability with which GuessAt's token is NextToken's, given how easy the text is here.
  double Acceptance(const TextState& state, int exit_layer) const;

 private:
  TokenProcess(const AcceptanceOptions& options, int num_layers, uint64_t seed);

  const AcceptanceOptions options_;
  const uint64_t seed_;
  std::vector<double> log_odds_;  // [num_layers + 1], by exit layer, of an average text
};

// E[sigmoid(mean + spread * N)] for a standard normal N.
double MeanSigmoid(double mean, double spread);
// The mean at which MeanSigmoid is `probability`, in (0, 1).
double MeanForSigmoid(double probability, double spread);
// The standard normal's quantile, p in (0, 1), to 1e-9.
double NormalQuantile(double p);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_TOKEN_PROCESS_H_
