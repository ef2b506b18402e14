#include "server/option_values.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <limits>
#include <map>
#include <system_error>

#include "engine/status_macros.h"

namespace strata::server {
namespace {

// A non-negative integer and the letters that follow it, in lower case.
struct NumberAndUnit {
  int64_t number = 0;
  std::string unit;
};

absl::StatusOr<NumberAndUnit> SplitUnit(const std::string& text) {
  NumberAndUnit result;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, result.number);
  if (error != std::errc() || result.number < 0) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not a number with a unit", text));
  }
  for (const char* c = rest; c != end; ++c) {
    result.unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
  }
  return result;
}

}  // namespace

absl::StatusOr<int64_t> ParseInteger(const std::string& text, int64_t min, int64_t max) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::invalid_argument || rest != end) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not a whole number", text));
  }
  if (error == std::errc::result_out_of_range || value < min || value > max) {
    return absl::InvalidArgumentError(fmt::format("{} is out of range [{}, {}]", text, min, max));
  }
  return value;
}

absl::StatusOr<int64_t> ParseByteSize(const std::string& text) {
  static const std::map<std::string, int> kShifts = {
      {"", 0},     {"b", 0},  {"k", 10},  {"kb", 10},  {"kib", 10}, {"m", 20},  {"mb", 20},
      {"mib", 20}, {"g", 30}, {"gb", 30}, {"gib", 30}, {"t", 40},   {"tb", 40}, {"tib", 40}};
  ASSIGN_OR_RETURN(const NumberAndUnit parts, SplitUnit(text));
  const auto shift = kShifts.find(parts.unit);
  if (shift == kShifts.end()) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a size: write e.g. 512MiB or 2GiB", text));
  }
  if (parts.number < 1 || parts.number > (std::numeric_limits<int64_t>::max() >> shift->second)) {
    return absl::InvalidArgumentError(fmt::format("{} is out of range", text));
  }
  return parts.number << shift->second;
}

absl::StatusOr<std::chrono::milliseconds> ParseDuration(const std::string& text) {
  static const std::map<std::string, int64_t> kMilliseconds = {
      {"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  constexpr int64_t kDayMs = 86'400'000;
  ASSIGN_OR_RETURN(const NumberAndUnit parts, SplitUnit(text));
  const auto unit = kMilliseconds.find(parts.unit);
  if (unit == kMilliseconds.end()) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a duration: write e.g. 500ms, 30s or 2m", text));
  }
  if (parts.number > kDayMs / unit->second) {
    return absl::InvalidArgumentError(fmt::format("{} is more than a day", text));
  }
  return std::chrono::milliseconds(parts.number * unit->second);
}

absl::StatusOr<bool> ParseSwitch(const std::string& text) {
  for (const char* word : {"on", "true", "yes", "1"}) {
    if (text == word) return true;
  }
  for (const char* word : {"off", "false", "no", "0"}) {
    if (text == word) return false;
  }
  return absl::InvalidArgumentError(fmt::format("'{}' is neither on nor off", text));
}

std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> items(1);
  for (const char c : text) {
    if (c == ',') {
      items.emplace_back();
    } else if (c != ' ') {
      items.back() += c;
    }
  }
  std::erase(items, "");
  return items;
}

bool HostPort::IsLoopback() const {
  if (host == "localhost" || host == "::1") return true;
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

std::string HostPort::ToString() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return is_ipv6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

absl::StatusOr<HostPort> ParseHostPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not HOST:PORT, e.g. 0.0.0.0:50051 or [::]:50051", text));
  }
  HostPort result;
  result.host = text.substr(0, colon);
  const bool bracketed = result.host.front() == '[' && result.host.back() == ']';
  if (bracketed) result.host = result.host.substr(1, result.host.size() - 2);
  if (result.host.empty() || (!bracketed && result.host.find(':') != std::string::npos)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not HOST:PORT; write an IPv6 address as [::1]:50051", text));
  }
  const absl::StatusOr<int64_t> port = ParseInteger(text.substr(colon + 1), 0, 65535);
  if (!port.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("port of '{}': {}", text, std::string(port.status().message())));
  }
  result.port = static_cast<int>(*port);
  return result;
}

}  // namespace strata::server
