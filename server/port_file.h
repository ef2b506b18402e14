// Tells scripts where a server listens that was started with port 0.

#ifndef STRATA_SERVER_PORT_FILE_H_
#define STRATA_SERVER_PORT_FILE_H_

#include <string>

#include "absl/status/status.h"

namespace strata::server {

// Writes "grpc HOST:PORT\n" and, unless it is empty, "metrics HOST:PORT\n" to
// `path`; the file appears complete, by a rename.
absl::Status WritePortFile(const std::string& path, const std::string& grpc_address,
                           const std::string& metrics_address);

}  // namespace strata::server

#endif  // STRATA_SERVER_PORT_FILE_H_
