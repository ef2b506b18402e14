#include "loadtest/generator/arrivals.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <fstream>
#include <string_view>

namespace strata::loadtest {
namespace {

constexpr int kMaxTokens = 1 << 20;

std::vector<std::string> SplitLine(std::string_view line) {
  std::vector<std::string> fields;
  while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  for (size_t start = 0; start <= line.size();) {
    const size_t end = std::min(line.find(',', start), line.size());
    fields.emplace_back(line.substr(start, end - start));
    start = end + 1;
  }
  return fields;
}

template <typename Number>
std::optional<Number> Parse(const std::string& field) {
  Number value{};
  const char* end = field.data() + field.size();
  const auto [stop, error] = std::from_chars(field.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

// Where each column that we read stands; -1: not there.
struct Columns {
  int arrival_s = -1;
  int prompt_tokens = -1;
  int output_tokens = -1;

  static Columns Find(const std::vector<std::string>& header) {
    const auto find = [&](std::string_view name) {
      const auto it = std::find(header.begin(), header.end(), name);
      return it == header.end() ? -1 : static_cast<int>(it - header.begin());
    };
    return {find("arrival_s"), find("prompt_tokens"), find("output_tokens")};
  }
};

// Nullopt: a field is missing or out of range.
std::optional<Arrival> ParseArrival(const std::vector<std::string>& fields,
                                    const Columns& columns) {
  Arrival arrival;
  const auto field = [&](int column) {
    return column < static_cast<int>(fields.size()) ? fields[column] : std::string();
  };
  const std::optional<double> due = Parse<double>(field(columns.arrival_s));
  if (!due || !(*due >= 0 && *due < 1e9)) return std::nullopt;
  arrival.due_s = *due;
  const auto tokens = [&](int column, std::optional<int>& out) {
    if (column < 0) return true;
    out = Parse<int>(field(column));
    return out && *out >= 1 && *out <= kMaxTokens;
  };
  if (!tokens(columns.prompt_tokens, arrival.prompt_tokens)) return std::nullopt;
  if (!tokens(columns.output_tokens, arrival.max_new_tokens)) return std::nullopt;
  return arrival;
}

}  // namespace

std::optional<Arrival> PoissonArrivals::Next() {
  due_s_ += gap_s_(random_);
  return Arrival{due_s_, std::nullopt, std::nullopt};
}

std::optional<Arrival> TraceArrivals::Next() {
  if (next_ == trace_.size()) return std::nullopt;
  return trace_[next_++];
}

absl::StatusOr<std::vector<Arrival>> ReadTrace(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(fmt::format("{}: cannot be read", path));
  std::string line;
  std::getline(file, line);
  const Columns columns = Columns::Find(SplitLine(line));
  if (columns.arrival_s < 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}:1: names no column arrival_s: \"{}\"", path, line));
  }
  std::vector<Arrival> trace;
  for (int number = 2; std::getline(file, line); ++number) {
    if (line.empty()) continue;
    const std::optional<Arrival> arrival = ParseArrival(SplitLine(line), columns);
    if (!arrival || (!trace.empty() && arrival->due_s < trace.back().due_s)) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: \"{}\" is no arrival (times ascend; lengths are from 1 to {} tokens)",
                      path, number, line, kMaxTokens));
    }
    trace.push_back(*arrival);
  }
  if (trace.empty()) return absl::InvalidArgumentError(fmt::format("{}: has no arrivals", path));
  return trace;
}

}  // namespace strata::loadtest
