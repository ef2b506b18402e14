// Values of options, from the text that a flag, the environment or a file
// gives. Errors are INVALID_ARGUMENT and quote the text.

#ifndef STRATA_SERVER_OPTION_VALUES_H_
#define STRATA_SERVER_OPTION_VALUES_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace strata::server {

// A decimal integer in [min, max].
absl::StatusOr<int64_t> ParseInteger(const std::string& text, int64_t min, int64_t max);

// "1048576", "512KiB", "64MiB", "2GiB", "1TiB", also "K", "M", "G", "T" and
// "KB"...: powers of 1024 all. At least 1.
absl::StatusOr<int64_t> ParseByteSize(const std::string& text);

// "30s", "500ms", "2m"; a bare number is seconds. At most a day.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(const std::string& text);

// "on", "true", "yes", "1" or "off", "false", "no", "0".
absl::StatusOr<bool> ParseSwitch(const std::string& text);

// What stands between commas, without spaces around it; empty entries are left out.
std::vector<std::string> SplitList(const std::string& text);

struct HostPort {
  std::string host;  // an IPv6 address without its brackets
  int port = 0;

  // "127.0.0.1:80", "[::1]:80"
  std::string ToString() const;
  // Whether only this machine can reach it: "localhost", 127.0.0.0/8 or ::1.
  bool IsLoopback() const;
};

// "HOST:PORT", "[IPv6]:PORT"; port 0 asks for any free one.
absl::StatusOr<HostPort> ParseHostPort(const std::string& text);

}  // namespace strata::server

#endif  // STRATA_SERVER_OPTION_VALUES_H_
