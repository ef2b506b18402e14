// Logs of this process: one line each on stderr, by spdlog.

#ifndef STRATA_SERVER_LOGGING_H_
#define STRATA_SERVER_LOGGING_H_

#include <string>

namespace strata::server {

// Once, before anything logs. `level`: as in Options::log_level. What gRPC and
// protobuf have to say comes at level debug: it repeats what our own messages
// say, or what a hostile caller makes them say.
void SetUpLogging(const std::string& level);

// From now on.
void SetLogLevel(const std::string& level);

}  // namespace strata::server

#endif  // STRATA_SERVER_LOGGING_H_
