// strata-bench: measures the engine in process, against the machine's limits.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/benchmarks.h"
#include "bench/options.h"
#include "bench/report.h"

namespace {

int Fail(const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "strata-bench: %s\n", std::string(status.message()).c_str());
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  const auto command_line =
      strata::bench::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (!command_line.ok()) return Fail(command_line.status(), 2);
  if (!command_line->help.empty()) {
    std::fputs(command_line->help.c_str(), stdout);
    return 0;
  }
  const auto report = strata::bench::RunBenchmarks(command_line->options);
  if (!report.ok()) return Fail(report.status(), 1);
  const std::string text =
      command_line->json ? strata::bench::ToJson(*report) + "\n" : strata::bench::ToTable(*report);
  std::fputs(text.c_str(), stdout);
  return 0;
}
