// Goodput of speculation's settings over offered load: off, a grid of fixed
// ones, and auto.

#ifndef STRATA_BENCH_SIMULATOR_LOAD_SWEEP_H_
#define STRATA_BENCH_SIMULATOR_LOAD_SWEEP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/simulator/options.h"

namespace strata::sim {

struct LoadPoint {
  double tokens_per_s = 0;  // Recorder::SteadyTokensPerSecond
  double ttft_p95_s = 0;
  double itl_p99_s = 0;
  double drafts = 0;
  double exit_layer = 0;
  double acceptance = 0;
};

struct LoadSweep {
  struct Setting {
    std::string name;  // "off", "e10_k4", "auto"
    Speculation speculation;
    std::vector<LoadPoint> points;  // [loads]
  };
  std::vector<int> loads;         // requests at a time
  std::vector<Setting> settings;  // off first, auto last

  const LoadPoint& off(size_t load) const { return settings.front().points[load]; }
  const LoadPoint& automatic(size_t load) const { return settings.back().points[load]; }
  // The best of all settings but auto.
  const Setting& Best(size_t load) const;
};

// Each setting at each load has the same requests, and so generates the same text.
absl::StatusOr<LoadSweep> RunLoadSweep(const Options& options);

std::string LoadSweepToText(const LoadSweep& sweep);
std::string LoadSweepToCsv(const LoadSweep& sweep);
std::string LoadSweepToSvg(const LoadSweep& sweep, const std::string& title);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_LOAD_SWEEP_H_
