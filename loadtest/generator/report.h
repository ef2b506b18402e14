// What strata-loadtest writes: for people, for programs, for spreadsheets.

#ifndef STRATA_LOADTEST_GENERATOR_REPORT_H_
#define STRATA_LOADTEST_GENERATOR_REPORT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "loadtest/generator/collector.h"
#include "loadtest/generator/mix.h"
#include "loadtest/generator/summary.h"

namespace strata::loadtest {

struct RunResult {
  std::string load;  // for people, e.g. "4 calls/s"
  Summary summary;
  Observations observations;
};

struct LoadReport {
  std::string server;   // its address
  std::string model;    // and what it serves, for people
  std::string started;  // UTC, as of ISO 8601
  ServiceLevel level;
  double warmup_s = 0;
  std::vector<MixEntry> mix;
  std::vector<RunResult> runs;
};

// A row per run.
std::string ToTable(const LoadReport& report);
// {"server", "model", "started", "service_level": {"ttft_ms", "token_time_ms"}, "runs": [{"load",
//  "seconds", "offered_calls_per_s", "calls", "succeeded", "cancelled", "not_sent", "failures":
//  {CODE: {"calls", "first_message"}}, "calls_per_s", "good_calls_per_s", "tokens_per_s",
//  "prompt_tokens", "cached_prompt_tokens", "tokens", "acceptance_rate", "ttft_ms", "itl_ms",
//  "token_time_ms", "end_to_end_ms": {"mean", "p50", "p90", "p95", "p99", "p999", "max"}}]}
std::string ToJson(const LoadReport& report);
// A row per call, warm-up and all.
std::string ToCsv(const LoadReport& report);
// One file, with charts, that loads nothing else.
std::string ToHtml(const LoadReport& report);

// Two reports of ToJson, side by side: run by run, each figure with the second's ratio to the
// first. Errors: INVALID_ARGUMENT, with what is no report.
absl::StatusOr<std::string> CompareReports(std::string_view first_json,
                                           std::string_view second_json);

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_REPORT_H_
