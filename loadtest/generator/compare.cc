#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "loadtest/generator/report.h"
#include "nlohmann/json.hpp"

namespace strata::loadtest {
namespace {

using nlohmann::json;

constexpr const char* kFigures[] = {"/calls_per_s",       "/good_calls_per_s", "/tokens_per_s",
                                    "/acceptance_rate",   "/ttft_ms/p50",      "/ttft_ms/p99",
                                    "/itl_ms/p50",        "/itl_ms/p95",       "/itl_ms/p99",
                                    "/end_to_end_ms/p50", "/end_to_end_ms/p99"};

absl::StatusOr<json> ParseReport(std::string_view text, const char* which) {
  json report = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto not_a_report = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        fmt::format("the {} file is no report of strata-loadtest: {}", which, why));
  };
  if (!report.is_object() || !report.contains("runs") || !report["runs"].is_array()) {
    return not_a_report("it has no runs");
  }
  for (const json& run : report["runs"]) {
    if (!run.is_object() || !run.contains("load") || !run["load"].is_string()) {
      return not_a_report("a run names no load");
    }
    for (const char* figure : kFigures) {
      const json::json_pointer at(figure);
      if (!run.contains(at) || !run[at].is_number()) {
        return not_a_report(fmt::format("a run has no {}", figure + 1));
      }
    }
  }
  return report;
}

}  // namespace

absl::StatusOr<std::string> CompareReports(std::string_view first_json,
                                           std::string_view second_json) {
  const absl::StatusOr<json> first = ParseReport(first_json, "first");
  if (!first.ok()) return first.status();
  const absl::StatusOr<json> second = ParseReport(second_json, "second");
  if (!second.ok()) return second.status();
  const json& before = (*first)["runs"];
  const json& after = (*second)["runs"];
  std::string table;
  for (size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    table += fmt::format("{:<22}{:>14}{:>14}{:>9}\n", "", before[i]["load"].get<std::string>(),
                         after[i]["load"].get<std::string>(), "ratio");
    for (const char* figure : kFigures) {
      const json::json_pointer at(figure);
      const auto a = before[i][at].get<double>();
      const auto b = after[i][at].get<double>();
      table += fmt::format("{:<22}{:>14.3f}{:>14.3f}", figure + 1, a, b);
      table += a > 0 ? fmt::format("{:>9.3f}\n", b / a) : "        -\n";
    }
    table += '\n';
  }
  if (before.size() != after.size()) {
    table +=
        fmt::format("The first report has {} runs, the second {}.\n", before.size(), after.size());
  }
  return table;
}

}  // namespace strata::loadtest
