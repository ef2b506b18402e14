#include "bench/simulator/token_process.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "engine/random.h"

namespace strata::sim {
namespace {

// Independent streams of one state's randomness.
enum Stream : uint64_t { kToken = 1, kAgreement, kWrongToken, kConfidence, kEase };

uint64_t Bits(const TextState& state, Stream stream) { return Mix64(state.hash ^ Mix64(stream)); }

// Nearly standard normal: the sum of eight bytes, each uniform. Cheaper than a quantile, and never
// beyond five standard deviations.
double NormalFromBits(uint64_t bits) {
  int sum = 0;
  for (int shift = 0; shift < 64; shift += 8) sum += static_cast<int>((bits >> shift) & 0xff);
  constexpr double kMean = 8 * 127.5;
  constexpr double kDeviation = 209.02;  // sqrt(8 * (256^2 - 1) / 12)
  return (sum - kMean) / kDeviation;
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

double MeanSigmoid(double mean, double spread) {
  if (spread == 0) return Sigmoid(mean);
  // Equally likely classes of the normal, each by its median.
  constexpr int kClasses = 2000;
  static const std::vector<double> quantiles = [] {
    std::vector<double> result;
    for (int i = 0; i < kClasses; ++i) result.push_back(NormalQuantile((i + 0.5) / kClasses));
    return result;
  }();
  double sum = 0;
  for (const double x : quantiles) sum += Sigmoid(mean + spread * x);
  return sum / kClasses;
}

double MeanForSigmoid(double probability, double spread) {
  double low = -40, high = 40;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (MeanSigmoid(middle, spread) < probability ? low : high) = middle;
  }
  return (low + high) / 2;
}

double NormalQuantile(double p) {
  double low = -9, high = 9;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

absl::StatusOr<TokenProcess> TokenProcess::Create(const AcceptanceOptions& options, int num_layers,
                                                  uint64_t seed) {
  if (options.exits.empty()) return absl::InvalidArgumentError("acceptance: no exit layer");
  int last_layer = 0;
  double last_mean = 0;
  for (const ExitAcceptance& exit : options.exits) {
    if (exit.exit_layer <= last_layer || exit.exit_layer >= num_layers) {
      return absl::InvalidArgumentError(
          fmt::format("acceptance: exit layer {} is not between {} and {}", exit.exit_layer,
                      last_layer + 1, num_layers - 1));
    }
    if (!(exit.mean > last_mean && exit.mean < 1)) {
      return absl::InvalidArgumentError(
          fmt::format("acceptance: {} at exit layer {} is not between {} and 1", exit.mean,
                      exit.exit_layer, last_mean));
    }
    last_layer = exit.exit_layer;
    last_mean = exit.mean;
  }
  if (!(options.correlation >= 0 && options.correlation < 1)) {
    return absl::InvalidArgumentError("acceptance: correlation is not in [0, 1)");
  }
  if (options.request_spread < 0 || options.token_spread < 0 || options.confidence_noise < 0) {
    return absl::InvalidArgumentError("acceptance: a spread is negative");
  }
  return TokenProcess(options, num_layers, seed);
}

TokenProcess::TokenProcess(const AcceptanceOptions& options, int num_layers, uint64_t seed)
    : options_(options), seed_(Mix64(seed)) {
  const double spread = std::hypot(options.request_spread, options.token_spread);
  // Log-odds at the ends: an agreement of 1% at layer 0, all but certain at the last.
  std::vector<std::pair<int, double>> knots = {{0, MeanForSigmoid(0.01, spread)}};
  for (const ExitAcceptance& exit : options.exits) {
    knots.emplace_back(exit.exit_layer, MeanForSigmoid(exit.mean, spread));
  }
  knots.emplace_back(num_layers, MeanForSigmoid(0.999, spread));
  size_t knot = 1;
  for (int layer = 0; layer <= num_layers; ++layer) {
    if (layer > knots[knot].first) ++knot;
    const auto& [left, left_odds] = knots[knot - 1];
    const auto& [right, right_odds] = knots[knot];
    log_odds_.push_back(left_odds + (right_odds - left_odds) * (layer - left) / (right - left));
  }
}

TextState TokenProcess::Start() const { return {seed_, 0, 0}; }

TextState TokenProcess::Append(const TextState& state, TokenId token) const {
  TextState next;
  next.hash = Mix64(state.hash ^ Mix64(static_cast<uint64_t>(token) + 1));
  next.request_ease = state.request_ease;
  if (token >= kFirstDifficulty && token < kFirstDifficulty + kDifficulties) {
    static const auto eases = [] {
      std::array<float, kDifficulties> result;
      for (int i = 0; i < kDifficulties; ++i) {
        result[i] = static_cast<float>(NormalQuantile((i + 0.5) / kDifficulties));
      }
      return result;
    }();
    next.request_ease = eases[token - kFirstDifficulty];
  }
  const double rho = options_.correlation;
  next.token_ease = static_cast<float>(
      rho * state.token_ease + std::sqrt(1 - rho * rho) * NormalFromBits(Bits(next, kEase)));
  return next;
}

TokenId TokenProcess::NextToken(const TextState& state) const {
  return static_cast<TokenId>(Bits(state, kToken) % kAlphabet);
}

double TokenProcess::Acceptance(const TextState& state, int exit_layer) const {
  return Sigmoid(log_odds_[exit_layer] + options_.request_spread * state.request_ease +
                 options_.token_spread * state.token_ease);
}

TokenProcess::Guess TokenProcess::GuessAt(const TextState& state, int exit_layer) const {
  const double truth = Acceptance(state, exit_layer);
  // One draw for all exits: what an exit gets right, deeper ones do too.
  const bool agrees = ToUnitInterval(Bits(state, kAgreement)) < truth;
  Guess guess;
  guess.token = NextToken(state);
  if (!agrees) {
    const uint64_t shift = 1 + Bits(state, kWrongToken) % (kAlphabet - 1);
    guess.token = static_cast<TokenId>((guess.token + shift) % kAlphabet);
  }
  const uint64_t noise_bits =
      Mix64(Bits(state, kConfidence) ^ Mix64(static_cast<uint64_t>(exit_layer)));
  const double confidence = Sigmoid(std::log(truth / (1 - truth)) + options_.confidence_bias +
                                    options_.confidence_noise * NormalFromBits(noise_bits));
  guess.confidence = std::clamp(confidence, 1.5 / kAlphabet, 1 - 1e-6);
  return guess;
}

}  // namespace strata::sim
