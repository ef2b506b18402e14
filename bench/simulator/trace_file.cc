#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>

#include "bench/simulator/token_process.h"
#include "bench/simulator/trace.h"

namespace strata::sim {
namespace {

constexpr std::string_view kHeader =
    "arrival_s,tenant,prompt_tokens,output_tokens,prefix,prefix_tokens,difficulty";
constexpr int kRequiredColumns = 4;
constexpr int kMaxTokens = 1 << 20;
constexpr int kMaxTenants = 1000;

// False if a field is no number, or there are too few or too many.
bool ParseLine(const std::string& line, TraceRequest& request) {
  double values[] = {0, 0, 0, 0, -1, 0, TokenProcess::kDifficulties / 2};
  size_t count = 0;
  std::istringstream fields(line);
  for (std::string field; std::getline(fields, field, ',');) {
    if (count == std::size(values)) return false;
    const char* end = field.data() + field.size();
    const auto [stop, error] = std::from_chars(field.data(), end, values[count]);
    if (error != std::errc() || stop != end) return false;
    ++count;
  }
  for (size_t i = 1; i < std::size(values); ++i) {
    if (!(values[i] >= -1 && values[i] <= kMaxTokens)) return false;
  }
  request = {values[0],
             static_cast<int>(values[1]),
             static_cast<int>(values[2]),
             static_cast<int>(values[3]),
             static_cast<int>(values[4]),
             static_cast<int>(values[5]),
             static_cast<int>(values[6])};
  return count >= kRequiredColumns;
}

bool IsSound(const TraceRequest& request, double last_arrival_s) {
  return request.arrival_s >= last_arrival_s && request.arrival_s < 1e9 && request.tenant >= 0 &&
         request.tenant < kMaxTenants && request.prompt_tokens >= 1 && request.output_tokens >= 1 &&
         request.prefix_tokens >= 0 && request.prefix_tokens < request.prompt_tokens &&
         request.difficulty >= 0 && request.difficulty < TokenProcess::kDifficulties;
}

}  // namespace

absl::StatusOr<Trace> ReadTrace(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(fmt::format("{}: cannot be read", path));
  Trace trace;
  std::string line;
  std::getline(file, line);
  if (!line.starts_with("arrival_s,tenant,prompt_tokens,output_tokens")) {
    return absl::InvalidArgumentError(
        fmt::format("{}:1: does not begin with the header {}", path, kHeader));
  }
  double last_arrival_s = 0;
  for (int number = 2; std::getline(file, line); ++number) {
    if (line.empty()) continue;
    TraceRequest request;
    if (!ParseLine(line, request) || !IsSound(request, last_arrival_s)) {
      return absl::InvalidArgumentError(fmt::format(
          "{}:{}: \"{}\" is no request of the columns {} (arrivals ascend; lengths are positive, "
          "the prefix shorter than the prompt; difficulty is below {})",
          path, number, line, kHeader, TokenProcess::kDifficulties));
    }
    last_arrival_s = request.arrival_s;
    trace.push_back(request);
  }
  if (trace.empty()) return absl::InvalidArgumentError(fmt::format("{}: has no requests", path));
  return trace;
}

std::string TraceToCsv(const Trace& trace) {
  std::string csv = fmt::format("{}\n", kHeader);
  for (const TraceRequest& request : trace) {
    csv += fmt::format("{:.9f},{},{},{},{},{},{}\n", request.arrival_s, request.tenant,
                       request.prompt_tokens, request.output_tokens, request.prefix,
                       request.prefix_tokens, request.difficulty);
  }
  return csv;
}

}  // namespace strata::sim
