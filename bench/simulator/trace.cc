#include "bench/simulator/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bench/simulator/token_process.h"
#include "engine/random.h"
#include "engine/status_macros.h"

namespace strata::sim {
namespace {

constexpr double kBurstShare = 0.1;  // of the time

absl::Status Validate(const Lengths& lengths, const char* name) {
  const bool pareto = lengths.kind == Lengths::Kind::kPareto;
  if (lengths.mean < 1 || lengths.max < 1 || lengths.shape < 0 || (pareto && lengths.shape <= 1)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: mean {} and max {} must be at least 1, and a Pareto tail index ({}) more "
                    "than 1",
                    name, lengths.mean, lengths.max, lengths.shape));
  }
  return absl::OkStatus();
}

absl::Status Validate(const TraceOptions& options) {
  RETURN_IF_ERROR(Validate(options.prompt, "prompt lengths"));
  RETURN_IF_ERROR(Validate(options.output, "output lengths"));
  if (options.num_requests < 1 || !(options.requests_per_s > 0)) {
    return absl::InvalidArgumentError("the number of requests and their rate must be positive");
  }
  if (options.burst_factor < 1 || !(options.burst_period_s > 0)) {
    return absl::InvalidArgumentError("bursts need a factor of at least 1 and a positive period");
  }
  if (options.prefix_share > 0 && (options.num_prefixes < 1 || options.prefix_tokens < 1)) {
    return absl::InvalidArgumentError("shared prefixes need a number and a length");
  }
  if (options.prefix_tokens < 0 || options.prefix_tokens >= options.prompt.max) {
    return absl::InvalidArgumentError(
        fmt::format("a shared prefix of {} tokens leaves nothing of a prompt's {} at most",
                    options.prefix_tokens, options.prompt.max));
  }
  if (options.tenant_weights.empty() ||
      std::any_of(options.tenant_weights.begin(), options.tenant_weights.end(),
                  [](double weight) { return !(weight > 0); })) {
    return absl::InvalidArgumentError("each tenant needs a positive weight");
  }
  return absl::OkStatus();
}

int DrawLength(const Lengths& lengths, UniformSource& uniforms) {
  const double u = std::clamp(uniforms.Next(), 1e-12, 1 - 1e-12);
  double length = lengths.mean;
  if (lengths.kind == Lengths::Kind::kLogNormal) {
    const double mu = std::log(lengths.mean) - lengths.shape * lengths.shape / 2;
    length = std::exp(mu + lengths.shape * NormalQuantile(u));
  } else if (lengths.kind == Lengths::Kind::kPareto) {
    const double least = lengths.mean * (lengths.shape - 1) / lengths.shape;
    length = least * std::pow(1 - u, -1 / lengths.shape);
  }
  return std::clamp(static_cast<int>(std::lround(std::min(length, 1e9))), 1, lengths.max);
}

// An index drawn in proportion to `weights`.
int DrawIndex(const std::vector<double>& weights, UniformSource& uniforms) {
  double left = uniforms.Next() * std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i + 1 < weights.size(); ++i) {
    if (left < weights[i]) return static_cast<int>(i);
    left -= weights[i];
  }
  return static_cast<int>(weights.size()) - 1;
}

// Arrivals of a Poisson process whose rate is higher in bursts: unit steps of accumulated rate.
class Arrivals {
 public:
  explicit Arrivals(const TraceOptions& options)
      : period_(options.burst_period_s),
        calm_rate_(options.requests_per_s / (1 - kBurstShare + kBurstShare * options.burst_factor)),
        burst_rate_(calm_rate_ * options.burst_factor) {}

  double Next(UniformSource& uniforms) {
    double work = -std::log(1 - uniforms.Next());
    while (true) {
      // Each period ends in its burst.
      const double phase = std::fmod(now_, period_);
      const double burst_start = period_ * (1 - kBurstShare);
      const bool in_burst = phase >= burst_start;
      const double rate = in_burst ? burst_rate_ : calm_rate_;
      const double until_change = (in_burst ? period_ : burst_start) - phase;
      if (work <= rate * until_change) return now_ += work / rate;
      work -= rate * until_change;
      now_ += std::max(until_change, 1e-9 * period_);
    }
  }

 private:
  const double period_;
  const double calm_rate_;
  const double burst_rate_;
  double now_ = 0;
};

}  // namespace

absl::StatusOr<Trace> MakeTrace(const TraceOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  // A stream of its own for each property, so that changing one leaves the others as they are.
  const auto stream = [&](uint64_t number) { return CounterRng(Mix64(options.seed) ^ number); };
  CounterRng times = stream(1), prompts = stream(2), outputs = stream(3), tenants = stream(4),
             prefixes = stream(5), difficulties = stream(6);
  std::vector<double> popularity;
  for (int i = 0; i < options.num_prefixes; ++i) popularity.push_back(1.0 / (i + 1));
  Arrivals arrivals(options);
  Trace trace;
  trace.reserve(options.num_requests);
  for (int i = 0; i < options.num_requests; ++i) {
    TraceRequest request;
    request.arrival_s = arrivals.Next(times);
    request.tenant = DrawIndex(options.tenant_weights, tenants);
    request.prompt_tokens = DrawLength(options.prompt, prompts);
    request.output_tokens = DrawLength(options.output, outputs);
    request.difficulty = static_cast<int>(difficulties.Next() * TokenProcess::kDifficulties);
    if (prefixes.Next() < options.prefix_share) {
      request.prefix = DrawIndex(popularity, prefixes);
      request.prefix_tokens = options.prefix_tokens;
      request.prompt_tokens =
          std::min(request.prompt_tokens + options.prefix_tokens, options.prompt.max);
    }
    trace.push_back(request);
  }
  return trace;
}

std::vector<TokenId> MakePrompt(const TraceRequest& request, int index, uint64_t seed) {
  const auto token = [](uint64_t key, int position) {
    const uint64_t bits = Mix64(key ^ Mix64(static_cast<uint64_t>(position)));
    return static_cast<TokenId>(bits % TokenProcess::kFirstDifficulty);
  };
  const uint64_t prefix_key =
      Mix64(Mix64(seed) ^ (uint64_t{1} << 40) ^ static_cast<uint64_t>(request.prefix));
  const uint64_t own_key = Mix64(Mix64(seed) ^ static_cast<uint64_t>(index));
  std::vector<TokenId> prompt;
  prompt.reserve(request.prompt_tokens);
  for (int i = 0; i + 1 < request.prompt_tokens; ++i) {
    prompt.push_back(token(i < request.prefix_tokens ? prefix_key : own_key, i));
  }
  prompt.push_back(TokenProcess::DifficultyToken(request.difficulty));
  return prompt;
}

}  // namespace strata::sim
