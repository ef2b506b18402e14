// strata-loadtest: puts load on a strata-server.

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "loadtest/generator/load_test.h"
#include "loadtest/generator/options.h"
#include "loadtest/generator/report.h"

namespace {

using namespace strata::loadtest;  // NOLINT: main only wires

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

std::atomic<bool> interrupted = false;

// The first one ends the run, with its report; a second one the program.
void OnInterrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);
}

int Fail(const absl::Status& status, int exit_code) {
  fmt::print(stderr, "strata-loadtest: {}\n", std::string(status.message()));
  return exit_code;
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  if (path.empty()) return absl::OkStatus();
  std::ofstream file(path, std::ios::binary);
  if (file << text && file.flush()) return absl::OkStatus();
  return absl::UnknownError(fmt::format("{}: cannot be written", path));
}

absl::Status WriteReports(const Options& options, const LoadReport& report) {
  absl::Status status = WriteFile(options.json_path, ToJson(report) + "\n");
  if (!options.csv_path.empty()) status.Update(WriteFile(options.csv_path, ToCsv(report)));
  if (!options.html_path.empty()) status.Update(WriteFile(options.html_path, ToHtml(report)));
  return status;
}

int Compare(const CommandLine& line) {
  const absl::StatusOr<std::string> first = ReadFile(line.compare_first);
  if (!first.ok()) return Fail(first.status(), kExitFailure);
  const absl::StatusOr<std::string> second = ReadFile(line.compare_second);
  if (!second.ok()) return Fail(second.status(), kExitFailure);
  const absl::StatusOr<std::string> table = CompareReports(*first, *second);
  if (!table.ok()) return Fail(table.status(), kExitFailure);
  fmt::print("{}", *table);
  return EXIT_SUCCESS;
}

// Failed calls are a result, not a failure of the test; a server that takes none is.
bool AnySucceeded(const LoadReport& report) {
  for (const RunResult& run : report.runs) {
    if (run.summary.succeeded > 0) return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const auto line = ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (!line.ok()) return Fail(line.status(), kExitUsage);
  if (!line->help.empty()) {
    fmt::print("{}", line->help);
    return EXIT_SUCCESS;
  }
  if (!line->compare_first.empty()) return Compare(*line);
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  const auto report = RunLoadTest(line->options, interrupted);
  if (!report.ok()) return Fail(report.status(), kExitFailure);
  fmt::print("{}", ToTable(*report));
  const absl::Status written = WriteReports(line->options, *report);
  if (!written.ok()) return Fail(written, kExitFailure);
  return AnySucceeded(*report) ? EXIT_SUCCESS : kExitFailure;
}
