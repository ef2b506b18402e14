// What strata-simulate is asked to do.

#ifndef STRATA_BENCH_SIMULATOR_OPTIONS_H_
#define STRATA_BENCH_SIMULATOR_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/simulator/simulation.h"
#include "bench/simulator/trace.h"

namespace strata::sim {

enum class Command {
  kRun,        // one simulation
  kTrace,      // print the trace that run would simulate
  kModelCard,  // published speeds and speed-ups against the cost model
  kLoad,       // policies over offered load
  kContention  // tenants, a long prompt and a small pool against their bounds
};

struct Options {
  Command command = Command::kRun;
  SimulationOptions simulation;
  TraceOptions trace;
  std::string trace_file;  // empty: made by `trace`
  std::string output;      // a folder for CSV and chart; empty: none
  // kLoad
  std::vector<int> loads = {1, 2, 4, 8, 16, 32, 64, 128, 256};  // requests at a time
  std::vector<int> exit_layers;                                 // empty: fractions of the depth
  std::vector<int> draft_tokens = {1, 2, 3, 4, 6, 8};
  std::string help;  // not empty: --help was given, and this is its text
};

// `args` without the program's name. Errors: INVALID_ARGUMENT, with a message for people.
absl::StatusOr<Options> ParseOptions(const std::vector<std::string>& args);

// "fixed:MEAN", "lognormal:MEAN:SIGMA", "pareto:MEAN:TAIL"; max as it was.
absl::Status ParseLengths(const std::string& text, Lengths& lengths);
// "10:0.6,20:0.72"
absl::StatusOr<std::vector<ExitAcceptance>> ParseAcceptance(const std::string& text);
// What LayerSkip checkpoints of this depth reach, roughly: docs/SIMULATION.md.
std::vector<ExitAcceptance> DefaultAcceptance(int num_layers);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_OPTIONS_H_
