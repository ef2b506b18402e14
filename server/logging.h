// Logs of this process: one line each on stderr, as text for people or as JSON for programs, by
// spdlog. Standard streams that the process was started without lead nowhere, so that no file or
// connection gets their numbers, and what is printed.

#ifndef STRATA_SERVER_LOGGING_H_
#define STRATA_SERVER_LOGGING_H_

#include <spdlog/formatter.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "server/options.h"

namespace strata::server {

class ServerMetrics;

// Sends what is logged to stderr, as long as it lives. Who logs does not wait: lines that stderr
// does not take, or not fast enough, are lost and counted in `metrics`, which must outlive this.
// Only after a critical line, with which the process may end, all are written at once.
class Logging {
 public:
  // Once, before anything logs. `level`: as in Options::log_level. What gRPC and protobuf have to
  // say comes at level debug, if it does not abort the process: it repeats what our own messages
  // say, or what a hostile caller makes them say.
  Logging(const std::string& level, LogFormat format, ServerMetrics* metrics);
  // Writes what waits; drops what is logged later.
  ~Logging();
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;

 private:
  class Sink;
  const std::shared_ptr<Sink> sink_;  // the logger has it, too
};

// From now on.
void SetLogLevel(const std::string& level);

// Logs `message` with `fields`, an object of strings and numbers: "message key=value ..." in text,
// members of their own in JSON. Strings may be anybody's: they are quoted.
void LogFields(const std::string& message, const nlohmann::ordered_json& fields);

// How a line looks; for Logging's sink, and those of tests.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format);

// RFC 3339 in UTC with milliseconds: "2026-11-24T21:50:00.123Z".
std::string FormatTime(std::chrono::system_clock::time_point time);

}  // namespace strata::server

#endif  // STRATA_SERVER_LOGGING_H_
