// What a simulation leaves behind: tables, CSV and a chart. The same run gives
// the same bytes.

#ifndef STRATA_BENCH_SIMULATOR_SIMULATION_REPORT_H_
#define STRATA_BENCH_SIMULATOR_SIMULATION_REPORT_H_

#include <string>

#include "bench/simulator/recorder.h"

namespace strata::sim {

// One line per figure.
std::string SummaryToText(const Summary& summary);
// A line per request, in order of submission; times in seconds, empty where they never came.
std::string RequestsToCsv(const Recorder& recorder);
// A line per interval; latencies in milliseconds, empty where there were none.
std::string IntervalsToCsv(const Recorder& recorder);
// Goodput, load, TTFT and ITL percentiles, drafts, exits and tenants over time.
std::string TimelineToSvg(const Recorder& recorder, const std::string& title);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_SIMULATION_REPORT_H_
