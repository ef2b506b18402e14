// The commands of strata-simulate.

#ifndef STRATA_BENCH_SIMULATOR_COMMANDS_H_
#define STRATA_BENCH_SIMULATOR_COMMANDS_H_

#include <string>

#include "absl/status/statusor.h"
#include "bench/simulator/options.h"

namespace strata::sim {

// Does what `options.command` says, writes files to `options.output`, and returns the text to
// print. Errors: as of Simulation, MakeTrace, ReadTrace and WriteOutput.
absl::StatusOr<std::string> RunCommand(const Options& options);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_COMMANDS_H_
