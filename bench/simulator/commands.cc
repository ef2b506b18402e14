#include "bench/simulator/commands.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "bench/simulator/contention.h"
#include "bench/simulator/load_sweep.h"
#include "bench/simulator/model_card.h"
#include "bench/simulator/output_folder.h"
#include "bench/simulator/simulation.h"
#include "bench/simulator/simulation_report.h"
#include "engine/status_macros.h"

namespace strata::sim {
namespace {

absl::StatusOr<Trace> TraceOf(const Options& options) {
  return options.trace_file.empty() ? MakeTrace(options.trace) : ReadTrace(options.trace_file);
}

std::string TitleOf(const Options& options) {
  const SimulationOptions& simulation = options.simulation;
  return fmt::format("{} on {}", simulation.model.name, simulation.hardware.name);
}

absl::StatusOr<std::string> Run(const Options& options) {
  ASSIGN_OR_RETURN(const Trace trace, TraceOf(options));
  ASSIGN_OR_RETURN(const std::unique_ptr<Simulation> simulation,
                   Simulation::Create(options.simulation, trace));
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(simulation->Run());
  // Not part of the text, which is the same whenever it is run.
  std::fprintf(stderr, "computed in %.1f s\n", ToSeconds(std::chrono::steady_clock::now() - start));
  const Recorder& recorder = simulation->recorder();
  RETURN_IF_ERROR(WriteOutput(options.output, "requests.csv", RequestsToCsv(recorder)));
  RETURN_IF_ERROR(WriteOutput(options.output, "intervals.csv", IntervalsToCsv(recorder)));
  RETURN_IF_ERROR(
      WriteOutput(options.output, "timeline.svg", TimelineToSvg(recorder, TitleOf(options))));
  return TitleOf(options) + "\n" + SummaryToText(Summarize(recorder));
}

absl::StatusOr<std::string> PrintTrace(const Options& options) {
  ASSIGN_OR_RETURN(const Trace trace, TraceOf(options));
  return TraceToCsv(trace);
}

absl::StatusOr<std::string> SweepLoad(const Options& options) {
  ASSIGN_OR_RETURN(const LoadSweep sweep, RunLoadSweep(options));
  RETURN_IF_ERROR(WriteOutput(options.output, "load.csv", LoadSweepToCsv(sweep)));
  RETURN_IF_ERROR(WriteOutput(options.output, "load.svg", LoadSweepToSvg(sweep, TitleOf(options))));
  return TitleOf(options) + "\n" + LoadSweepToText(sweep);
}

}  // namespace

absl::StatusOr<std::string> RunCommand(const Options& options) {
  switch (options.command) {
    case Command::kRun:
      return Run(options);
    case Command::kTrace:
      return PrintTrace(options);
    case Command::kModelCard:
      return ModelCardToText();
    case Command::kLoad:
      return SweepLoad(options);
    case Command::kContention:
      return ContentionToText(options.simulation);
  }
  return absl::InternalError("no such command");
}

}  // namespace strata::sim
