// When calls are due.

#ifndef STRATA_LOADTEST_GENERATOR_ARRIVALS_H_
#define STRATA_LOADTEST_GENERATOR_ARRIVALS_H_

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace strata::loadtest {

// A call, and what of it a trace prescribes.
struct Arrival {
  double due_s = 0;  // since the run's start
  std::optional<int> prompt_tokens;
  std::optional<int> max_new_tokens;
};

// An open loop: calls come when they come, whatever became of those before.
class Arrivals {
 public:
  virtual ~Arrivals() = default;
  // In order of time; nullopt: no more.
  virtual std::optional<Arrival> Next() = 0;
};

// Independent callers, `calls_per_s` of them on average (> 0), without end.
class PoissonArrivals final : public Arrivals {
 public:
  PoissonArrivals(double calls_per_s, uint64_t seed) : random_(seed), gap_s_(calls_per_s) {}
  std::optional<Arrival> Next() override;

 private:
  std::mt19937_64 random_;
  std::exponential_distribution<double> gap_s_;
  double due_s_ = 0;
};

class TraceArrivals final : public Arrivals {
 public:
  explicit TraceArrivals(std::vector<Arrival> trace) : trace_(std::move(trace)) {}
  std::optional<Arrival> Next() override;

 private:
  const std::vector<Arrival> trace_;
  size_t next_ = 0;
};

// CSV with a header that names at least the column arrival_s (seconds, ascending); prompt_tokens
// and output_tokens (the most to generate) are used, other columns ignored. So it reads the traces
// of the simulator too. Errors: NOT_FOUND (no such file), INVALID_ARGUMENT (with the line).
absl::StatusOr<std::vector<Arrival>> ReadTrace(const std::string& path);

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_ARRIVALS_H_
